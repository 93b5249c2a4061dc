//! From an app's pipe to lines, with a bound on what is held.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are read at a time.
const CHUNK: usize = 8 * 1024;

/// What becomes of a line over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TooLong {
    /// It is given out in several pieces.
    Split,
    /// Its beginning is given out, the rest dropped.
    Drop,
}

/// Reads lines until the end of `reader`, whatever the bytes are: what is not UTF-8 is replaced, a last line needs no
/// newline, `\r\n` ends a line as well.
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    buffer: Vec<u8>,
    /// Where in `buffer` begins what was not given out.
    start: usize,
    /// From `start` to here there is no newline.
    scanned: usize,
    max_line: usize,
    too_long: TooLong,
    /// The rest of a line that was given out is being dropped.
    dropping: bool,
    ended: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Lines of at most `max_line` bytes, counted before what is not UTF-8 is replaced.
    pub fn new(reader: R, max_line: usize, too_long: TooLong) -> Self {
        let max_line = max_line.max(4);
        Self { reader, buffer: Vec::new(), start: 0, scanned: 0, max_line, too_long, dropping: false, ended: false }
    }

    /// The next line, without its end; `None` after the last one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of the reader.
    pub async fn next_line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(line) = self.buffered_line() {
                return Ok(Some(line));
            }
            if self.ended {
                let rest = (self.start < self.buffer.len() && !self.dropping).then(|| text(&self.buffer[self.start..]));
                self.consume_to(self.buffer.len());
                return Ok(rest);
            }
            // All that is left is the beginning of one line, so this moves little, and only once a chunk.
            self.buffer.drain(..self.start);
            (self.start, self.scanned) = (0, self.scanned - self.start);
            self.buffer.reserve(CHUNK);
            let read = (&mut self.reader).take(CHUNK as u64).read_buf(&mut self.buffer).await?;
            self.ended = read == 0;
        }
    }

    /// The next line, if all of it has been read already.
    pub fn buffered_line(&mut self) -> Option<String> {
        loop {
            let newline = self.buffer[self.scanned..].iter().position(|b| *b == b'\n').map(|at| self.scanned + at);
            match newline {
                Some(at) if self.dropping => {
                    self.consume_to(at + 1);
                    self.dropping = false;
                }
                Some(at) if at - self.start <= self.max_line => {
                    let line = text(&self.buffer[self.start..at]);
                    self.consume_to(at + 1);
                    return Some(line);
                }
                None if self.dropping => {
                    self.consume_to(self.buffer.len());
                    return None;
                }
                None if self.buffer.len() - self.start <= self.max_line => {
                    self.scanned = self.buffer.len();
                    return None;
                }
                _ => return Some(self.piece()),
            }
        }
    }

    /// The beginning of a line that is too long.
    fn piece(&mut self) -> String {
        let end = char_boundary(&self.buffer, self.start + self.max_line);
        let piece = String::from_utf8_lossy(&self.buffer[self.start..end]).into_owned();
        self.consume_to(end);
        self.dropping = self.too_long == TooLong::Drop;
        piece
    }

    fn consume_to(&mut self, at: usize) {
        (self.start, self.scanned) = (at, at);
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// The last place up to `max` that is not within a character; `max` where these bytes are no text anyway.
fn char_boundary(bytes: &[u8], max: usize) -> usize {
    let is_continuation = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    (max - 3..=max).rev().find(|at| !is_continuation(*at)).unwrap_or(max)
}
