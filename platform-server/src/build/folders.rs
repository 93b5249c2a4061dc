//! The build folders: one for each project, kept from build to build because cargo reuses what is in them, and the compiled
//! dependencies that projects share ([`shared`]); together under a size limit, the least recently used removed first.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};

use super::{
    blocking,
    fetched::FETCHED,
    scratch::{self, Scratch, is_scratch},
    shared::{self, ChosenBy},
    skeleton::Skeleton,
    written::Written,
};
use crate::{
    remove::Trash,
    sandbox::{Layers, Sandbox},
    usage::{Closed, disk_usage},
};

/// The end of the names of the files by which folders are reserved.
const LOCK: &str = ".lock";

/// A file in a project's folder: the kept sets that its target folder lies upon. None of them is removed before it.
const UPON: &str = "upon";

/// Most sets that a target folder lies upon, one for each profile that it is built with: mount(2) takes their paths in one
/// page of memory.
const MOST_SETS: usize = 8;

/// All build folders.
#[derive(Debug, Clone)]
pub(crate) struct BuildFolders {
    root: Arc<Path>,
    max_bytes: u64,
    trash: Trash,
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
    trash: Trash,
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
        if upon.len() >= MOST_SETS {
            self.start_again(uid)?;
            upon.clear();
        }
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
        self.trash.discard(&self.target)?;
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
    pub(crate) fn new(root: PathBuf, max_bytes: u64, trash: Trash) -> Self {
        Self { root: root.into(), max_bytes, trash, layers: false }
    }

    /// Has target folders lie upon compiled dependencies, which are copied into them otherwise.
    pub(crate) fn in_layers(self, layers: bool) -> Self {
        Self { layers, ..self }
    }

    /// Whether target folders can be seen upon others, by this sandbox and with this uid. Found out by trying.
    pub(crate) async fn can_layer(&self, sandbox: &Sandbox, uid: Option<u32>) -> io::Result<Result<(), String>> {
        let scratch = self.scratch(None, None)?;
        sandbox.can_overlay(scratch.path(), uid).await
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
                written: Written::at(&base, &this.trash),
                empty: base.join("empty"),
                work: base.join("work"),
                root: Arc::clone(&this.root),
                trash: this.trash.clone(),
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
        loop {
            let lock = self.lock_file(name)?;
            flock(&lock, FlockOperation::LockShared)?;
            // It goes with the folder; whoever has waited for it then makes a new one.
            if lock.metadata()?.nlink() > 0 {
                return Ok(Reserved { _lock: lock });
            }
        }
    }

    fn lock_file(&self, name: &str) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.root.join(format!("{name}{LOCK}")))
    }

    /// The lock of a folder that nobody has reserved. `None`: somebody has.
    fn lock_alone(&self, name: &str) -> io::Result<Option<File>> {
        let lock = self.lock_file(name)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            other => other?,
        }
        Ok((lock.metadata()?.nlink() > 0).then_some(lock))
    }

    /// Removes what a server that was killed has left: folders that it was filling, and locks of folders that are gone.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        scratch::sweep(&self.root, &self.trash)?;
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(name) = name.strip_suffix(LOCK) {
                let folder = self.root.join(name);
                // Looked at again when nobody can be making it.
                if !folder.exists()
                    && let Some(_alone) = self.lock_alone(name)?
                    && !folder.exists()
                {
                    fs::remove_file(entry.path())?;
                }
            } else if entry.file_type()?.is_dir()
                && !is_scratch(name.as_ref())
                && let Err(error) = scratch::sweep(&entry.path(), &self.trash)
            {
                tracing::warn!(folder = name, %error, "it cannot be looked for what earlier builds left");
            }
        }
        Ok(())
    }

    /// An empty folder for a build under `uid`, beside the project's target folder if there is one; it is thrown away when it
    /// is dropped.
    pub(super) fn scratch(&self, target: Option<&Path>, uid: Option<u32>) -> io::Result<Scratch> {
        Scratch::new(target.and_then(Path::parent).unwrap_or(&self.root), uid, &self.trash)
    }

    /// Dependencies that are compiled as this skeleton's are.
    pub(super) fn shared(&self, skeleton: &Skeleton, chosen_by: ChosenBy) -> io::Result<Option<(PathBuf, Reserved)>> {
        self.find(&shared::name(skeleton, chosen_by))
    }

    /// Dependencies to start from, where there are none that are the same. The platform's own set starts from none: any
    /// project takes from it, so nothing in it may be of a project's making.
    pub(super) fn base(&self, skeleton: &Skeleton, chosen_by: ChosenBy) -> io::Result<Option<(PathBuf, Reserved)>> {
        if chosen_by == ChosenBy::Platform {
            return Ok(None);
        }
        match shared::best(&self.root, &skeleton.profile, &skeleton.packages)? {
            Some(name) => self.find(&name),
            None => Ok(None),
        }
    }

    fn find(&self, name: &str) -> io::Result<Option<(PathBuf, Reserved)>> {
        let folder = self.root.join(name);
        // A lock is made for what there is alone.
        if !folder.join("used").exists() {
            return Ok(None);
        }
        let reserved = self.reserve(name)?;
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
        let fresh = self.scratch(None, None)?;
        shared::keep(skeleton, hashes, target, fresh, &self.root.join(shared::name(skeleton, chosen_by)))
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
    pub(crate) fn list(&self, closed: Closed) -> io::Result<Vec<Kept>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // One that is being filled is none yet.
            if is_scratch(name.as_ref()) || !entry.file_type()?.is_dir() {
                continue;
            }
            let used = fs::metadata(entry.path().join("used")).and_then(|metadata| metadata.modified());
            folders.push(Kept {
                project: name.parse().ok(),
                bytes: disk_usage(&entry.path(), closed),
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
        // Held while the folder goes, so that no build opens it meanwhile.
        let Some(_alone) = self.lock_alone(&folder.name)? else { return Ok(false) };
        // A project that takes it over holds it until that is written down.
        if folder.project.is_none() && self.is_base(&folder.name)? {
            return Ok(false);
        }
        let removed = self.trash.discard(&self.root.join(&folder.name));
        fs::remove_file(self.root.join(format!("{}{LOCK}", folder.name)))?;
        removed.map(|()| true)
    }

    /// Removes least recently used folders until the rest is below the limit.
    pub(crate) fn evict(&self) -> io::Result<()> {
        let folders = self.list(Closed::Open)?;
        let mut total: u64 = folders.iter().map(|folder| folder.bytes).sum();
        for folder in &folders {
            if total <= self.max_bytes {
                break;
            }
            match self.remove(folder) {
                Ok(true) => {
                    tracing::info!(
                        folder = folder.name,
                        bytes = folder.bytes,
                        "a build folder is removed: all together are over the limit"
                    );
                    total = total.saturating_sub(folder.bytes);
                }
                Ok(false) => {}
                Err(error) => tracing::warn!(folder = folder.name, %error, "a build folder cannot be removed"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
