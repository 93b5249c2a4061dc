//! The build folders: one for each project, kept from build to build because cargo reuses what is in them, and the compiled
//! dependencies that projects share ([`shared`]); together under a size limit, the least recently used removed first.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
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
    written::Written,
};
use crate::sandbox::Layers;

/// A file in a project's folder: the kept sets that its target folder lies upon. None of them is removed before it.
const UPON: &str = "upon";

/// All build folders.
#[derive(Debug, Clone)]
pub(crate) struct BuildFolders {
    root: Arc<Path>,
    max_bytes: u64,
    /// Whether a target folder can be seen upon others.
    layers: bool,
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
    /// What the build writes into the tree, as it sees it.
    pub(crate) written: Written,
    /// An empty folder to stand in.
    pub(crate) empty: PathBuf,
    /// The kernel's, where the target folder is seen upon others.
    pub(super) work: PathBuf,
    /// All build folders.
    root: Arc<Path>,
    layers: bool,
    _reserved: Reserved,
}

impl BuildFolder {
    /// Has the target folder take over a kept set, whose folder is held.
    pub(super) fn take(&self, set: &Path, uid: Option<u32>) -> io::Result<()> {
        if !self.layers {
            return shared::copy_to(set, &self.target, uid);
        }
        shared::used(set)?;
        let mut upon = self.upon()?;
        upon.extend(set.file_name().and_then(|name| name.to_str()).map(str::to_owned));
        fs::write(self.target.with_file_name(UPON), upon.join("\n"))
    }

    /// Names of the sets that the target folder lies upon.
    fn upon(&self) -> io::Result<Vec<String>> {
        upon(&self.target.with_file_name(UPON))
    }

    /// What the target folder lies upon.
    pub(super) fn layers(&self) -> io::Result<Vec<PathBuf>> {
        Ok(self.upon()?.iter().map(|name| shared::units(&self.root.join(name))).collect())
    }

    /// The folder for what is written into the tree, and what it lies upon, where that can be.
    pub(super) fn written_over(&self) -> Option<(PathBuf, Layers)> {
        self.layers.then(|| self.written.over(&self.tree))
    }

    /// Whether cargo has not built anything with this profile in the target folder yet, and nothing was taken over.
    pub(super) fn is_new(&self, profile: &str) -> io::Result<bool> {
        Ok(!self.target.join(profile).exists() && !self.upon()?.iter().any(|name| shared::is_of_profile(name, profile)))
    }

    /// Empties the target folder.
    pub(super) fn start_again(&self, uid: Option<u32>) -> io::Result<()> {
        fs::remove_dir_all(&self.target)?;
        match fs::remove_file(self.target.with_file_name(UPON)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.make_target(uid)
    }

    fn make_target(&self, uid: Option<u32>) -> io::Result<()> {
        fs::create_dir_all(&self.target)?;
        uid.map_or(Ok(()), |uid| std::os::unix::fs::chown(&self.target, Some(uid), Some(uid)))
    }
}

/// The names in a project's file of this name.
fn upon(file: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => Ok(text?.lines().map(str::to_owned).collect()),
    }
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
        Self { root: root.into(), max_bytes, layers: false }
    }

    /// Has target folders lie upon compiled dependencies, which are copied into them otherwise.
    pub(crate) fn in_layers(self, layers: bool) -> Self {
        Self { layers, ..self }
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
                written: Written::at(&base),
                empty: base.join("empty"),
                work: base.join("work"),
                root: Arc::clone(&this.root),
                layers: this.layers,
                _reserved: this.reserve(&name)?,
            };
            for path in [&folder.tree, &folder.empty, &folder.work] {
                fs::create_dir_all(path)?;
            }
            // Builds get there by mounts alone.
            fs::set_permissions(&base, fs::Permissions::from_mode(0o700))?;
            folder.make_target(uid)?;
            let upon = folder.upon()?;
            let is_kept = |name: &String| this.layers && this.root.join(name).join("used").exists();
            if !upon.iter().all(is_kept) {
                folder.start_again(uid)?;
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
        // A set is used with each project that lies upon it, and comes after them.
        for (set, used) in self.bases(&folders)? {
            if let Some(set) = folders.iter_mut().find(|folder| folder.name == set) {
                set.used = set.used.max(used);
            }
        }
        folders.sort_by(|a, b| (a.used, a.project.is_none(), &a.name).cmp(&(b.used, b.project.is_none(), &b.name)));
        Ok(folders)
    }

    /// The sets that projects lie upon, and when a project was used.
    fn bases(&self, folders: &[Kept]) -> io::Result<Vec<(String, SystemTime)>> {
        let mut bases = Vec::new();
        for folder in folders.iter().filter(|folder| folder.project.is_some()) {
            let sets = upon(&self.root.join(&folder.name).join(UPON))?;
            bases.extend(sets.into_iter().map(|set| (set, folder.used)));
        }
        Ok(bases)
    }

    /// Whether a project lies upon the set of this name.
    fn is_base(&self, name: &str) -> io::Result<bool> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && upon(&entry.path().join(UPON))?.iter().any(|set| set == name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes a folder. `false`: it is in use, or a project lies upon it.
    pub(crate) fn remove(&self, folder: &Kept) -> io::Result<bool> {
        let lock = self.lock_file(&folder.name)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            other => other?,
        }
        // A project that takes it over holds it until that is written down.
        if folder.project.is_none() && self.is_base(&folder.name)? {
            return Ok(false);
        }
        // The kernel closes what it makes there even to its owner.
        let _ = fs::set_permissions(self.root.join(&folder.name).join("work/work"), fs::Permissions::from_mode(0o700));
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

    #[tokio::test]
    async fn a_set_that_a_project_lies_upon_stays_until_the_project_goes() {
        let root = tempfile::tempdir().unwrap();
        let folders = BuildFolders::new(root.path().to_path_buf(), u64::MAX).in_layers(true);
        let set = root.path().join(format!("dependencies-project-release-{:0>32}", 1));
        let make = || {
            fs::create_dir_all(shared::units(&set).join("release/deps")).unwrap();
            fs::write(shared::units(&set).join("release/deps/big"), vec![1; 64 * 1024]).unwrap();
            shared::used(&set).unwrap();
        };
        make();
        let project = folders.open(1, None).await.unwrap();
        assert!(project.is_new("release").unwrap());
        project.take(&set, None).unwrap();
        assert!(!project.is_new("release").unwrap() && project.is_new("dist").unwrap());
        assert_eq!(project.layers().unwrap(), [shared::units(&set)]);
        // Nothing was copied.
        assert_eq!(fs::read_dir(&project.target).unwrap().count(), 0);

        // Its last use is that of the project.
        let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        File::options().write(true).open(set.join("used")).unwrap().set_modified(long_ago).unwrap();
        let listed = folders.list().unwrap();
        assert_eq!(listed.iter().map(|folder| folder.project).collect::<Vec<_>>(), [Some(1), None]);
        assert_eq!(listed[0].used, listed[1].used);
        let small = BuildFolders { max_bytes: 1, ..folders.clone() };
        small.evict().unwrap();
        assert!(set.exists() && project.target.exists());
        drop(project);
        assert!(!small.remove(&listed[1]).unwrap());
        small.evict().unwrap();
        assert!(!set.exists() && !root.path().join("1").exists());

        // A project whose set is gone all the same begins anew.
        make();
        let project = folders.open(1, None).await.unwrap();
        project.take(&set, None).unwrap();
        fs::create_dir(project.target.join("release")).unwrap();
        drop(project);
        fs::remove_dir_all(&set).unwrap();
        assert!(folders.open(1, None).await.unwrap().is_new("release").unwrap());
        // And one on a machine that has no such mounts any more.
        make();
        folders.open(1, None).await.unwrap().take(&set, None).unwrap();
        assert!(folders.clone().in_layers(false).open(1, None).await.unwrap().layers().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_hundred_projects_upon_a_set_take_what_one_takes() {
        let root = tempfile::tempdir().unwrap();
        let folders = BuildFolders::new(root.path().to_path_buf(), u64::MAX).in_layers(true);
        let set = root.path().join(format!("dependencies-project-release-{:0>32}", 1));
        fs::create_dir_all(shared::units(&set).join("release/deps")).unwrap();
        let size = 1024 * 1024;
        fs::write(shared::units(&set).join("release/deps/big"), vec![1; size]).unwrap();
        shared::used(&set).unwrap();
        for project in 1..=100 {
            folders.open(project, None).await.unwrap().take(&set, None).unwrap();
        }
        let bytes: u64 = folders.list().unwrap().iter().map(|folder| folder.bytes).sum();
        assert!((size as u64..size as u64 * 2).contains(&bytes), "{bytes}");
    }
}
