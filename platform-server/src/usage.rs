//! What a folder takes on the disk, however deep it is: a build must not be able to hide what it has written.
//!
//! One descriptor at a time is enough, and a path of any length: a folder is opened from the one around it, and left
//! through its `..`.

use std::{
    collections::BTreeSet,
    ffi::CString,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat},
    io::Errno,
    path::Arg,
};

use crate::remove::open_folder;

/// What becomes of a folder whose mode keeps its owner out, who is no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its mode is changed, and it is counted.
    Open,
    /// It is left as it is, and not counted.
    Leave,
}

const FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// One of the folders on the way to where we are.
struct Level {
    /// Says whether its `..` still leads there.
    id: (u64, u64),
    /// Its folders that are still to be looked into.
    inner: Vec<CString>,
}

/// Bytes that all files below `folder` take on the disk. What vanishes meanwhile counts nothing; where folders are moved
/// about meanwhile, it is what was found until then.
pub(crate) fn disk_usage(folder: &Path, closed: Closed) -> u64 {
    let mut usage = Usage { closed, bytes: 0, seen: BTreeSet::new() };
    // What cannot be opened is not there any more, or not ours.
    let _ = usage.of(folder);
    usage.bytes
}

struct Usage {
    closed: Closed,
    bytes: u64,
    /// cargo hard-links its outputs: each counts once.
    seen: BTreeSet<u64>,
}

impl Usage {
    fn of(&mut self, folder: &Path) -> Result<(), Errno> {
        let mut here = self.open(CWD, folder)?;
        let mut levels = vec![self.look_into(&here)?];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.inner.pop() {
                // The others count all the same.
                let Ok(inner) = self.open(&here, name.as_c_str()) else { continue };
                let Ok(level) = self.look_into(&inner) else { continue };
                levels.push(level);
                here = inner;
            } else {
                levels.pop();
                let Some(outer) = levels.last() else { break };
                here = openat(&here, c"..", FLAGS, Mode::empty())?;
                if id(&here)? != outer.id {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Opens a folder, if it can be left through its `..` again.
    fn open(&self, at: impl AsFd, name: impl Arg + Copy) -> Result<OwnedFd, Errno> {
        let usable = |folder: OwnedFd| statat(&folder, c"..", AtFlags::SYMLINK_NOFOLLOW).map(|_| folder);
        match openat(&at, name, FLAGS, Mode::empty()).and_then(usable) {
            Err(Errno::ACCESS) if self.closed == Closed::Open => open_folder(&at, name).and_then(usable),
            opened => opened,
        }
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
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::remove::{
        all,
        tests::{DEEP, as_ordinary_user, nested},
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
        let plain = disk_usage(&folder, Closed::Open);
        assert!((80_000..120_000).contains(&plain), "{plain}");
        // Deeper than a path can say.
        nested(&folder.join("deep"), DEEP);
        let mut deepest = fs::File::open(folder.join("deep")).map(OwnedFd::from).unwrap();
        for _ in 0..DEEP {
            deepest = openat(&deepest, c"d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        let file = openat(&deepest, c"hidden", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
        std::io::Write::write_all(&mut fs::File::from(file), &[1; 40_000]).unwrap();
        let with_hidden = disk_usage(&folder, Closed::Open);
        assert!((plain + 40_000..plain + 60_000).contains(&with_hidden), "{with_hidden}");
        all(&folder).unwrap();
        assert_eq!(disk_usage(&folder, Closed::Open), 0);
    }

    #[test]
    fn a_folder_that_is_closed_to_its_owner_hides_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().to_path_buf();
        as_ordinary_user(parent.path(), move || {
            let folder = path.join("folder");
            let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
            for name in names {
                fs::create_dir_all(folder.join(name).join("inner")).unwrap();
                fs::write(folder.join(name).join("inner/file"), vec![1; 40_000]).unwrap();
            }
            for (name, mode) in [("c", 0o444), ("d", 0o000), ("e", 0o111), ("f", 0o600)] {
                fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
            }
            let open = disk_usage(&folder, Closed::Leave);
            assert!((160_000..240_000).contains(&open), "the closed ones alone are not counted: {open}");
            let mode = fs::metadata(folder.join("c")).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o444);
            let all = disk_usage(&folder, Closed::Open);
            assert!((320_000..480_000).contains(&all), "{all}");
        });
    }
}
