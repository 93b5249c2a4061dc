//! Writing text at compile time, where there is no heap: JSON for the manifest, and messages.

use crate::resource::OptionValue;

/// Where the commas go.
#[derive(Clone, Copy)]
pub(crate) struct List {
    empty: bool,
}

impl List {
    pub(crate) const fn new() -> Self {
        Self { empty: true }
    }

    pub(crate) const fn next<const N: usize>(self, to: &mut Writer<N>) -> Self {
        if !self.empty {
            to.byte(b',');
        }
        Self { empty: false }
    }
}

/// Writes into an array, or, with `N` = 0, only counts.
pub(crate) struct Writer<const N: usize> {
    to: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    pub(crate) const fn new() -> Self {
        Self { to: [0; N], at: 0 }
    }

    /// How many bytes have been written or counted.
    pub(crate) const fn len(&self) -> usize {
        self.at
    }

    /// All of the array, which has to be full.
    pub(crate) const fn whole(self) -> [u8; N] {
        assert!(self.at == N, "the record has another length than it was given");
        self.to
    }

    /// What has been written.
    pub(crate) const fn text(&self) -> &str {
        match std::str::from_utf8(self.to.split_at(self.at).0) {
            Ok(text) => text,
            Err(_) => panic!("only texts are written"),
        }
    }

    pub(crate) const fn byte(&mut self, byte: u8) {
        if N > 0 {
            self.to[self.at] = byte;
        }
        self.at += 1;
    }

    pub(crate) const fn bytes(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    pub(crate) const fn raw(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A JSON string. Only quotes, backslashes and control characters need an escape; all else is UTF-8 as it stands.
    pub(crate) const fn string(&mut self, text: &str) {
        self.byte(b'"');
        self.escaped(text);
        self.byte(b'"');
    }

    /// What stands between the quotes.
    pub(crate) const fn escaped(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let bytes = text.as_bytes();
        let mut i = 0;
        while i < bytes.len() {
            match bytes[i] {
                b @ (b'"' | b'\\') => {
                    self.byte(b'\\');
                    self.byte(b);
                }
                b @ 0..0x20 => {
                    self.raw("\\u00");
                    self.byte(HEX[(b >> 4) as usize]);
                    self.byte(HEX[(b & 15) as usize]);
                }
                b => self.byte(b),
            }
            i += 1;
        }
    }

    pub(crate) const fn number(&mut self, number: u64) {
        if number >= 10 {
            self.number(number / 10);
        }
        self.byte(b'0' + (number % 10) as u8);
    }

    pub(crate) const fn value(&mut self, value: &OptionValue) {
        match value {
            OptionValue::Text(text) => self.string(text),
            OptionValue::Flag(flag) => self.raw(if *flag { "true" } else { "false" }),
            OptionValue::Number(number) => {
                if *number < 0 {
                    self.byte(b'-');
                }
                self.number(number.unsigned_abs());
            }
            OptionValue::List(texts) => {
                self.byte(b'[');
                let mut list = List::new();
                let mut i = 0;
                while i < texts.len() {
                    list = list.next(self);
                    self.string(texts[i]);
                    i += 1;
                }
                self.byte(b']');
            }
        }
    }
}
