//! The archives that the server was sent.

use std::{collections::BTreeMap, io::Read as _, path::Path};

use axum::body::Bytes;
use platform_wire::ArchiveIndex;

/// An archive as it arrived.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) project: String,
    /// The request's parameters.
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) bytes: Bytes,
}

impl Archive {
    /// The set of secrets that it names.
    pub(crate) fn secrets(&self) -> Option<&str> {
        self.query.get("secrets").map(String::as_str)
    }

    fn tar(&self) -> tar::Archive<flate2::read::GzDecoder<&[u8]>> {
        tar::Archive::new(flate2::read::GzDecoder::new(&self.bytes[..]))
    }

    /// Names of the entries in their order.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut tar = self.tar();
        tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn headers(&self) -> Vec<tar::Header> {
        self.tar().entries().unwrap().map(|entry| entry.unwrap().header().clone()).collect()
    }

    #[track_caller]
    pub(crate) fn text(&self, name: &str) -> String {
        for entry in self.tar().entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap() == Path::new(name) {
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                return text;
            }
        }
        panic!("no {name} in {:?}", self.names());
    }

    pub(crate) fn index(&self) -> ArchiveIndex {
        serde_json::from_str(&self.text("shuttle.json")).unwrap()
    }

    pub(crate) fn unpack(&self, folder: &Path) {
        self.tar().unpack(folder).unwrap();
    }
}
