//! Room on the disk that is kept for when there is none.
//!
//! To start, and to delete something, the database has to write a little. On a full disk it could not, and the owner could
//! free nothing through the server. So a file in the data directory takes up room, and is given up when there is no other.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// Of a small disk, no more than this part is kept.
const PART: u64 = 16;

/// The file, and when it is given up. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Reserve {
    file: Arc<Path>,
    folder: Arc<Path>,
    bytes: u64,
    /// Held to give it up and to take it back.
    changes: Arc<Mutex<()>>,
}

impl Reserve {
    /// At most so many bytes, in the data directory at `folder`.
    pub(crate) fn new(folder: &Path, bytes: u64) -> Self {
        let file: PathBuf = folder.join("reserve");
        Self { file: file.into(), folder: folder.into(), bytes, changes: Arc::default() }
    }

    /// Bytes that are free and too few to go on with, the reserve left aside; `None` where there are enough.
    pub(crate) fn low(&self) -> io::Result<Option<u64>> {
        let disk = Disk::of(&self.folder)?;
        Ok((disk.free < self.wanted(&disk) / 4).then_some(disk.free))
    }

    /// Gives the room up where there is too little. Whether it did.
    pub(crate) fn give_up_if_low(&self) -> io::Result<bool> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if self.low()?.is_none() {
            return Ok(false);
        }
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }

    /// Takes the room, or as much of it as there is.
    pub(crate) fn take(&self) -> io::Result<()> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = Disk::of(&self.folder)?;
        let wanted = self.wanted(&disk);
        let has = fs::metadata(&self.file).map_or(0, |metadata| metadata.len());
        // What is left for the database meanwhile.
        let bytes = wanted.min((has + disk.free).saturating_sub(wanted / 8));
        if bytes <= has {
            return Ok(());
        }
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.file)?;
        let taken = match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Some file systems take room only for what is written.
            Err(Errno::OPNOTSUPP) => {
                file.seek(SeekFrom::Start(has)).and_then(|_| io::copy(&mut io::repeat(0).take(bytes - has), &mut file)).map(drop)
            }
            other => other.map_err(io::Error::from),
        };
        if taken.is_err() {
            // It may have got a part.
            file.set_len(has)?;
        }
        taken
    }

    fn wanted(&self, disk: &Disk) -> u64 {
        self.bytes.min(disk.total / PART)
    }
}

struct Disk {
    total: u64,
    free: u64,
}

impl Disk {
    fn of(folder: &Path) -> io::Result<Self> {
        let disk = statvfs(folder)?;
        Ok(Self { total: disk.f_blocks.saturating_mul(disk.f_frsize), free: disk.f_bavail.saturating_mul(disk.f_frsize) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_room_and_stays_while_there_is_more() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::new(folder.path(), 1 << 20);
        reserve.take().unwrap();
        let file = folder.path().join("reserve");
        let blocks = || std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&file).unwrap()) * 512;
        assert!(blocks() >= 1 << 20, "{} bytes", blocks());
        assert_eq!((reserve.low().unwrap(), reserve.give_up_if_low().unwrap()), (None, false));
        reserve.take().unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len(), 1 << 20);
        // More than the disk has is never wanted.
        let whole = Reserve::new(folder.path(), u64::MAX);
        let disk = Disk::of(folder.path()).unwrap();
        assert_eq!(whole.wanted(&disk), disk.total / PART);
    }
}
