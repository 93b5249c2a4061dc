//! The build folders: one for each project, kept from build to build because cargo reuses what is in them, and the compiled
//! dependencies that projects share ([`shared`]); together under a size limit, the least recently used removed first.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};

use super::{
    blocking,
    fetched::FETCHED,
    shared::{self, ChosenBy},
    skeleton::Skeleton,
    tree,
};

/// All build folders.
#[derive(Debug, Clone)]
pub(crate) struct BuildFolders {
    root: Arc<Path>,
    max_bytes: u64,
}

/// A folder that nobody removes while this exists: a lock, so that another process sees it as well.
#[derive(Debug)]
pub(crate) struct Reserved {
    _lock: File,
}

/// The folder of one project, reserved for one build.
#[derive(Debug)]
pub(crate) struct BuildFolder {
    /// What is compiled; the server's.
    pub(crate) tree: PathBuf,
    /// cargo's target folder; the build uid's.
    pub(crate) target: PathBuf,
    /// An empty folder to stand in.
    pub(crate) empty: PathBuf,
    _reserved: Reserved,
}

/// What a folder is and takes.
#[derive(Debug)]
pub(crate) struct Kept {
    /// A project's id; `None` for compiled dependencies that projects share.
    pub(crate) project: Option<i64>,
    pub(crate) bytes: u64,
    pub(crate) used: SystemTime,
    name: String,
}

impl BuildFolders {
    pub(crate) fn new(root: PathBuf, max_bytes: u64) -> Self {
        Self { root: root.into(), max_bytes }
    }

    /// The project's folder, made if it is missing.
    pub(crate) async fn open(&self, project_id: i64, uid: Option<u32>) -> io::Result<BuildFolder> {
        let this = self.clone();
        blocking(move || {
            let name = project_id.to_string();
            let base = this.root.join(&name);
            let folder = BuildFolder {
                tree: base.join("tree"),
                target: base.join("target"),
                empty: base.join("empty"),
                _reserved: this.reserve(&name)?,
            };
            for path in [&folder.tree, &folder.empty, &folder.target] {
                fs::create_dir_all(path)?;
            }
            if let Some(uid) = uid {
                std::os::unix::fs::chown(&folder.target, Some(uid), Some(uid))?;
            }
            // The time of this file is when the folder was last used.
            fs::write(base.join("used"), "")?;
            Ok(folder)
        })
        .await
    }

    /// Waits while the folder is being removed.
    fn reserve(&self, name: &str) -> io::Result<Reserved> {
        let lock = self.lock_file(name)?;
        flock(&lock, FlockOperation::LockShared)?;
        Ok(Reserved { _lock: lock })
    }

    /// It stays when the folder goes: whoever waits for it has it open.
    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.root.join(format!("{name}.lock")))
    }

    /// Dependencies that are compiled as this skeleton's are.
    pub(super) fn shared(&self, skeleton: &Skeleton, chosen_by: ChosenBy) -> io::Result<Option<(PathBuf, Reserved)>> {
        self.find(&shared::name(skeleton, chosen_by))
    }

    /// Dependencies to start from, where there are none that are the same.
    pub(super) fn shared_by_some(&self, skeleton: &Skeleton) -> io::Result<Option<(PathBuf, Reserved)>> {
        match shared::best(&self.root, &skeleton.profile, &skeleton.packages)? {
            Some(name) => self.find(&name),
            None => Ok(None),
        }
    }

    fn find(&self, name: &str) -> io::Result<Option<(PathBuf, Reserved)>> {
        let reserved = self.reserve(name)?;
        let folder = self.root.join(name);
        Ok(folder.join("used").exists().then_some((folder, reserved)))
    }

    /// Keeps these units of what was compiled in `target`.
    pub(super) fn share(
        &self,
        skeleton: &Skeleton,
        hashes: &BTreeSet<String>,
        target: &Path,
        chosen_by: ChosenBy,
    ) -> io::Result<()> {
        shared::keep(skeleton, hashes, target, &self.root.join(shared::name(skeleton, chosen_by)))
    }

    /// Has every project fetch what it needs once more.
    pub(super) fn forget_fetched(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            match fs::remove_file(entry?.path().join(FETCHED)) {
                Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    /// All folders, the least recently used first.
    pub(crate) fn list(&self) -> io::Result<Vec<Kept>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let used = fs::metadata(entry.path().join("used")).and_then(|metadata| metadata.modified());
            folders.push(Kept {
                project: name.parse().ok(),
                bytes: tree::disk_usage(&entry.path()),
                used: used.unwrap_or(SystemTime::UNIX_EPOCH),
                name,
            });
        }
        folders.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.name.cmp(&b.name)));
        Ok(folders)
    }

    /// Removes a folder. `false`: it is in use.
    pub(crate) fn remove(&self, folder: &Kept) -> io::Result<bool> {
        let lock = self.lock_file(&folder.name)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            other => other?,
        }
        // Held while the folder goes, so that no build opens it meanwhile.
        fs::remove_dir_all(self.root.join(&folder.name))?;
        Ok(true)
    }

    /// Removes least recently used folders until the rest is below the limit.
    pub(crate) fn evict(&self) -> io::Result<()> {
        let folders = self.list()?;
        let mut total: u64 = folders.iter().map(|folder| folder.bytes).sum();
        for folder in &folders {
            if total <= self.max_bytes {
                break;
            }
            if self.remove(folder)? {
                tracing::info!(
                    folder = folder.name,
                    bytes = folder.bytes,
                    "a build folder is removed: all together are over the limit"
                );
                total = total.saturating_sub(folder.bytes);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_least_recently_used_goes_first_and_a_busy_one_never() {
        let root = tempfile::tempdir().unwrap();
        let folders = BuildFolders::new(root.path().to_path_buf(), 300 * 1024);
        let mut ages = SystemTime::UNIX_EPOCH;
        for project in 1..=3 {
            let folder = folders.open(project, None).await.unwrap();
            fs::write(folder.target.join("big"), vec![1; 120 * 1024]).unwrap();
            ages += std::time::Duration::from_secs(1);
            let used = File::options().write(true).open(root.path().join(project.to_string()).join("used")).unwrap();
            used.set_modified(ages).unwrap();
        }
        let _newest = folders.open(4, None).await.unwrap();
        folders.evict().unwrap();
        let left: Vec<bool> = (1..=4).map(|project| root.path().join(project.to_string()).exists()).collect();
        assert_eq!(left, [false, true, true, true]);

        let small = BuildFolders { max_bytes: 1, ..folders };
        let _busy = small.open(3, None).await.unwrap();
        small.evict().unwrap();
        assert!(root.path().join("3/target/big").exists());
        assert!(!root.path().join("2").exists());
    }
}
