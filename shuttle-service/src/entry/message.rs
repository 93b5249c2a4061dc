//! Messages of checks that fail at compile time, put together from parts.

use crate::manifest::Writer;

/// More than any message needs; a part that finds no room is left out.
const ROOM: usize = 1024;

pub(super) struct Message(Writer<ROOM>);

impl Message {
    pub(super) const fn new() -> Self {
        Self(Writer::new())
    }

    pub(super) const fn add(&mut self, part: &str) {
        if self.0.len() + part.len() <= ROOM {
            self.0.raw(part);
        }
    }

    pub(super) const fn text(&self) -> &str {
        self.0.text()
    }
}
