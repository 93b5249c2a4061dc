//! The manifest, written at compile time: a record of the ELF section, laid out as [`shuttle_abi::manifest`] reads it.
//!
//! Everything here is `const`: an app's section is there without running anything of it.

use shuttle_abi::{Kind, Listen, MANIFEST_VERSION, RECORD_MAGIC};

/// What the manifest says of the service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceInfo {
    pub(crate) framework: &'static str,
    pub(crate) kind: Kind,
    pub(crate) listen: Listen,
}

/// What the manifest says of a parameter.
#[derive(Debug, Clone, Copy)]
pub struct ParamInfo {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
}

/// What a manifest is made of.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    pub crate_name: &'static str,
    pub service: ServiceInfo,
    pub params: &'static [ParamInfo],
}

impl Manifest {
    /// Length of the record in bytes.
    #[must_use]
    pub const fn record_len(&self) -> usize {
        HEAD + self.json_len()
    }

    /// The record; `N` is [`record_len`](Self::record_len).
    #[must_use]
    pub const fn record<const N: usize>(&self) -> [u8; N] {
        let mut writer = Writer::<N>::new();
        writer.bytes(&RECORD_MAGIC);
        writer.bytes(&(self.json_len() as u32).to_le_bytes());
        self.json(&mut writer);
        assert!(writer.at == N, "the record has another length than it was given");
        writer.to
    }

    const fn json_len(&self) -> usize {
        let mut counter = Writer::<0>::new();
        self.json(&mut counter);
        counter.at
    }

    const fn json<const N: usize>(&self, to: &mut Writer<N>) {
        const { assert!(MANIFEST_VERSION == 1) };
        to.raw(r#"{"manifest":1,"sdk":"#);
        to.string(crate::VERSION);
        to.raw(r#","crate":"#);
        to.string(self.crate_name);
        to.raw(r#","service":{"framework":"#);
        to.string(self.service.framework);
        to.raw(r#","kind":"#);
        to.string(match self.service.kind {
            Kind::Http => "http",
        });
        to.raw(r#","listen":"#);
        to.string(match self.service.listen {
            Listen::Unix => "unix",
            Listen::Tcp => "tcp",
            Listen::Own => "own",
        });
        to.raw(r#"},"resources":["#);
        let mut i = 0;
        while i < self.params.len() {
            if i > 0 {
                to.raw(",");
            }
            to.raw(r#"{"name":"#);
            to.string(self.params[i].name);
            to.raw(r#","type":"#);
            to.string(self.params[i].kind);
            to.raw(r#","options":{}}"#);
            i += 1;
        }
        to.raw("]}");
    }
}

/// Length of what stands before the JSON: the magic, and a `u32`.
const HEAD: usize = RECORD_MAGIC.len() + 4;

/// Writes into an array, or, with `N` = 0, only counts.
struct Writer<const N: usize> {
    to: [u8; N],
    at: usize,
}

impl<const N: usize> Writer<N> {
    const fn new() -> Self {
        Self { to: [0; N], at: 0 }
    }

    const fn byte(&mut self, byte: u8) {
        if N > 0 {
            self.to[self.at] = byte;
        }
        self.at += 1;
    }

    const fn bytes(&mut self, bytes: &[u8]) {
        let mut i = 0;
        while i < bytes.len() {
            self.byte(bytes[i]);
            i += 1;
        }
    }

    const fn raw(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A JSON string. Only quotes, backslashes and control characters need an escape; all else is UTF-8 as it stands.
    const fn string(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.byte(b'"');
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
        self.byte(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: ServiceInfo = ServiceInfo { framework: "axum", kind: Kind::Http, listen: Listen::Unix };

    #[test]
    fn the_reader_reads_what_is_written() {
        const MANIFEST: Manifest = Manifest {
            crate_name: "my_app",
            service: SERVICE,
            params: &[ParamInfo { name: "pool", kind: "postgres" }, ParamInfo { name: "größe", kind: "redis" }],
        };
        static RECORD: [u8; MANIFEST.record_len()] = MANIFEST.record();

        let read = shuttle_abi::Manifest::parse_section(&RECORD).unwrap();
        let [read] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!((read.crate_name.as_str(), read.sdk.as_str()), ("my_app", env!("CARGO_PKG_VERSION")));
        assert_eq!((read.service.framework.as_str(), read.service.listen), ("axum", Listen::Unix));
        let resources: Vec<_> = read.resources.iter().map(|r| (r.name.as_str(), r.kind.as_str())).collect();
        assert_eq!(resources, [("pool", "postgres"), ("größe", "redis")]);
    }

    #[test]
    fn strings_are_escaped() {
        const NAME: &str = "a\"b\\c\u{1}\n\u{1f}é";
        const MANIFEST: Manifest = Manifest { crate_name: NAME, service: SERVICE, params: &[] };
        static RECORD: [u8; MANIFEST.record_len()] = MANIFEST.record();

        assert_eq!(shuttle_abi::Manifest::parse_section(&RECORD).unwrap()[0].crate_name, NAME);
    }

    #[test]
    fn each_way_to_listen_is_read_back() {
        for listen in [Listen::Unix, Listen::Tcp, Listen::Own] {
            let mut writer = Writer::<1024>::new();
            Manifest { crate_name: "a", service: ServiceInfo { listen, ..SERVICE }, params: &[] }.json(&mut writer);
            let read: shuttle_abi::Manifest = serde_json::from_slice(&writer.to[..writer.at]).unwrap();
            assert_eq!(read.service.listen, listen);
        }
    }
}
