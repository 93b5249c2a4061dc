//! One project's log: who gets which id, which file is written, which is removed.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use platform_wire::LogLine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{LogLimits, make_folder, segment};

/// Longest target of a record, in bytes. It is a module path.
const MAX_TARGET: usize = 256;

#[derive(Debug)]
pub(super) struct ProjectLog {
    pub(super) dir: PathBuf,
    limits: LogLimits,
    writer: Mutex<Writer>,
    /// Id of the last line that is on disk.
    newest: watch::Sender<u64>,
    /// Ends those who follow now.
    end: Mutex<CancellationToken>,
}

#[derive(Debug)]
struct Writer {
    /// First ids of the segments, oldest first; the last one is being written.
    segments: VecDeque<u64>,
    file: Option<File>,
    /// Bytes in `file`.
    bytes: u64,
    next_id: u64,
    /// Lines on their way to the file.
    buffer: Vec<u8>,
}

impl ProjectLog {
    pub(super) fn open(dir: PathBuf, limits: LogLimits) -> io::Result<Self> {
        let segments = segment::list(&dir)?;
        let (file, bytes, next_id) = match segments.last() {
            Some(first) => {
                let opened = segment::reopen(&dir, *first)?;
                (Some(opened.file), opened.bytes, opened.next_id)
            }
            None => (None, 0, 1),
        };
        let writer = Writer { segments: segments.into(), file, bytes, next_id, buffer: Vec::new() };
        Ok(Self { dir, limits, writer: Mutex::new(writer), newest: watch::Sender::new(next_id - 1), end: Mutex::default() })
    }

    pub(super) fn append(&self, lines: impl IntoIterator<Item = LogLine>) -> io::Result<u64> {
        let mut writer = self.lock();
        let written = self.write(&mut writer, lines);
        let newest = writer.next_id - 1;
        // Under the lock, so that the ids that readers are told never go back.
        self.newest.send_if_modified(|id| std::mem::replace(id, newest) != newest);
        written.map(|()| newest)
    }

    fn write(&self, writer: &mut Writer, lines: impl IntoIterator<Item = LogLine>) -> io::Result<()> {
        let mut id = writer.next_id;
        writer.buffer.clear();
        for mut line in lines {
            cut(&mut line.message, self.limits.max_line);
            cut(&mut line.target, MAX_TARGET);
            let before = writer.buffer.len();
            segment::encode(id, &line, &mut writer.buffer)?;
            if writer.file.is_none() || writer.bytes + writer.buffer.len() as u64 > self.limits.segment_bytes {
                let line = writer.buffer.split_off(before);
                writer.flush(id)?;
                self.rotate(writer)?;
                writer.buffer = line;
            }
            id += 1;
        }
        writer.flush(id)
    }

    /// Begins a new segment, unless the one there is has nothing in it.
    fn rotate(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.file.is_some() && writer.bytes == 0 {
            return Ok(());
        }
        make_folder(&self.dir)?;
        let opened = segment::create(&self.dir, writer.next_id)?;
        writer.segments.push_back(opened.next_id);
        (writer.file, writer.bytes) = (Some(opened.file), 0);
        while writer.segments.len() > self.limits.segments.max(1) {
            if let Some(oldest) = writer.segments.pop_front()
                && let Err(error) = fs::remove_file(segment::path(&self.dir, oldest))
            {
                tracing::warn!(%error, "an old segment of a log cannot be removed");
            }
        }
        Ok(())
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Is cancelled when those who follow from now on are to end.
    pub(super) fn end(&self) -> CancellationToken {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn end_followers(&self) {
        std::mem::take(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner)).cancel();
    }

    /// First ids of the segments, oldest first.
    pub(super) fn segments(&self) -> Vec<u64> {
        self.lock().segments.iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes what is in the buffer; `next_id` is the id after its last line. All of it is in the file or none.
    fn flush(&mut self, next_id: u64) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let Some(file) = self.file.as_mut().filter(|_| !buffer.is_empty()) else { return Ok(()) };
        let written = file.write_all(&buffer);
        match written {
            Ok(()) => {
                self.bytes += buffer.len() as u64;
                self.next_id = next_id;
            }
            // A full disk leaves half a line behind, which would spoil the one after it.
            Err(_) => file.set_len(self.bytes)?,
        }
        buffer.clear();
        self.buffer = buffer;
        written
    }
}

/// Cuts text to `max` bytes, the note that says so not counted.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = text.floor_char_boundary(max);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!(" … ({more} bytes cut)"));
    }
}
