//! Unpacking what was posted to `/deploy`: a tar, gzip-compressed, whose first entry is the [`ArchiveIndex`].
//!
//! An archive is hostile input. This module owns the decision what of it may become a file: regular files and folders
//! with plain relative paths, each once, within [`ArchiveLimits`]. It writes only below the folder that it creates, and
//! never makes or follows a link. It never runs or interprets what it unpacked, and knows nothing of HTTP, deployments or
//! builds.
//!
//! [`entries`] reads blocks, [`path`] judges names, [`index`] judges `shuttle.json`, this file writes.

mod entries;
mod error;
mod index;
mod path;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use platform_wire::{ArchiveIndex, INDEX_NAME};

use self::entries::{Entries, Entry, Kind};
pub use self::error::{ArchiveError, Refusal};

/// How much an archive may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Entries, of all kinds, the folders that their paths imply included. Default: 100 000.
    pub entries: u64,
    /// Folders among them, named or implied. A path of a kilobyte can imply dozens, and each costs more than a small file.
    /// Default: 20 000.
    pub folders: u64,
    /// Bytes of all files together, unpacked. Default: 1 GiB.
    pub unpacked_bytes: u64,
    /// Bytes of one file, unpacked. Default: 512 MiB.
    pub file_bytes: u64,
    /// Bytes of the index. Default: 512 KiB, as environment variables are in it.
    pub index_bytes: u64,
    /// Bytes of one path. Default: 1024.
    pub path_bytes: usize,
    /// Parts of one path. Default: 64.
    pub path_depth: usize,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self {
            entries: 100_000,
            folders: 20_000,
            unpacked_bytes: 1 << 30,
            file_bytes: 512 << 20,
            index_bytes: 512 << 10,
            path_bytes: 1024,
            path_depth: 64,
        }
    }
}

const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;
const PROGRAM_MODE: u32 = 0o755;

/// Unpacks the archive in `reader` into the new folder `into`, and returns its index. The index itself is not written.
///
/// It blocks: call it from a thread that may.
///
/// # Errors
/// When the archive is refused ([`ArchiveError::Refused`]), or when reading it or writing files fails. What has been unpacked
/// until then is for the caller to throw away. That `into` exists before is an error as well, and leaves it alone.
pub fn unpack(reader: impl Read, into: &Path, limits: &ArchiveLimits) -> Result<ArchiveIndex, ArchiveError> {
    // The folder's own creation is what proves that nothing in it, no link above all, is from somebody else.
    make_folder(into).map_err(|error| ArchiveError::Write { entry: String::new(), error })?;
    let mut entries = Entries::new(reader, limits);
    let unpacked = Unpacker { into, limits, entries: 0, folders: 0, bytes: 0 }.run(&mut entries);
    unpacked.map_err(|error| error.of_entry(entries.number()))
}

struct Unpacker<'a> {
    into: &'a Path,
    limits: &'a ArchiveLimits,
    /// Entries so far, implied folders included.
    entries: u64,
    /// Folders among them.
    folders: u64,
    /// Bytes of files so far.
    bytes: u64,
}

impl Unpacker<'_> {
    fn run<R: Read>(mut self, entries: &mut Entries<'_, R>) -> Result<ArchiveIndex, ArchiveError> {
        let index = self.read_index(entries)?;
        while let Some(entry) = entries.next_entry()? {
            self.count(&entry.name)?;
            match entry.kind {
                Kind::Folder => self.write_folder(&entry)?,
                Kind::File { .. } => self.write_file(&entry, entries)?,
            }
        }
        index::check_files(&index, self.into)?;
        Ok(index)
    }

    fn read_index<R: Read>(&mut self, entries: &mut Entries<'_, R>) -> Result<ArchiveIndex, ArchiveError> {
        let first = entries.next_entry()?;
        let Some(Entry { name, kind: Kind::File { size, .. } }) = first.filter(|entry| entry.name == INDEX_NAME) else {
            return Err(Refusal::NoIndex.at(INDEX_NAME));
        };
        self.count(&name)?;
        if size > self.limits.index_bytes {
            return Err(Refusal::IndexTooLarge { limit: self.limits.index_bytes }.at(&name));
        }
        let mut json = Vec::new();
        entries.copy_content(&name, size, |bytes| {
            json.extend_from_slice(bytes);
            Ok(())
        })?;
        index::parse(&json, self.limits)
    }

    fn count(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(Refusal::TooManyEntries { limit: self.limits.entries }.at(name));
        }
        Ok(())
    }

    /// A folder may be named more than once: nothing is lost by it, and a file's path names its folders as well.
    fn write_folder(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        self.make_parents(&entry.name)?;
        if !self.into.join(&entry.name).is_dir() {
            self.count_folder(&entry.name)?;
        }
        self.make_one(&entry.name, &entry.name)
    }

    fn make_parents(&mut self, name: &str) -> Result<(), ArchiveError> {
        // From the innermost outwards: mostly it is there already.
        let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
        let missing = ends.iter().rev().take_while(|at| !self.into.join(&name[..**at]).is_dir()).count();
        for at in &ends[ends.len() - missing..] {
            self.count(name)?;
            self.count_folder(name)?;
            self.make_one(&name[..*at], name)?;
        }
        Ok(())
    }

    /// Counts a folder before it is made.
    fn count_folder(&mut self, name: &str) -> Result<(), ArchiveError> {
        self.folders += 1;
        if self.folders > self.limits.folders {
            return Err(Refusal::TooManyFolders { limit: self.limits.folders }.at(name));
        }
        Ok(())
    }

    /// Makes one folder, whose parents exist.
    fn make_one(&self, folder: &str, name: &str) -> Result<(), ArchiveError> {
        let path = self.into.join(folder);
        match make_folder(&path) {
            Ok(()) => Ok(()),
            // Nothing but files and folders of this archive can be there, so this does not follow a link.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            Err(error) if is_conflict(&error) => Err(Refusal::Conflict.at(name)),
            Err(error) => Err(ArchiveError::Write { entry: name.to_owned(), error }),
        }
    }

    fn write_file<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<'_, R>) -> Result<(), ArchiveError> {
        let Entry { name, kind: Kind::File { size, executable } } = entry else { return Ok(()) };
        if *size > self.limits.file_bytes {
            return Err(Refusal::FileTooLarge { limit: self.limits.file_bytes }.at(name));
        }
        self.bytes = self.bytes.saturating_add(*size);
        if self.bytes > self.limits.unpacked_bytes {
            return Err(Refusal::UnpacksToTooMuch { limit: self.limits.unpacked_bytes }.at(name));
        }
        self.make_parents(name)?;
        let path = self.into.join(name);
        let mode = if *executable { PROGRAM_MODE } else { FILE_MODE };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::AlreadyExists {
                if path.is_dir() { Refusal::Conflict.at(name) } else { Refusal::Duplicate.at(name) }
            } else if is_conflict(&error) {
                Refusal::Conflict.at(name)
            } else {
                ArchiveError::Write { entry: name.clone(), error }
            }
        })?;
        entries.copy_content(name, *size, |bytes| file.write_all(bytes))?;
        // The server's umask must not decide whether the build's uid can read the file.
        file.set_permissions(Permissions::from_mode(mode)).map_err(|error| ArchiveError::Write { entry: name.clone(), error })
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))
}

/// A file stands where a folder is wanted, or the other way round.
fn is_conflict(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory)
}
