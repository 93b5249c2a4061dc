//! From compressed bytes to entries: gzip, tar blocks, long names.
//!
//! The `tar` crate parses a header's fields; the blocks are read here and not by its iterator, which takes the end of
//! the file for the end of the archive, does not look behind it, and reads long names into memory without a limit.

use std::{
    cell::{Cell, RefCell},
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use flate2::bufread::GzDecoder;
use tar::{EntryType, Header};

use super::{ArchiveError, ArchiveLimits, Refusal, error::PathFault, path};

const BLOCK: usize = 512;
/// Longest extended header that is read, in bytes; the path in it has a limit of its own.
const EXTENSION_BYTES: u64 = 64 * 1024;
/// Zeros that may follow the end of the archive, in bytes: tar programs pad to whole records of 10 KiB or so.
const PADDING_BYTES: u64 = 1024 * 1024;

/// One entry that may be unpacked; its name is checked.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Folder,
    /// Its content has to be read with [`Entries::copy_content`] before the next entry.
    File {
        size: u64,
        executable: bool,
    },
}

/// Keeps the error of the underlying reader, which the decoder would mix up with its own.
struct Source<R> {
    reader: R,
    failed: Rc<RefCell<Option<io::Error>>>,
    /// Whether it has given a byte.
    any: Rc<Cell<bool>>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                *self.failed.borrow_mut() = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })?;
        self.any.set(self.any.get() || read > 0);
        Ok(read)
    }
}

pub(super) struct Entries<'a, R: Read> {
    gzip: GzDecoder<BufReader<Source<R>>>,
    failed: Rc<RefCell<Option<io::Error>>>,
    any: Rc<Cell<bool>>,
    limits: &'a ArchiveLimits,
    /// Headers so far, extended ones included.
    headers: u64,
    begun: bool,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(super) fn new(reader: R, limits: &'a ArchiveLimits) -> Self {
        let (failed, any) = (Rc::new(RefCell::new(None)), Rc::new(Cell::new(false)));
        let source = Source { reader, failed: Rc::clone(&failed), any: Rc::clone(&any) };
        let gzip = GzDecoder::new(BufReader::with_capacity(64 * 1024, source));
        Self { gzip, failed, any, limits, headers: 0, begun: false }
    }

    /// The number of the entry that was read last, extended headers included; the first is 1.
    pub(super) fn number(&self) -> u64 {
        self.headers
    }

    /// The next entry; `None` once the archive has ended as it should, with nothing behind it.
    pub(super) fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut long_name: Option<Vec<u8>> = None;
        loop {
            let Some(header) = self.next_header()? else {
                self.finish()?;
                // A long name has to be followed by what it names.
                return if long_name.is_some() { Err(Refusal::Truncated.whole()) } else { Ok(None) };
            };
            let name = long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
            let size = header.entry_size().map_err(|_| Refusal::Field("size").at_bytes(&name))?;
            match header.entry_type() {
                EntryType::GNULongName => {
                    let mut value = self.read_extension(&name, size)?;
                    value.truncate(value.iter().position(|b| *b == 0).unwrap_or(value.len()));
                    long_name = Some(value);
                }
                EntryType::XHeader => long_name = path_of_pax(&self.read_extension(&name, size)?, &name)?,
                EntryType::XGlobalHeader => {
                    if path_of_pax(&self.read_extension(&name, size)?, &name)?.is_some() {
                        return Err(Refusal::Extension("path".into()).at_bytes(&name));
                    }
                }
                kind => return self.plain_entry(&header, kind, &name, size).map(Some),
            }
        }
    }

    fn plain_entry(&self, header: &Header, kind: EntryType, name: &[u8], size: u64) -> Result<Entry, ArchiveError> {
        let kind = match kind {
            EntryType::Regular | EntryType::Continuous if !name.ends_with(b"/") => {
                let mode = header.mode().map_err(|_| Refusal::Field("mode").at_bytes(name))?;
                Kind::File { size, executable: mode & 0o111 != 0 }
            }
            EntryType::Directory if size == 0 => Kind::Folder,
            // What is a folder by one reading and a file by another is neither.
            EntryType::Directory => return Err(Refusal::FolderWithContent { bytes: size }.at_bytes(name)),
            EntryType::Regular | EntryType::Continuous => return Err(Refusal::FileNamedAsFolder.at_bytes(name)),
            other => return Err(Refusal::EntryType(describe(other)).at_bytes(name)),
        };
        let trimmed = if matches!(kind, Kind::Folder) { name.strip_suffix(b"/").unwrap_or(name) } else { name };
        let checked = path::check(trimmed, self.limits).map_err(|fault| Refusal::Path(fault).at_bytes(name))?;
        Ok(Entry { name: checked.to_owned(), kind })
    }

    /// Hands the content of a file to `write`, piece by piece, and skips the padding behind it.
    pub(super) fn copy_content(
        &mut self,
        name: &str,
        size: u64,
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ArchiveError> {
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = self.read_some(&mut buffer[..most])?;
            if read == 0 {
                return Err(Refusal::Truncated.at(name));
            }
            write(&buffer[..read]).map_err(|error| ArchiveError::Write { entry: name.to_owned(), error })?;
            left -= read as u64;
        }
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let mut block = [0; BLOCK];
        let padding = &mut block[..padding as usize];
        if self.read_full(padding)? < padding.len() {
            return Err(Refusal::Truncated.at(name));
        }
        Ok(())
    }

    fn read_extension(&mut self, name: &[u8], size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION_BYTES {
            return Err(Refusal::Path(PathFault::TooLong(self.limits.path_bytes)).at_bytes(name));
        }
        let mut value = Vec::with_capacity(size as usize);
        let shown = String::from_utf8_lossy(name).into_owned();
        self.copy_content(&shown, size, |bytes| {
            value.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(value)
    }

    /// The next header, its checksum verified; `None` at the block of zeros that ends an archive.
    fn next_header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let mut block = [0; BLOCK];
        let read = self.read_full(&mut block)?;
        if read < BLOCK {
            return Err(if self.begun || read > 0 { Refusal::Truncated } else { Refusal::NoEntries }.whole());
        }
        self.begun = true;
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        // Each entry may have an extension or two, no more.
        self.headers += 1;
        if self.headers > self.limits.entries.saturating_mul(3) {
            return Err(Refusal::TooManyEntries { limit: self.limits.entries }.whole());
        }
        let header = Header::from_byte_slice(&block).clone();
        let mut right = header.clone();
        right.set_cksum();
        if header.cksum().ok() != right.cksum().ok() {
            return Err(Refusal::Checksum.whole());
        }
        Ok(Some(header))
    }

    /// After the first block of zeros: only zeros, then the end of the gzip stream, whose checksum is verified by
    /// reading it, then the end of the file.
    fn finish(&mut self) -> Result<(), ArchiveError> {
        let mut buffer = [0; BLOCK];
        let mut padding = 0;
        loop {
            let read = self.read_some(&mut buffer)?;
            if read == 0 {
                break;
            }
            padding += read as u64;
            if padding > PADDING_BYTES || buffer[..read].iter().any(|b| *b != 0) {
                return Err(Refusal::TrailingData.whole());
            }
        }
        if self.gzip.get_mut().fill_buf().map_err(ArchiveError::Read)?.is_empty() {
            Ok(())
        } else {
            Err(Refusal::TrailingData.whole())
        }
    }

    fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
        loop {
            match self.gzip.read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.explain(&error)),
            }
        }
    }

    fn explain(&self, error: &io::Error) -> ArchiveError {
        if let Some(error) = self.failed.borrow_mut().take() {
            return ArchiveError::Read(error);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof if !self.any.get() => Refusal::Empty.whole(),
            io::ErrorKind::UnexpectedEof => Refusal::Truncated.whole(),
            _ if self.gzip.header().is_none() => Refusal::NotGzip.whole(),
            _ => Refusal::Damaged(error.to_string()).whole(),
        }
    }
}

/// The path in a pax header. Keywords that change what the entry is are refused, the others say nothing that is used.
fn path_of_pax(content: &[u8], name: &[u8]) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut path = None;
    for extension in tar::PaxExtensions::new(content) {
        let extension = extension.map_err(|_| Refusal::ExtendedHeader.at_bytes(name))?;
        match extension.key_bytes() {
            b"path" => path = Some(extension.value_bytes().to_vec()),
            b"mtime" | b"atime" | b"ctime" | b"uid" | b"gid" | b"uname" | b"gname" | b"comment" => {}
            key => return Err(Refusal::Extension(String::from_utf8_lossy(key).escape_debug().take(80).collect()).at_bytes(name)),
        }
    }
    Ok(path)
}

fn describe(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Symlink => "symbolic links",
        EntryType::Link => "hard links",
        EntryType::Char | EntryType::Block => "devices",
        EntryType::Fifo => "named pipes",
        EntryType::GNUSparse => "sparse files",
        EntryType::GNULongLink => "links with long targets",
        _ => "entries of this type",
    }
}
