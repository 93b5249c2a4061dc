//! What an artifact says of itself: its manifest, read from the ELF file without running or loading any of it.
//!
//! An artifact is made of a user's code, so the file is hostile input: it is read in pieces, each bounded, and nothing
//! in it is believed beyond what [`shuttle_abi::Manifest`] can hold.

use std::{
    fs::File,
    io::{self, Read, Seek},
    path::Path,
};

use object::{
    Endianness, FileKind, ReadCache, ReadRef,
    elf::{ET_DYN, ET_EXEC, FileHeader64},
    read::elf::{FileHeader, SectionHeader},
};
use shuttle_abi::{MANIFEST_SECTION, Manifest, ManifestError};

/// Longest manifest section that is read, in bytes.
pub const MAX_SECTION: u64 = 1024 * 1024;
/// Most sections that an artifact may have. A shared library has some thirty; the table is held in memory.
const MAX_SECTIONS: usize = 4096;

/// Why an artifact has no usable manifest. The first four are for the user, as is [`ReadManifestError::Manifest`].
#[derive(Debug, thiserror::Error)]
pub enum ReadManifestError {
    #[error("what was compiled is no library or program of 64 bits ({0})")]
    NotAnArtifact(String),
    #[error("no function annotated with #[shuttle_service::main] was compiled into it")]
    NoSection,
    #[error(
        "no function of the crate `{crate_name}` itself is annotated with #[shuttle_service::main]; found one in: {}",
        crate::listing::names(found)
    )]
    NotInCrate {
        crate_name: String,
        /// The crates that do have one; they are dependencies of it.
        found: Vec<String>,
    },
    #[error("the crate `{crate_name}` has {count} functions annotated with #[shuttle_service::main]; there has to be one")]
    TwoFunctions { crate_name: String, count: usize },
    #[error("the section {MANIFEST_SECTION} has {size} bytes, over the limit of {MAX_SECTION}")]
    TooLarge { size: u64 },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error("the artifact could not be read: {0}")]
    Io(#[from] io::Error),
}

impl ReadManifestError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoSection | Self::NotInCrate { .. } => {
                Some("put #[shuttle_service::main] on one `async fn` in src/lib.rs, not behind a #[cfg] that is off here")
            }
            Self::TwoFunctions { .. } => Some("keep the annotation on one function; a project is one service"),
            Self::Manifest(ManifestError::Newer { .. }) => {
                Some("update the server (platform-server), or use the version of shuttle-service that belongs to it")
            }
            Self::Manifest(ManifestError::Malformed(_)) => Some("update shuttle-service and deploy again"),
            _ => None,
        }
    }
}

/// Reads the manifest of the crate `crate_name` (underscores for hyphens) from the artifact at `path`.
///
/// # Errors
/// When the file cannot be read, is no artifact, or has not exactly one record for the crate.
pub fn read_manifest(path: &Path, crate_name: &str) -> Result<Manifest, ReadManifestError> {
    read_manifest_from(File::open(path)?, crate_name)
}

/// As [`read_manifest`], from a file that is open, or from bytes in a [`io::Cursor`].
///
/// # Errors
/// As [`read_manifest`].
pub fn read_manifest_from(artifact: impl Read + Seek, crate_name: &str) -> Result<Manifest, ReadManifestError> {
    let cache = ReadCache::new(artifact);
    let section = read_section(&cache)?;
    let mut manifests = Manifest::parse_section(section)?;
    let found: Vec<String> = manifests.iter().map(|manifest| manifest.crate_name.clone()).collect();
    manifests.retain(|manifest| manifest.crate_name == crate_name);
    match (manifests.pop(), manifests.len()) {
        (Some(manifest), 0) => Ok(manifest),
        (Some(_), others) => Err(ReadManifestError::TwoFunctions { crate_name: crate_name.to_owned(), count: others + 1 }),
        (None, _) => Err(ReadManifestError::NotInCrate { crate_name: crate_name.to_owned(), found }),
    }
}

fn not_an_artifact(why: impl ToString) -> ReadManifestError {
    ReadManifestError::NotAnArtifact(why.to_string())
}

fn read_section<R: Read + Seek>(cache: &ReadCache<R>) -> Result<&[u8], ReadManifestError> {
    match FileKind::parse(cache) {
        Ok(FileKind::Elf64) => {}
        Ok(other) => return Err(not_an_artifact(format!("it is {other:?}"))),
        Err(error) => return Err(not_an_artifact(error)),
    }
    find_section(cache)
}

/// Reads the header, the table of sections and that section, and nothing else: a file may say that its table of symbols
/// is as long as itself.
fn find_section<'a>(data: impl ReadRef<'a>) -> Result<&'a [u8], ReadManifestError> {
    let header = FileHeader64::<Endianness>::parse(data).map_err(not_an_artifact)?;
    let endian = header.endian().map_err(not_an_artifact)?;
    // Programs are of the first type as well, unless they were told to stand at a fixed place.
    if !matches!(header.e_type(endian), ET_DYN | ET_EXEC) {
        return Err(not_an_artifact("it is an ELF file of another type"));
    }
    if header.section_headers(endian, data).map_err(not_an_artifact)?.len() > MAX_SECTIONS {
        return Err(not_an_artifact("it has too many sections"));
    }
    let sections = header.sections(endian, data).map_err(not_an_artifact)?;
    let section = sections.section_by_name(endian, MANIFEST_SECTION.as_bytes());
    let (_, section) = section.ok_or(ReadManifestError::NoSection)?;
    match section.sh_size(endian) {
        0 => Err(ReadManifestError::NoSection),
        size if size > MAX_SECTION => Err(ReadManifestError::TooLarge { size }),
        _ => section.data(endian, data).map_err(not_an_artifact),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use object::{
        Architecture, BinaryFormat, SectionKind,
        write::{Object, StandardSegment},
    };
    use shuttle_abi::RECORD_MAGIC;

    use super::*;

    fn record(version: u32, crate_name: &str) -> Vec<u8> {
        let json = format!(
            r#"{{"manifest":{version},"sdk":"0.1.0","crate":"{crate_name}",
                "service":{{"framework":"axum","kind":"http","listen":"unix"}},"resources":[]}}"#
        );
        let mut bytes = RECORD_MAGIC.to_vec();
        bytes.extend((json.len() as u32).to_le_bytes());
        bytes.extend(json.as_bytes());
        bytes
    }

    /// An ELF file with this section. `object` writes relocatable files only, so its type is set afterwards.
    fn elf(section: Option<(&str, &[u8])>) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        if let Some((name, content)) = section {
            let id = object.add_section(
                object.segment_name(StandardSegment::Data).to_vec(),
                name.as_bytes().to_vec(),
                SectionKind::ReadOnlyData,
            );
            object.append_section_data(id, content, 1);
        }
        let mut bytes = object.write().unwrap();
        bytes[16..18].copy_from_slice(&ET_DYN.to_le_bytes());
        bytes
    }

    fn read(file: &[u8]) -> Result<Manifest, ReadManifestError> {
        read_manifest_from(Cursor::new(file), "app")
    }

    #[test]
    fn the_record_of_the_crate_is_found_among_others() {
        let section = [record(1, "dependency"), record(1, "app")].concat();
        let file = elf(Some((MANIFEST_SECTION, &section)));
        assert_eq!(read(&file).unwrap().crate_name, "app");

        let mut on_disk = tempfile::NamedTempFile::new().unwrap();
        on_disk.write_all(&file).unwrap();
        assert_eq!(read_manifest(on_disk.path(), "dependency").unwrap().crate_name, "dependency");
    }

    #[test]
    fn a_file_that_is_no_shared_library_is_refused() {
        let mut relocatable = elf(None);
        relocatable[16] = 1;
        let mut narrow = elf(None);
        narrow[4] = 1;
        for file in [&b""[..], b"#!/bin/sh\n", &[0; 4096], &relocatable, &narrow, &elf(None)[..64]] {
            assert!(matches!(read(file), Err(ReadManifestError::NotAnArtifact(_))), "{:?}", read(file));
        }
    }

    #[test]
    fn no_annotated_function_is_told_from_one_in_a_dependency() {
        for file in [elf(None), elf(Some((".other", b"x"))), elf(Some((MANIFEST_SECTION, b"")))] {
            assert!(matches!(read(&file), Err(ReadManifestError::NoSection)));
        }
        let error = read(&elf(Some((MANIFEST_SECTION, &record(1, "dependency"))))).unwrap_err();
        assert!(matches!(&error, ReadManifestError::NotInCrate { found, .. } if found == &["dependency"]));
        assert!(error.hint().is_some());
    }

    #[test]
    fn two_functions_of_one_crate_are_refused() {
        let section = [record(1, "app"), record(1, "app")].concat();
        let error = read(&elf(Some((MANIFEST_SECTION, &section)))).unwrap_err();
        assert!(matches!(error, ReadManifestError::TwoFunctions { count: 2, .. }));
    }

    #[test]
    fn a_newer_a_malformed_and_a_huge_section_are_refused() {
        let of = |section: &[u8]| read(&elf(Some((MANIFEST_SECTION, section)))).unwrap_err();
        assert!(matches!(of(&record(9, "app")), ReadManifestError::Manifest(ManifestError::Newer { found: 9, .. })));
        assert!(matches!(of(b"rubbish"), ReadManifestError::Manifest(ManifestError::Malformed(_))));
        assert!(matches!(of(&vec![0; MAX_SECTION as usize + 1]), ReadManifestError::TooLarge { .. }));
    }

    #[test]
    fn a_long_table_of_symbols_is_not_read() {
        struct Counted(Cursor<Vec<u8>>, u64);
        impl Read for &mut Counted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let length = self.0.read(buffer)?;
                self.1 += length as u64;
                Ok(length)
            }
        }
        impl Seek for &mut Counted {
            fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
                self.0.seek(to)
            }
        }
        const LONG: usize = 48 * 1024 * 1024;
        let mut file = elf(Some((MANIFEST_SECTION, &record(1, "app"))));
        let number = |file: &[u8], at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
        let headers = u64::from_le_bytes(file[40..48].try_into().unwrap()) as usize;
        // SHT_SYMTAB; the writer has made one of one symbol.
        let symbols = (0..number(&file, 60)).map(|n| headers + n * 64).find(|at| file[at + 4] == 2).unwrap();
        let start = file.len().next_multiple_of(8);
        file.resize(start + LONG, 0);
        file[symbols + 24..symbols + 32].copy_from_slice(&(start as u64).to_le_bytes());
        file[symbols + 32..symbols + 40].copy_from_slice(&(LONG as u64).to_le_bytes());
        let mut counted = Counted(Cursor::new(file), 0);
        assert_eq!(read_manifest_from(&mut counted, "app").unwrap().crate_name, "app");
        assert!(counted.1 < MAX_SECTION, "{} bytes were read", counted.1);
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_survived() {
        let file = elf(Some((MANIFEST_SECTION, &record(1, "app"))));
        for at in 0..file.len() {
            let _ = read(&file[..at]);
            for value in [0, 0xff, file[at] ^ 0x80] {
                let mut changed = file.clone();
                changed[at] = value;
                let _ = read(&changed);
            }
        }
    }
}
