//! The events of each deployment: appended to a file of its own, followed by any number of readers.
//!
//! A line's number is its id, so a reader that lost its connection says which one it saw last and goes on from there,
//! also when the server was restarted in between. A slow reader reads from the file and holds up nobody.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::Stream;
use platform_wire::{Event, Outcome};
use tokio::sync::watch;

/// Most bytes of compiler output that are kept for one deployment.
const MAX_OUTPUT: u64 = 8 * 1024 * 1024;

/// All event files, below the folder of the deployments.
#[derive(Debug, Clone)]
pub(crate) struct EventStore {
    folder: Arc<Path>,
    open: Arc<Mutex<HashMap<String, Writer>>>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    output: u64,
    /// Changes with each line; closed after the last one.
    written: watch::Sender<u64>,
}

impl EventStore {
    pub(crate) fn new(deployments: &Path) -> Self {
        Self { folder: deployments.into(), open: Arc::default() }
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(id).join("events.jsonl")
    }

    /// Appends an event. What cannot be written is lost to followers and said in the server's log: an event is a
    /// report, and the deployment must not fail for it.
    pub(crate) fn append(&self, id: &str, event: &Event) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write(&mut open, id, event) {
            tracing::warn!(deployment = id, %error, "an event could not be written");
        }
        if matches!(event, Event::Finished { .. }) {
            open.remove(id);
        }
    }

    fn write(&self, open: &mut HashMap<String, Writer>, id: &str, event: &Event) -> io::Result<()> {
        if !open.contains_key(id) {
            open.insert(id.to_owned(), Writer::open(&self.path(id))?);
        }
        let Some(writer) = open.get_mut(id) else { return Ok(()) };
        // What the user's code can make as much of as it likes. Everything else is bounded by the states.
        let size = match event {
            Event::Output { text } => text.len(),
            Event::Progress { unit, .. } => 64 + unit.len(),
            _ => 0,
        };
        if size > 0 {
            let before = writer.output;
            writer.output += size as u64;
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
        let store = self.clone();
        futures_util::stream::unfold(
            Follower { store, id, next: after, offset: 0, line: 0, pending: Vec::new().into_iter(), finished: false, at_rest },
            |mut follower| async move { follower.next().await.map(|item| (item, follower)) },
        )
    }

    fn watch(&self, id: &str) -> io::Result<watch::Receiver<u64>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = open.get(id) {
            return Ok(writer.written.subscribe());
        }
        let writer = Writer::open(&self.path(id))?;
        let receiver = writer.written.subscribe();
        open.insert(id.to_owned(), writer);
        Ok(receiver)
    }
}

impl Writer {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let content = fs::read(path)?;
        // A line that a crash cut short is taken back, so that numbers stay those of whole lines.
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        let lines = content[..whole].iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(Self { file, output: whole as u64, written: watch::Sender::new(lines) })
    }

    fn line(&mut self, event: &Event) -> io::Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.written.send_modify(|lines| *lines += 1);
        Ok(())
    }
}

struct Follower {
    store: EventStore,
    id: String,
    /// Events up to this one are not wanted.
    next: u64,
    /// Where in the file, in bytes and lines, reading goes on.
    offset: u64,
    line: u64,
    pending: std::vec::IntoIter<(u64, Event)>,
    finished: bool,
    at_rest: Option<Outcome>,
}

impl Follower {
    async fn next(&mut self) -> Option<(u64, Event)> {
        loop {
            if let Some((number, event)) = self.pending.next() {
                self.finished |= matches!(event, Event::Finished { .. });
                if number > self.next {
                    return Some((number, event));
                }
                continue;
            }
            if self.finished {
                return None;
            }
            self.pending = self.read().ok()?.into_iter();
            if self.pending.len() > 0 {
                continue;
            }
            if let Some(outcome) = self.at_rest.take() {
                self.finished = true;
                return Some((self.line + 1, Event::Finished { outcome }));
            }
            // Read once more after subscribing, so that a line written in between is seen.
            let mut written = self.store.watch(&self.id).ok()?;
            written.mark_unchanged();
            self.pending = self.read().ok()?.into_iter();
            if self.pending.len() == 0 {
                // An error means that the writer is gone, because it has written the last event; that is read next.
                let _ = written.changed().await;
            }
        }
    }

    fn read(&mut self) -> io::Result<Vec<(u64, Event)>> {
        let mut file = match File::open(self.store.path(&self.id)) {
            Ok(file) => BufReader::new(file),
            // The deployment is too old for its files to be kept; how it ended is known without them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.at_rest.is_some() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
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
        let store = EventStore::new(folder.path());
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
        drop(store);
        OpenOptions::new().append(true).open(folder.path().join("d/events.jsonl")).unwrap().write_all(b"{\"type\":\"st").unwrap();
        let store = EventStore::new(folder.path());
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
        assert!(store.open.lock().unwrap().is_empty(), "nothing stays open for it");
    }
}
