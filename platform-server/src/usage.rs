//! What a folder takes on the disk, however deep it is: a build must not be able to hide what it has written.
//!
//! One descriptor at a time is enough, and a path of any length: a folder is opened from the one around it, and left
//! through its `..`.

use std::{collections::BTreeSet, ffi::CString, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat},
    io::Errno,
};

/// One of the folders on the way to where we are.
struct Level {
    /// Says whether its `..` still leads there.
    id: (u64, u64),
    /// Its folders that are still to be looked into.
    inner: Vec<CString>,
}

/// Bytes that all files below `folder` take on the disk. What vanishes meanwhile counts nothing; where folders are moved
/// about meanwhile, it is what was found until then.
pub(crate) fn disk_usage(folder: &Path) -> u64 {
    let mut usage = Usage::default();
    // What cannot be opened is not there any more, or not ours.
    let _ = usage.of(folder);
    usage.bytes
}

#[derive(Default)]
struct Usage {
    bytes: u64,
    /// cargo hard-links its outputs: each counts once.
    seen: BTreeSet<u64>,
}

impl Usage {
    fn of(&mut self, folder: &Path) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut here = openat(CWD, folder, flags, Mode::empty())?;
        let mut levels = vec![self.look_into(&here)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.inner.pop() {
                let Ok(inner) = openat(&here, name, flags, Mode::empty()) else { continue };
                levels.push(self.look_into(&inner)?);
                here = inner;
            } else {
                levels.pop();
                let Some(outer) = levels.last() else { break };
                here = openat(&here, c"..", flags, Mode::empty())?;
                if id(&here)? != outer.id {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Counts the files of a folder.
    fn look_into(&mut self, folder: &OwnedFd) -> Result<Level, Errno> {
        let mut inner = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                inner.push(name.to_owned());
            } else if stat.st_nlink == 1 || self.seen.insert(stat.st_ino) {
                self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
            }
        }
        Ok(Level { id: id(folder)?, inner })
    }
}

fn id(folder: &OwnedFd) -> Result<(u64, u64), Errno> {
    fstat(folder).map(|stat| (stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::remove::{
        all,
        tests::{DEEP, nested},
    };

    #[test]
    fn every_file_counts_once_however_deep_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::create_dir_all(folder.join("a/c")).unwrap();
        fs::write(folder.join("a/b/file"), vec![1; 40_000]).unwrap();
        fs::write(folder.join("a/c/file"), vec![1; 40_000]).unwrap();
        fs::hard_link(folder.join("a/b/file"), folder.join("linked")).unwrap();
        std::os::unix::fs::symlink("/usr", folder.join("link")).unwrap();
        let plain = disk_usage(&folder);
        assert!((80_000..120_000).contains(&plain), "{plain}");
        // Deeper than a path can say.
        nested(&folder.join("deep"), DEEP);
        let mut deepest = fs::File::open(folder.join("deep")).map(OwnedFd::from).unwrap();
        for _ in 0..DEEP {
            deepest = openat(&deepest, c"d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let file = openat(&deepest, c"hidden", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &[1; 40_000]).unwrap();
        let with_hidden = disk_usage(&folder);
        assert!((plain + 40_000..plain + 60_000).contains(&with_hidden), "{with_hidden}");
        all(&folder).unwrap();
        assert_eq!(disk_usage(&folder), 0);
    }
}
