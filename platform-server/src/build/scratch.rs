//! Folders that a build fills before they get their place, or that it needs for a while.
//!
//! Each is locked while somebody works in it. So what a killed server has left there is told from what another build still
//! fills, in this process or in another one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FlockOperation, flock};

use crate::{
    provision::secret,
    remove::{Trash, open_folder},
};

/// How they are called.
const PREFIX: &str = ".tmp-";

/// One of them. Dropping it throws it away.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    trash: Trash,
    placed: bool,
    _lock: File,
}

impl Scratch {
    /// An empty folder in `parent`, for code that runs under `uid`.
    pub(super) fn new(parent: &Path, uid: Option<u32>, trash: &Trash) -> io::Result<Self> {
        loop {
            let path = parent.join(format!("{PREFIX}{}", secret(6)?));
            fs::create_dir(&path)?;
            // A sweep may take one that is not locked yet for a leftover.
            let Some(lock) = lock(&path)? else { continue };
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            chown(&path, uid, uid)?;
            return Ok(Self { path, trash: trash.clone(), placed: false, _lock: lock });
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to its place.
    pub(super) fn place(mut self, to: &Path) -> io::Result<()> {
        fs::rename(&self.path, to)?;
        self.placed = true;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !self.placed {
            self.trash.discard_or_tell(&self.path);
        }
    }
}

pub(super) fn is_scratch(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(PREFIX.trim_end_matches('-').as_bytes())
}

/// Throws away those in `parent` in which nobody works.
pub(super) fn sweep(parent: &Path, trash: &Trash) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        if !is_scratch(&entry.file_name()) {
            continue;
        }
        if !entry.file_type()?.is_dir() {
            trash.discard_or_tell(&entry.path());
        } else if let Some(_lock) = lock(&entry.path())? {
            trash.discard_or_tell(&entry.path());
        }
    }
    Ok(())
}

/// `None`: somebody else has locked it, or has moved it away.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let folder = match open_folder(CWD, path) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let locked = id(folder.metadata()?);
    let there = fs::symlink_metadata(path).map(id);
    Ok(there.is_ok_and(|there| there == locked).then_some(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_works_in_is_swept_and_the_rest_is_not() {
        let root = tempfile::tempdir().unwrap();
        let trash = Trash::emptied_at_once(root.path().join("trash"));
        let parent = root.path().join("parent");
        fs::create_dir_all(parent.join("1")).unwrap();
        // As an earlier server left them, killed.
        fs::create_dir_all(parent.join(".tmp-dependenciesA1b2C3/target/release")).unwrap();
        fs::create_dir_all(parent.join(".tmpX4y5Z6/closed")).unwrap();
        fs::set_permissions(parent.join(".tmpX4y5Z6"), fs::Permissions::from_mode(0o000)).unwrap();
        let (filled, other) = (Scratch::new(&parent, None, &trash).unwrap(), Scratch::new(&parent, None, &trash).unwrap());
        sweep(&parent, &trash).unwrap();
        let there = || {
            let mut names: Vec<_> = fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().path()).collect();
            names.sort();
            names
        };
        let mut left = vec![filled.path().to_path_buf(), other.path().to_path_buf(), parent.join("1")];
        left.sort();
        assert_eq!(there(), left);
        fs::write(filled.path().join("file"), "").unwrap();
        filled.place(&parent.join("2")).unwrap();
        drop(other);
        assert_eq!(there(), [parent.join("1"), parent.join("2")]);
        assert!(parent.join("2/file").exists());
    }
}
