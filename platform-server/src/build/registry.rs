//! The registry cache that all builds share. Fetches write it, under a uid of their own; builds, under others, read it.
//!
//! cargo unpacks crates with the modes that their authors' files had, and some are closed to everybody else. So what a
//! fetch has brought is opened for reading before a build needs it.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The cache's folder: a `CARGO_HOME`.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) home: PathBuf,
    /// Unpacked crates that were looked at already.
    opened: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Registry {
    pub(crate) fn new(home: PathBuf) -> Self {
        Self { home, opened: Arc::default() }
    }

    /// Makes every crate readable that has come since the last call.
    pub(super) fn open_for_reading(&self) -> io::Result<()> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        for registry in folders(&self.home.join("registry/src"))? {
            for unpacked in folders(&registry)? {
                // cargo writes this file last; a crate without it is still being unpacked, by another fetch.
                if !opened.contains(&unpacked) && unpacked.join(".cargo-ok").exists() {
                    open(&unpacked)?;
                    opened.insert(unpacked);
                }
            }
        }
        Ok(())
    }
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Links are left alone: what they point at is opened where it is, if it is in here.
fn open(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let wanted = mode | if metadata.is_dir() || mode & 0o100 != 0 { 0o555 } else { 0o444 };
    if mode != wanted {
        fs::set_permissions(path, fs::Permissions::from_mode(wanted))?;
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            open(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_files_of_a_crate_are_opened_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let unpacked = folder.path().join("home/registry/src/index/a-1.0.0");
        fs::create_dir_all(unpacked.join("src")).unwrap();
        fs::write(unpacked.join(".cargo-ok"), "").unwrap();
        let (closed, outside) = (unpacked.join("src/lib.rs"), folder.path().join("outside"));
        for path in [&closed, &outside] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, unpacked.join("link")).unwrap();
        Registry::new(folder.path().join("home")).open_for_reading().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&closed), mode(&outside)), (0o644, 0o600));
    }
}
