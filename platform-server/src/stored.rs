//! Files that outlive a loss of power, and among them those named by their digest: stored once, however many refer to them,
//! and removed when nobody does.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::deployment::Digest;

/// Puts a file in its place, in the place of one that is there. When this returns, content and name are on the disk.
pub(crate) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    #[expect(clippy::disallowed_methods, reason = "the one place that does what has to be done around it")]
    file.persist(path).map_err(|error| error.error)?;
    sync_folder_of(path)
}

/// As [`persist`], but a file that is there stays, and is an error.
pub(crate) fn persist_new(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    #[expect(clippy::disallowed_methods, reason = "the one place that does what has to be done around it")]
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder_of(path)
}

/// A name is in its folder, and that has to be written as well.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// A folder of such files.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    folder: Arc<Path>,
    extension: &'static str,
    /// Held to store and to remove: else what was just found to be there could be removed for its age.
    changes: Arc<Mutex<()>>,
}

impl Stored {
    pub(crate) fn new(folder: PathBuf, extension: &'static str) -> Self {
        Self { folder: folder.into(), extension, changes: Arc::default() }
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.{}", digest.as_str(), self.extension))
    }

    /// A file to be stored later. Should that not come, it goes by itself.
    pub(crate) fn temporary(&self) -> io::Result<NamedTempFile> {
        NamedTempFile::new_in(&self.folder)
    }

    /// Puts the file in its place, unless the same is there already; what is there may be damaged. Its time is that of now
    /// in any case.
    pub(crate) fn store(&self, file: NamedTempFile, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !same(file.path(), &path)? {
            persist(file, &path)?;
        }
        File::open(path)?.set_modified(SystemTime::now())
    }

    /// Whether the file is there; with `compare`, also whether its content is that of the digest.
    pub(crate) fn is_whole(&self, digest: &Digest, compare: bool) -> io::Result<bool> {
        let mut file = match File::open(self.path(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        if !compare {
            return Ok(file.metadata()?.len() > 0);
        }
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash)?;
        Ok(Digest::new(&hash.finalize()) == *digest)
    }

    /// Removes what is not `kept`, if it was stored before this time. What cannot be removed is told, and keeps nothing else.
    pub(crate) fn remove_stale(&self, kept: &HashSet<String>, before: SystemTime) -> io::Result<()> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split_once('.')).map(|(digest, _)| digest);
            // Of what is on its way to its place, the name is no digest.
            let Some(digest) = digest.filter(|digest| digest.parse::<Digest>().is_ok()) else { continue };
            if kept.contains(digest) {
                continue;
            }
            let removed = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .and_then(|stored| if stored < before { fs::remove_file(entry.path()) } else { Ok(()) });
            if let Err(error) = removed {
                tracing::warn!(file = %entry.path().display(), %error, "a file that nobody needs cannot be removed");
            }
        }
        Ok(())
    }
}

/// Whether there are two files, of one content.
fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let open = |path| File::open(path).map(BufReader::new);
    let mut other = match open(other) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    let mut one = open(one)?;
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let length = a.len().min(b.len());
        if a[..length] != b[..length] || (length == 0 && a.len() != b.len()) {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::*;

    #[test]
    fn a_file_goes_when_nobody_refers_to_it_and_it_is_not_new() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::new(folder.path().to_path_buf(), "so");
        let digests = [Digest::new(&[1; 32]), Digest::new(&[2; 32])];
        for digest in &digests {
            let mut file = stored.temporary().unwrap();
            file.write_all(b"content").unwrap();
            stored.store(file, digest).unwrap();
        }
        let _on_its_way = stored.temporary().unwrap();
        let kept = HashSet::from([digests[0].as_str().to_owned()]);
        let now = SystemTime::now();
        stored.remove_stale(&kept, now - Duration::from_secs(60)).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "all of them are new");
        let past = now - Duration::from_secs(120);
        File::open(stored.path(&digests[1])).unwrap().set_modified(past).unwrap();
        let mut again = stored.temporary().unwrap();
        again.write_all(b"content").unwrap();
        stored.store(again, &digests[1]).unwrap();
        stored.remove_stale(&kept, now - Duration::from_secs(60)).unwrap();
        assert_eq!(fs::read_to_string(stored.path(&digests[1])).unwrap(), "content", "stored again, it is new, and the same");
        stored.remove_stale(&kept, SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert!(stored.path(&digests[0]).exists() && !stored.path(&digests[1]).exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_damaged_file_is_seen_and_replaced_when_it_is_stored_again() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::new(folder.path().to_path_buf(), "so");
        let digest = Digest::new(&Sha256::digest(b"content"));
        let store = || {
            let mut file = stored.temporary().unwrap();
            file.write_all(b"content").unwrap();
            stored.store(file, &digest).unwrap();
        };
        let whole = || [false, true].map(|compare| stored.is_whole(&digest, compare).unwrap());
        assert_eq!(whole(), [false, false]);
        store();
        assert_eq!(whole(), [true, true]);
        for damaged in ["contend", "conten", "contents", ""] {
            fs::write(stored.path(&digest), damaged).unwrap();
            assert_eq!(whole(), [!damaged.is_empty(), false], "{damaged}");
            store();
            assert_eq!(whole(), [true, true], "{damaged}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_that_cannot_be_removed_keeps_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let stored = Stored::new(folder.path().to_path_buf(), "so");
        let digests: Vec<Digest> = (0..20).map(|n| Digest::new(&[n; 32])).collect();
        for (n, digest) in digests.iter().enumerate() {
            // Not a file, so that removing it as one fails.
            if n % 2 == 0 { fs::create_dir(stored.path(digest)).unwrap() } else { fs::write(stored.path(digest), "").unwrap() }
        }
        stored.remove_stale(&HashSet::new(), SystemTime::now() + Duration::from_secs(60)).unwrap();
        let left: Vec<bool> = digests.iter().map(|digest| stored.path(digest).exists()).collect();
        assert_eq!(left, [true, false].repeat(10));
    }

    #[test]
    fn a_file_that_must_be_new_replaces_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let file = |text: &str| {
            let mut file = NamedTempFile::new_in(folder.path()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file
        };
        persist_new(file("one"), &path).unwrap();
        assert!(persist_new(file("two"), &path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        persist(file("three"), &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
