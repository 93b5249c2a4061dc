//! Reading a log back, and following it. All of it reads from disk; nothing here can make a writer wait.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Seek, SeekFrom},
    sync::Arc,
};

use futures_util::{Stream, stream};
use platform_wire::LogLine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{blocking, project::ProjectLog, segment};

/// Lines that a follower reads at a time.
const BATCH: usize = 256;

/// The last `n` lines, oldest first; only those of the deployment with this end of its id, if one is named.
pub(super) fn tail(log: &ProjectLog, n: usize, deployment: Option<&str>) -> io::Result<Vec<(u64, LogLine)>> {
    let mut newest_first = Vec::new();
    for first in log.segments().into_iter().rev() {
        if newest_first.len() >= n {
            break;
        }
        let content = match fs::read(segment::path(&log.dir, first)) {
            Ok(content) => content,
            // Removed since it was listed, as are all before it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        // What follows the last newline is a line that is just being written.
        let lines = content.rsplit(|b| *b == b'\n').skip(1);
        let is_wanted = |line: &LogLine| deployment.is_none_or(|deployment| line.deployment.ends_with(deployment));
        let wanted = lines.filter_map(segment::decode).filter(|(_, line)| is_wanted(line));
        newest_first.extend(wanted.take(n - newest_first.len()));
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// A place in a log, from which it is read on.
#[derive(Debug)]
pub(super) struct Cursor {
    log: Arc<ProjectLog>,
    /// Id of the last line that was read.
    last: u64,
    open: Option<Open>,
}

/// The segment that is being read. It can be read to its end even when it has been removed meanwhile.
#[derive(Debug)]
struct Open {
    first: u64,
    file: BufReader<File>,
    /// The line that is being read; empty between two calls.
    line: Vec<u8>,
}

impl Cursor {
    /// The place after the line `after`.
    pub(super) fn new(log: Arc<ProjectLog>, after: u64) -> Self {
        Self { log, last: after, open: None }
    }

    /// At most `max` lines; fewer only where there are no more for now.
    pub(super) fn read(&mut self, max: usize) -> io::Result<Vec<(u64, LogLine)>> {
        let mut lines = Vec::new();
        while lines.len() < max {
            // Asked before the end of the file is met: once there is a next segment, this one does not grow.
            let next = self.next_segment();
            let Some(open) = &mut self.open else {
                match next {
                    Some(first) => self.enter(first)?,
                    None => break,
                }
                continue;
            };
            if open.read_into(&mut lines, &mut self.last, max)? {
                match next {
                    Some(first) => self.enter(first)?,
                    None => break,
                }
            }
        }
        Ok(lines)
    }

    /// The segment after the open one; where none is open, the one that has the next line, or the oldest.
    fn next_segment(&self) -> Option<u64> {
        let segments = self.log.segments();
        match &self.open {
            Some(open) => segments.into_iter().find(|first| *first > open.first),
            None => segments.iter().rev().find(|first| **first <= self.last.saturating_add(1)).or(segments.first()).copied(),
        }
    }

    fn enter(&mut self, first: u64) -> io::Result<()> {
        match File::open(segment::path(&self.log.dir, first)) {
            Ok(file) => self.open = Some(Open { first, file: BufReader::new(file), line: Vec::new() }),
            // Removed since it was listed: the list is another one by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.log.segments().contains(&first) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Open {
    /// Reads lines with ids above `last`; says whether it met the end of the file.
    fn read_into(&mut self, lines: &mut Vec<(u64, LogLine)>, last: &mut u64, max: usize) -> io::Result<bool> {
        while lines.len() < max {
            self.line.clear();
            let read = self.file.read_until(b'\n', &mut self.line)?;
            if self.line.last() != Some(&b'\n') {
                // A line whose end is not written yet; should the writer fail to, it takes the beginning back.
                if read > 0 {
                    self.file.seek(SeekFrom::Current(-(read as i64)))?;
                }
                return Ok(true);
            }
            if let Some((id, line)) = segment::decode(&self.line)
                && id > *last
            {
                *last = id;
                lines.push((id, line));
            }
        }
        Ok(false)
    }
}

/// A follower between two lines.
struct Follower {
    /// `None` once the log could not be read.
    cursor: Option<Cursor>,
    newest: watch::Receiver<u64>,
    end: CancellationToken,
    batch: VecDeque<(u64, LogLine)>,
}

/// The lines after `after`, and all that come.
pub(super) fn follow(log: Arc<ProjectLog>, after: Option<u64>) -> impl Stream<Item = (u64, LogLine)> + Send {
    let (newest, end) = (log.watch(), log.end());
    let now = *newest.borrow();
    // An id that this log never gave out, such as one of a data folder that was thrown away, would not be reached.
    let after = after.map_or(now, |after| after.min(now));
    let follower = Follower { cursor: Some(Cursor::new(log, after)), newest, end, batch: VecDeque::new() };
    stream::unfold(follower, |mut follower| async move {
        let line = follower.next().await?;
        Some((line, follower))
    })
}

impl Follower {
    async fn next(&mut self) -> Option<(u64, LogLine)> {
        loop {
            if let Some(line) = self.batch.pop_front() {
                return Some(line);
            }
            let mut cursor = self.cursor.take()?;
            // Seen before reading: whatever is written after this wakes the wait below.
            let ended = self.end.is_cancelled();
            let newest = *self.newest.borrow_and_update();
            if newest > cursor.last {
                let read = blocking(move || cursor.read(BATCH).map(|lines| (lines, cursor))).await;
                let (lines, cursor) =
                    read.inspect_err(|error| tracing::warn!(%error, "a log that is followed cannot be read")).ok()?;
                self.batch = lines.into();
                self.cursor = Some(cursor);
                if !self.batch.is_empty() {
                    continue;
                }
            } else {
                self.cursor = Some(cursor);
            }
            if ended {
                return None;
            }
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                () = self.end.cancelled() => {}
            }
        }
    }
}
