//! Writes the tar, gzip-compressed. Nothing of the machine or the moment is in it: order, times, owners and modes are fixed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use platform_wire::{ArchiveIndex, INDEX_NAME};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::PackError;

/// The same for every entry. Not zero: some tools take that for "no time".
const TIME: u64 = 1;
/// Source text shrinks hardly more on a higher level, and a redeploy waits for it.
const LEVEL: u32 = 4;
/// The compressor ran on no system in particular.
const UNKNOWN_SYSTEM: u8 = 255;

/// Where an entry's bytes are.
#[derive(Debug)]
pub(super) enum Content {
    File(PathBuf),
    /// A manifest that had to be changed.
    Text(String),
}

impl Content {
    pub(super) fn size(&self) -> Result<u64, PackError> {
        match self {
            Self::File(path) => Ok(fs::metadata(path).map_err(PackError::io(path))?.len()),
            Self::Text(text) => Ok(text.len() as u64),
        }
    }
}

/// An archive, in a file without a name: it goes away with this value, and with a process that is killed as well.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(crate) file: Arc<File>,
    pub(crate) size: u64,
    /// SHA-256, lower-case hexadecimal.
    pub(crate) digest: String,
    pub(crate) entries: usize,
}

/// Writes the index, and then these entries in the order of their names.
pub(super) fn write(index: &ArchiveIndex, entries: &BTreeMap<String, Content>) -> Result<Packed, PackError> {
    let file = tempfile::tempfile().map_err(temp)?;
    let out = file.try_clone().map_err(temp)?;
    let out = Digesting { out: BufWriter::with_capacity(128 * 1024, out), digest: Sha256::new(), size: 0 };
    let gzip = GzBuilder::new().mtime(0).operating_system(UNKNOWN_SYSTEM).write(out, Compression::new(LEVEL));
    let mut tar = Builder::new(gzip);

    let index = serde_json::to_vec(index).map_err(|error| PackError::List(error.to_string()))?;
    append(&mut tar, INDEX_NAME, index.len() as u64, false, index.as_slice()).map_err(temp)?;
    for (name, content) in entries {
        match content {
            Content::File(path) => append_file(&mut tar, name, path)?,
            Content::Text(text) => {
                append(&mut tar, name, text.len() as u64, false, text.as_bytes()).map_err(temp)?;
            }
        }
    }
    let finished = tar.into_inner().and_then(GzEncoder::finish).and_then(Digesting::finish);
    let (size, digest) = finished.map_err(temp)?;
    Ok(Packed { file: Arc::new(file), size, digest, entries: entries.len() })
}

fn append_file(tar: &mut Builder<impl Write>, name: &str, path: &Path) -> Result<(), PackError> {
    let file = File::open(path).map_err(PackError::io(path))?;
    let metadata = file.metadata().map_err(PackError::io(path))?;
    let executable = metadata.permissions().mode() & 0o111 != 0;
    let mut counted = Counted { file: file.take(metadata.len()), count: 0, failed: None };
    let appended = append(tar, name, metadata.len(), executable, &mut counted);
    if let Some(source) = counted.failed {
        return Err(PackError::Io { path: path.to_owned(), source });
    }
    appended.map_err(temp)?;
    // A shorter file would shift everything behind it; a longer one would be cut.
    let now = fs::metadata(path).map_err(PackError::io(path))?.len();
    if counted.count != metadata.len() || now != metadata.len() {
        return Err(PackError::Changed(path.to_owned()));
    }
    Ok(())
}

fn append(tar: &mut Builder<impl Write>, name: &str, size: u64, executable: bool, content: impl Read) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(size);
    tar.append_data(&mut header, name, content)
}

fn temp(source: io::Error) -> PackError {
    PackError::Temp { folder: std::env::temp_dir(), source }
}

/// Tells a fault of the file from one of the archive, and how much there was to read.
struct Counted {
    file: io::Take<File>,
    count: u64,
    failed: Option<io::Error>,
}

impl Read for &mut Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.file.read(buffer) {
            Ok(read) => {
                self.count += read as u64;
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// Digests what is written.
struct Digesting<W> {
    out: W,
    digest: Sha256,
    size: u64,
}

impl<W: Write> Digesting<W> {
    fn finish(mut self) -> io::Result<(u64, String)> {
        self.out.flush()?;
        let digest = self.digest.finalize();
        Ok((self.size, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
