//! The events of each deployment: appended to a file of its own, followed by any number of readers.
//!
//! A line's number is its id, so a reader that lost its connection says which one it saw last and goes on from there,
//! also when the server was restarted in between. A slow reader reads from the file and holds up nobody.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use futures_util::Stream;
use platform_wire::{Event, Outcome};
use tokio::sync::{oneshot, watch};

use crate::build::blocking;

/// Most bytes of compiler output that are kept for one deployment.
const MAX_OUTPUT: u64 = 8 * 1024 * 1024;

/// All event files, below the folder of the deployments.
///
/// One thread writes them: whoever tells an event, in the middle of whatever it does, does not wait for a disk.
#[derive(Debug, Clone)]
pub(crate) struct EventStore {
    folder: Arc<Path>,
    told: Arc<Mutex<HashMap<String, Told>>>,
    queue: mpsc::Sender<Job>,
}

/// Of a deployment whose last event has not been told, or that somebody follows.
#[derive(Debug, Clone, Default)]
struct Told {
    /// Whether events may come. Else only a follower waits for them.
    begun: bool,
    /// Changes with each line that is written; closed after the last one.
    written: watch::Sender<()>,
    /// Bytes of output on their way to the file.
    pending: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Job {
    Write {
        id: String,
        event: Event,
        told: Told,
    },
    /// Says when everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl EventStore {
    pub(crate) fn new(deployments: &Path) -> io::Result<Self> {
        let (queue, work) = mpsc::channel();
        let folder: Arc<Path> = deployments.into();
        let below = Arc::clone(&folder);
        std::thread::Builder::new().name("events".into()).spawn(move || write_all(&below, &work))?;
        Ok(Self { folder, told: Arc::default(), queue })
    }

    /// A deployment's events are told from now on, until its last one.
    pub(crate) fn begin(&self, id: &str) {
        self.lock().entry(id.to_owned()).or_default().begun = true;
    }

    /// Appends an event; what is told after the last one (by a build that has not ended yet) is left out: nobody waits for it, and
    /// nothing would end it. What cannot be written is lost to followers and said in the server's log: an event is a
    /// report, and the deployment must not fail for it.
    pub(crate) fn append(&self, id: &str, event: &Event) {
        let last = matches!(event, Event::Finished { .. });
        let mut all = self.lock();
        let Some(told) = all.get(id).filter(|told| told.begun).cloned() else { return };
        if last {
            all.remove(id);
        }
        let size = size(event);
        // More than the file may have would only be left out when it is written.
        if told.pending.fetch_add(size, Ordering::Relaxed) > MAX_OUTPUT && size > 0 {
            told.pending.fetch_sub(size, Ordering::Relaxed);
            return;
        }
        // Under the lock, so that the order is the same for all. The thread ends with the last store.
        let _ = self.queue.send(Job::Write { id: id.to_owned(), event: event.clone(), told });
    }

    /// Waits until everything that has been told is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let _ = self.queue.send(Job::Flush(done));
        let _ = written.await;
    }

    /// Follows a deployment's events from the one after `after`, until the last one.
    ///
    /// `at_rest` is how a deployment ended that nobody drives any more: if its file has no end (the server was killed, or
    /// its disk was full), this is told as the last event instead of waiting for one.
    pub(crate) fn follow(
        &self,
        id: String,
        after: u64,
        at_rest: Option<Outcome>,
    ) -> impl Stream<Item = (u64, Event)> + Send + use<> {
        let place = Place { path: path(&self.folder, &id), offset: 0, line: 0 };
        let store = self.clone();
        futures_util::stream::unfold(
            Follower { store, id, next: after, place, pending: Vec::new().into_iter(), finished: false, at_rest },
            |mut follower| async move { follower.next().await.map(|item| (item, follower)) },
        )
    }

    fn watch(&self, id: &str) -> watch::Receiver<()> {
        self.lock().entry(id.to_owned()).or_default().written.subscribe()
    }

    /// Its last event is written. A follower that came after that was told has waited for one more. Where the deployment has begun
    /// anew, that was the last one of before.
    fn forget(&self, id: &str) {
        let mut all = self.lock();
        if all.get(id).is_some_and(|told| !told.begun) {
            all.remove(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(folder: &Path, id: &str) -> PathBuf {
    folder.join(id).join("events.jsonl")
}

/// Bytes of what the user's code can make as much of as it likes. Everything else is bounded by the states.
fn size(event: &Event) -> u64 {
    match event {
        Event::Output { text } => text.len() as u64,
        Event::Progress { unit, .. } => 64 + unit.len() as u64,
        _ => 0,
    }
}

/// Writes what is told, until nobody is left who could tell something.
fn write_all(folder: &Path, work: &mpsc::Receiver<Job>) {
    let mut open = HashMap::new();
    while let Ok(job) = work.recv() {
        match job {
            Job::Write { id, event, told } => {
                if let Err(error) = write(folder, &mut open, &id, &event) {
                    tracing::warn!(deployment = id, %error, "an event could not be written");
                }
                told.pending.fetch_sub(size(&event), Ordering::Relaxed);
                told.written.send_replace(());
                if matches!(event, Event::Finished { .. }) {
                    open.remove(&id);
                }
            }
            Job::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

fn write(folder: &Path, open: &mut HashMap<String, Writer>, id: &str, event: &Event) -> io::Result<()> {
    if !open.contains_key(id) {
        open.insert(id.to_owned(), Writer::open(&path(folder, id))?);
    }
    let Some(writer) = open.get_mut(id) else { return Ok(()) };
    let size = size(event);
    if size > 0 {
        let before = writer.output;
        writer.output += size;
        if before > MAX_OUTPUT {
            return Ok(());
        }
        if writer.output > MAX_OUTPUT {
            let text = format!("[the rest of the output is left out: it is over {MAX_OUTPUT} bytes]\n");
            return writer.line(&Event::Output { text });
        }
    }
    writer.line(event)
}

/// A file that is being written.
#[derive(Debug)]
struct Writer {
    file: File,
    output: u64,
}

impl Writer {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let content = fs::read(path)?;
        // A line that a crash cut short is taken back, so that numbers stay those of whole lines.
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self { file, output: whole as u64 })
    }

    fn line(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)
    }
}

struct Follower {
    store: EventStore,
    id: String,
    /// Events up to this one are not wanted.
    next: u64,
    place: Place,
    pending: std::vec::IntoIter<(u64, Event)>,
    finished: bool,
    at_rest: Option<Outcome>,
}

/// Where in a file, in bytes and lines, reading goes on.
#[derive(Debug, Clone)]
struct Place {
    path: PathBuf,
    offset: u64,
    line: u64,
}

impl Follower {
    async fn next(&mut self) -> Option<(u64, Event)> {
        loop {
            if let Some((number, event)) = self.pending.next() {
                if matches!(event, Event::Finished { .. }) {
                    self.finished = true;
                    self.store.forget(&self.id);
                }
                if number > self.next {
                    return Some((number, event));
                }
                continue;
            }
            if self.finished {
                return None;
            }
            if self.read().await.ok()? {
                continue;
            }
            if let Some(outcome) = self.at_rest.take() {
                self.finished = true;
                return Some((self.place.line + 1, Event::Finished { outcome }));
            }
            // Read once more after subscribing, so that a line written in between is seen.
            let mut written = self.store.watch(&self.id);
            if !self.read().await.ok()? {
                // An error means that nothing more is told; what was told last is read next.
                let _ = written.changed().await;
            }
        }
    }

    /// Reads what has been told until now. `false`: there is no more.
    async fn read(&mut self) -> io::Result<bool> {
        self.store.flush().await;
        let mut place = self.place.clone();
        let may_be_gone = self.at_rest.is_some();
        let (found, place) = blocking(move || match place.read() {
            // The deployment is too old for its files to be kept; how it ended is known without them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && may_be_gone => Ok((Vec::new(), place)),
            found => Ok((found?, place)),
        })
        .await?;
        (self.place, self.pending) = (place, found.into_iter());
        Ok(self.pending.len() > 0)
    }
}

impl Place {
    fn read(&mut self) -> io::Result<Vec<(u64, Event)>> {
        let mut file = BufReader::new(File::open(&self.path)?);
        file.seek(SeekFrom::Start(self.offset))?;
        let mut found = Vec::new();
        let mut line = Vec::new();
        // A batch at a time, so that one reader does not hold a whole file in memory.
        while found.len() < 256 {
            line.clear();
            let length = file.read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            self.offset += length as u64;
            self.line += 1;
            found.push((self.line, serde_json::from_slice(&line).unwrap_or(Event::Unknown)));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use platform_wire::State;

    use super::*;

    fn store() -> (tempfile::TempDir, EventStore) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        let store = EventStore::new(folder.path()).unwrap();
        store.begin("d");
        (folder, store)
    }

    const FINISHED: Event = Event::Finished { outcome: Outcome::Deleted };

    #[tokio::test]
    async fn a_follower_sees_what_was_and_what_comes_and_then_the_end() {
        let (_folder, store) = store();
        store.append("d", &Event::State { state: State::Queued });
        let mut events = Box::pin(store.follow("d".into(), 0, None));
        assert_eq!(events.next().await, Some((1, Event::State { state: State::Queued })));
        store.append("d", &Event::State { state: State::Built });
        store.append("d", &FINISHED);
        assert_eq!(events.next().await, Some((2, Event::State { state: State::Built })));
        assert_eq!(events.next().await, Some((3, FINISHED)));
        assert_eq!(events.next().await, None);
    }

    #[tokio::test]
    async fn following_goes_on_after_the_last_seen_event_and_after_a_restart() {
        let (folder, store) = store();
        for ahead in 0..600 {
            store.append("d", &Event::Position { ahead });
        }
        store.flush().await;
        drop(store);
        OpenOptions::new().append(true).open(folder.path().join("d/events.jsonl")).unwrap().write_all(b"{\"type\":\"st").unwrap();
        let store = EventStore::new(folder.path()).unwrap();
        store.begin("d");
        store.append("d", &FINISHED);
        let events: Vec<_> = store.follow("d".into(), 598, None).collect().await;
        assert_eq!(events, [(599, Event::Position { ahead: 598 }), (600, Event::Position { ahead: 599 }), (601, FINISHED)]);
    }

    #[tokio::test]
    async fn endless_output_is_cut_and_the_end_still_arrives() {
        let (_folder, store) = store();
        let text = "x".repeat(1024 * 1024);
        for _ in 0..12 {
            store.append("d", &Event::Output { text: text.clone() });
        }
        store.append("d", &FINISHED);
        let events: Vec<_> = store.follow("d".into(), 0, None).collect().await;
        assert_eq!(events.len(), 10);
        assert!(matches!(&events[8].1, Event::Output { text } if text.contains("left out")));
    }

    #[tokio::test]
    async fn a_deployment_at_rest_whose_end_was_never_written_ends_all_the_same() {
        let (_folder, store) = store();
        store.append("d", &Event::State { state: State::Built });
        for after in [0, 1] {
            let events: Vec<_> = store.follow("d".into(), after, Some(Outcome::Deleted)).collect().await;
            assert_eq!(events.last(), Some(&(2, FINISHED)));
        }
        store.append("d", &FINISHED);
        let events: Vec<_> = store.follow("d".into(), 1, Some(Outcome::Deleted)).collect().await;
        assert_eq!(events, [(2, FINISHED)], "told once");
        let events: Vec<_> = store.follow("gone".into(), 0, Some(Outcome::Deleted)).collect().await;
        assert_eq!(events, [(1, FINISHED)], "its files are not kept any more");
        assert!(store.lock().is_empty(), "nothing is kept for it");
    }

    #[tokio::test]
    async fn what_is_told_after_the_end_opens_nothing_and_is_left_out() {
        let (folder, store) = store();
        store.append("d", &FINISHED);
        store.flush().await;
        let file = folder.path().join("d/events.jsonl");
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1);
        fs::remove_file(&file).unwrap();
        store.append("d", &Event::Output { text: "Compiling".into() });
        store.append("d", &FINISHED);
        // Nor where somebody waits for events.
        let _waits = store.watch("d");
        store.append("d", &Event::Position { ahead: 1 });
        store.flush().await;
        assert!(!file.exists(), "it was not opened again");
        store.forget("d");
        assert!(store.lock().is_empty(), "nothing is kept for it");
    }

    #[tokio::test]
    async fn a_deployment_that_begins_anew_has_events_whoever_reads_the_end_of_before() {
        let (folder, store) = store();
        store.append("d", &FINISHED);
        store.begin("d");
        let events: Vec<_> = store.follow("d".into(), 0, None).collect().await;
        assert_eq!(events, [(1, FINISHED)]);
        store.append("d", &Event::State { state: State::Queued });
        store.append("d", &FINISHED);
        store.flush().await;
        assert_eq!(fs::read_to_string(folder.path().join("d/events.jsonl")).unwrap().lines().count(), 3);
        assert!(store.lock().is_empty(), "nothing is kept for it");
    }

    #[test]
    fn who_tells_an_event_does_not_wait_for_the_disk() {
        let (folder, store) = store();
        // A pipe that nobody reads yet: whoever opens it to write waits.
        let pipe = folder.path().join("d/events.jsonl");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let telling = std::thread::spawn(move || {
            for _ in 0..12 {
                store.append("d", &Event::Output { text: "x".repeat(1024 * 1024) });
            }
            store.append("d", &FINISHED);
            store
        });
        crate::remove::tests::eventually("everything is told", || telling.is_finished());
        assert!(telling.join().unwrap().lock().is_empty());
    }

    #[tokio::test]
    async fn a_follower_that_comes_when_the_end_was_told_gets_all_of_it() {
        let (_folder, store) = store();
        for ahead in 0..2000 {
            store.append("d", &Event::Position { ahead });
        }
        store.append("d", &FINISHED);
        // For one it is over, for the other not yet.
        for at_rest in [Some(Outcome::Deleted), None] {
            let events: Vec<_> = store.follow("d".into(), 0, at_rest).collect().await;
            assert_eq!((events.len(), events.last()), (2001, Some(&(2001, FINISHED))));
        }
        assert!(store.lock().is_empty(), "nothing is kept for it");
    }
}
