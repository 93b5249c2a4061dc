//! A parser for `text/event-stream`: bytes in, in pieces of any size; events out. No I/O.

/// Longest event that is kept in memory. A log line or a compiler message is far below it.
const MAX_EVENT: usize = 8 * 1024 * 1024;

/// One event: what stood in its `data:` lines, and the newest `id:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SseEvent {
    pub(crate) id: Option<u64>,
    pub(crate) data: String,
}

#[derive(Debug, Default)]
pub(crate) struct SseParser {
    line: Vec<u8>,
    /// A `\n` that follows a `\r` belongs to it, though it may come in the next piece.
    after_return: bool,
    data: String,
    has_data: bool,
    id: Option<u64>,
    size: usize,
}

#[derive(Debug, thiserror::Error)]
#[error("the server sent an event of more than {MAX_EVENT} bytes")]
pub(crate) struct EventTooLong;

impl SseParser {
    /// Takes the next bytes, returns the events that they complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<SseEvent>, EventTooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => {
                    self.size += 1;
                    if self.size > MAX_EVENT {
                        return Err(EventTooLong);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            self.size = 0;
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(SseEvent { id: self.id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" => self.id = value.parse().ok().or(self.id),
            // A comment (an empty field name) only keeps the connection open; it must not add up to a long event.
            "" => self.size = self.data.len(),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<u64>, data: &str) -> SseEvent {
        SseEvent { id, data: data.into() }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_events() {
        let text = ": hi\n\nid: 1\ndata: {\"a\":\"ä\"}\n\nid: 2\r\ndata:x\r\ndata: y\r\n\r\nevent: z\n\ndata\n\n";
        let expected = vec![event(Some(1), "{\"a\":\"ä\"}"), event(Some(2), "x\ny"), event(Some(2), "")];
        for size in 1..=text.len() {
            let mut parser = SseParser::default();
            let events: Vec<_> = text.as_bytes().chunks(size).flat_map(|piece| parser.push(piece).unwrap()).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_event_that_is_cut_off_is_not_dispatched() {
        let mut parser = SseParser::default();
        assert_eq!(parser.push(b"id: 9\ndata: {\"half").unwrap(), vec![]);
    }

    #[test]
    fn endless_comments_are_no_event() {
        let mut parser = SseParser::default();
        for _ in 0..10 {
            let comment = format!(":{}\n", "x".repeat(MAX_EVENT / 4));
            assert_eq!(parser.push(comment.as_bytes()).unwrap(), vec![]);
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        assert!(SseParser::default().push(&vec![b'x'; MAX_EVENT + 1]).is_err());
    }
}
