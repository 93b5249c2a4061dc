//! The build folders: one for each project, kept from build to build because cargo reuses what is in them, and the compiled
//! dependencies that projects share ([`shared`]); together under a size limit, the least recently used removed first.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{blocking, shared, skeleton::Skeleton, tree};

/// All build folders.
#[derive(Debug, Clone)]
pub(crate) struct BuildFolders {
    root: Arc<Path>,
    max_bytes: u64,
    busy: Busy,
}

/// Which folders are in use, and how often.
type Busy = Arc<Mutex<HashMap<String, usize>>>;

/// A folder that is not evicted while this exists.
#[derive(Debug)]
pub(crate) struct Reserved {
    name: String,
    busy: Busy,
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

impl BuildFolders {
    pub(crate) fn new(root: PathBuf, max_bytes: u64) -> Self {
        Self { root: root.into(), max_bytes, busy: Arc::default() }
    }

    /// The project's folder, made if it is missing; others are removed if all together are over the limit.
    pub(crate) async fn open(&self, project_id: i64, uid: Option<u32>) -> io::Result<BuildFolder> {
        let name = project_id.to_string();
        let base = self.root.join(&name);
        let folder = BuildFolder {
            tree: base.join("tree"),
            target: base.join("target"),
            empty: base.join("empty"),
            _reserved: self.reserve(name),
        };
        let this = self.clone();
        let paths = [folder.tree.clone(), folder.empty.clone(), folder.target.clone()];
        blocking(move || {
            for path in &paths {
                fs::create_dir_all(path)?;
            }
            if let Some(uid) = uid {
                std::os::unix::fs::chown(&paths[2], Some(uid), Some(uid))?;
            }
            // The time of this file is when the folder was last used.
            fs::write(base.join("used"), "")?;
            this.evict()
        })
        .await?;
        Ok(folder)
    }

    fn reserve(&self, name: String) -> Reserved {
        *self.busy.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default() += 1;
        Reserved { name, busy: Arc::clone(&self.busy) }
    }

    /// Dependencies that are compiled as this skeleton's are.
    pub(super) fn shared(&self, skeleton: &Skeleton) -> Option<(PathBuf, Reserved)> {
        let name = shared::name(skeleton);
        let reserved = self.reserve(name.clone());
        let folder = self.root.join(name);
        folder.join("used").exists().then_some((folder, reserved))
    }

    /// Dependencies to start from, where there are none that are the same.
    pub(super) fn shared_by_some(&self, packages: &BTreeSet<String>) -> io::Result<Option<(PathBuf, Reserved)>> {
        let Some(name) = shared::best(&self.root, packages)? else { return Ok(None) };
        let reserved = self.reserve(name.clone());
        let folder = self.root.join(name);
        Ok(folder.join("used").exists().then_some((folder, reserved)))
    }

    /// Keeps what was compiled in `target`.
    pub(super) fn share(&self, skeleton: &Skeleton, target: &Path) -> io::Result<()> {
        shared::keep(skeleton, target, &self.root.join(shared::name(skeleton)))
    }

    /// Removes least recently used folders until the rest is below the limit.
    fn evict(&self) -> io::Result<()> {
        let mut folders: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let used = fs::metadata(path.join("used")).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            let size = tree::disk_usage(&path);
            folders.push((used, path, size));
        }
        folders.sort();
        let mut total: u64 = folders.iter().map(|(_, _, size)| size).sum();
        for (_, path, size) in folders {
            if total <= self.max_bytes {
                break;
            }
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Held while the folder goes, so that no build opens it meanwhile.
            let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.contains_key(name) {
                continue;
            }
            tracing::info!(folder = name, bytes = size, "a build folder is removed: all together are over the limit");
            fs::remove_dir_all(&path)?;
            total = total.saturating_sub(size);
        }
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = busy.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                busy.remove(&self.name);
            }
        }
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
            let used = fs::File::options().write(true).open(root.path().join(project.to_string()).join("used")).unwrap();
            used.set_modified(ages).unwrap();
        }
        let _first = BuildFolders::open(&folders, 4, None).await.unwrap();
        let left: Vec<bool> = (1..=4).map(|project| root.path().join(project.to_string()).exists()).collect();
        assert_eq!(left, [false, true, true, true]);

        let small = BuildFolders { max_bytes: 1, ..folders };
        let _busy = small.open(3, None).await.unwrap();
        assert!(root.path().join("3/target/big").exists());
        assert!(!root.path().join("2").exists());
    }
}
