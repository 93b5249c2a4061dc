//! Files named by their digest: stored once, however many refer to them, and removed when nobody does.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use crate::deployment::Digest;

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
    pub(crate) fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(&self.folder)
    }

    /// Puts the file in its place, unless the same is there already. Its time is that of now in any case.
    pub(crate) fn store(&self, file: tempfile::NamedTempFile, digest: &Digest) -> io::Result<()> {
        let path = self.path(digest);
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !path.exists() {
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
        }
        File::open(path)?.set_modified(SystemTime::now())
    }

    /// Removes what is not `kept`, if it was stored before this time.
    pub(crate) fn remove_stale(&self, kept: &HashSet<String>, before: SystemTime) -> io::Result<()> {
        let _alone = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|name| name.split_once('.')).map(|(digest, _)| digest);
            // Of what is on its way to its place, the name is no digest.
            let Some(digest) = digest.filter(|digest| digest.parse::<Digest>().is_ok()) else { continue };
            if !kept.contains(digest) && entry.metadata()?.modified()? < before {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
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
        stored.store(stored.temporary().unwrap(), &digests[1]).unwrap();
        stored.remove_stale(&kept, now - Duration::from_secs(60)).unwrap();
        assert_eq!(fs::read_to_string(stored.path(&digests[1])).unwrap(), "content", "stored again, it is new, and the same");
        stored.remove_stale(&kept, SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert!(stored.path(&digests[0]).exists() && !stored.path(&digests[1]).exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
