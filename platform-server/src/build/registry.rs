//! The registry cache that all builds share: crates and repositories as they were downloaded. Fetches write it, under a
//! uid of their own; builds, under others, read it.
//!
//! cargo unpacks crates with the modes that their authors' files had, and some are closed to everybody else. So what a
//! fetch has brought is opened for reading before a build needs it.
//!
//! It has a size limit. What no build has used for longest is removed first, and not while anything is built.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, flock, utimensat};

use super::{folders::BuildFolders, reading::Locked, shared::real_folder};
use crate::{
    remove::Trash,
    usage::{Closed, disk_usage},
};

/// The file that cargo writes last when it unpacks. Its time is when a build last used the package; it is closed for
/// writing once the package has been opened for reading.
const COMPLETE: &str = ".cargo-ok";

/// The time of now, for the last modification alone.
const NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
};

/// The cache's folder: a `CARGO_HOME`.
#[derive(Debug, Clone)]
pub(crate) struct Registry {
    pub(crate) home: PathBuf,
    max_bytes: u64,
    trash: Trash,
    /// Whether something may have come since its size was last looked at.
    grown: Arc<AtomicBool>,
}

/// Nothing is removed while this exists. A lock, so that another process sees it as well.
#[derive(Debug)]
pub(crate) struct InUse {
    _lock: File,
}

/// What is removed in one piece.
#[derive(Debug)]
struct Unit {
    used: SystemTime,
    paths: Vec<PathBuf>,
}

impl Registry {
    pub(crate) fn new(home: PathBuf, max_bytes: u64, trash: Trash) -> Self {
        Self { home, max_bytes, trash, grown: Arc::new(AtomicBool::new(true)) }
    }

    /// Keeps everything. Waits while something is being removed.
    pub(super) fn hold(&self) -> io::Result<InUse> {
        let lock = self.lock()?;
        flock(&lock, FlockOperation::LockShared)?;
        Ok(InUse { _lock: lock })
    }

    fn lock(&self) -> io::Result<File> {
        File::options().create(true).truncate(false).write(true).open(self.home.with_extension("lock"))
    }

    /// Notes that something is being downloaded.
    pub(super) fn grows(&self) {
        self.grown.store(true, Ordering::Relaxed);
    }

    /// Makes every crate readable that has come since the last call.
    pub(super) fn open_for_reading(&self) -> io::Result<()> {
        for registry in self.folders(&["registry", "src"])? {
            for unpacked in folders(&registry)? {
                // One without it is still being unpacked, by another fetch.
                let Ok(complete) = fs::symlink_metadata(unpacked.join(COMPLETE)) else { continue };
                if complete.is_file() && complete.permissions().mode() & 0o222 != 0 {
                    open(&unpacked)?;
                    fs::set_permissions(unpacked.join(COMPLETE), fs::Permissions::from_mode(0o444))?;
                }
            }
        }
        Ok(())
    }

    /// Notes that the packages of a lockfile are being used.
    pub(super) fn used(&self, packages: &[Locked]) -> io::Result<()> {
        let registries = self.folders(&["registry", "src"])?;
        let repositories = self.folders(&["git", "checkouts"])?;
        for Locked { name: package, version, source } in packages {
            let found: Vec<PathBuf> = match source.strip_prefix("git+").and_then(|source| source.split_once('#')) {
                // A checkout is called by the first digits of its commit.
                Some((_, commit)) => {
                    let all = repositories.iter().map(|repository| folders(repository));
                    let all = all.collect::<io::Result<Vec<_>>>()?.concat();
                    all.into_iter().filter(|checkout| name(checkout).is_some_and(|name| commit.starts_with(name))).collect()
                }
                None => registries.iter().map(|registry| registry.join(format!("{package}-{version}"))).collect(),
            };
            for folder in found {
                // A repository may have a link of that name, to anything.
                match utimensat(CWD, folder.join(COMPLETE), &NOW, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(rustix::io::Errno::NOENT) => {}
                    touched => touched?,
                }
            }
        }
        Ok(())
    }

    pub(crate) fn bytes(&self, closed: Closed) -> u64 {
        disk_usage(&self.home, closed)
    }

    /// When a build last used something in it.
    pub(crate) fn last_used(&self) -> io::Result<SystemTime> {
        Ok(self.units()?.last().map_or(SystemTime::UNIX_EPOCH, |unit| unit.used))
    }

    /// Removes what has not been used for longest until the rest is below the limit, unless a build uses it. Whether anything
    /// was removed.
    pub(super) fn evict(&self, projects: &BuildFolders) -> io::Result<bool> {
        if !self.grown.swap(false, Ordering::Relaxed) {
            return Ok(false);
        }
        let mut total = self.bytes(Closed::Open);
        if total <= self.max_bytes {
            return Ok(false);
        }
        let Some(_alone) = self.alone()? else {
            self.grows();
            return Ok(false);
        };
        projects.forget_fetched()?;
        let before = total;
        for unit in self.units()? {
            if total <= self.max_bytes {
                break;
            }
            for path in &unit.paths {
                match self.remove(path) {
                    Ok(bytes) => total = total.saturating_sub(bytes),
                    Err(error) => tracing::warn!(%error, "a downloaded crate cannot be removed"),
                }
            }
        }
        tracing::info!(bytes = before - total, "downloaded crates are removed: all together are over the limit");
        Ok(total < before)
    }

    /// Removes everything. `false`: a build uses it. What cannot be removed is the error, after all the rest is.
    pub(crate) fn clear(&self, projects: &BuildFolders) -> io::Result<bool> {
        let Some(_alone) = self.alone()? else { return Ok(false) };
        projects.forget_fetched()?;
        let mut done = Ok(true);
        for entry in fs::read_dir(&self.home)? {
            if let Err(error) = self.remove(&entry?.path()) {
                done = done.and(Err(error));
            }
        }
        done
    }

    /// `None`: somebody uses it.
    fn alone(&self) -> io::Result<Option<File>> {
        let lock = self.lock()?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            other => other.map(|()| Some(lock)).map_err(io::Error::from),
        }
    }

    /// Everything that may be removed, the least recently used first. The index is small, and stays.
    fn units(&self) -> io::Result<Vec<Unit>> {
        let mut units = Vec::new();
        for registry in self.folders(&["registry", "src"])? {
            let cache = match name(&registry) {
                Some(name) => real_folder(&self.home, &["registry", "cache", name])?,
                None => None,
            };
            for unpacked in folders(&registry)? {
                let packed = cache.as_ref().zip(name(&unpacked)).map(|(cache, name)| cache.join(format!("{name}.crate")));
                let used = time_of(&unpacked.join(COMPLETE));
                units.push(Unit { used, paths: std::iter::once(unpacked).chain(packed).collect() });
            }
        }
        let databases = real_folder(&self.home, &["git", "db"])?;
        for repository in self.folders(&["git", "checkouts"])? {
            let checkouts = folders(&repository)?;
            let used = checkouts.iter().map(|checkout| time_of(&checkout.join(COMPLETE))).max();
            let database = databases.as_ref().zip(name(&repository)).map(|(databases, name)| databases.join(name));
            // Without its database a checkout would be made anew, and the other way round.
            let paths = std::iter::once(repository).chain(database).collect();
            units.push(Unit { used: used.unwrap_or(SystemTime::UNIX_EPOCH), paths });
        }
        units.sort_by_key(|unit| unit.used);
        Ok(units)
    }

    /// The folders in one of the cache's own. A link on the way is not followed: the fetch's uid could have made it.
    fn folders(&self, way: &[&str]) -> io::Result<Vec<PathBuf>> {
        real_folder(&self.home, way)?.map_or(Ok(Vec::new()), |folder| folders(&folder))
    }

    /// Removes a file or a folder; how many bytes that were. It is out of its place at once, as cargo takes a half of a
    /// package for a whole one.
    fn remove(&self, path: &Path) -> io::Result<u64> {
        let bytes = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Ok(metadata) if !metadata.is_dir() => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
            metadata => metadata.map(|_| disk_usage(path, Closed::Open))?,
        };
        self.trash.discard(path).map(|()| bytes)
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// One that is not there is the oldest.
fn time_of(file: &Path) -> SystemTime {
    fs::symlink_metadata(file).and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Links are left alone: what they point at is opened where it is, if it is in here.
fn open(path: &Path) -> io::Result<()> {
    let mut paths = vec![path.to_path_buf()];
    while let Some(path) = paths.pop() {
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_symlink() {
            continue;
        }
        let mode = metadata.permissions().mode();
        let wanted = mode | if metadata.is_dir() || mode & 0o100 != 0 { 0o555 } else { 0o444 };
        if mode != wanted {
            fs::set_permissions(&path, fs::Permissions::from_mode(wanted))?;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(&path)? {
                paths.push(entry?.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A cache with unpacked crates of one block each, beside what they were unpacked from.
    fn registry(folder: &Path, max_bytes: u64, crates: &[&str]) -> Registry {
        let home = folder.join("home");
        for name in crates {
            let unpacked = home.join("registry/src/index").join(name);
            fs::create_dir_all(unpacked.join("src")).unwrap();
            fs::create_dir_all(home.join("registry/cache/index")).unwrap();
            fs::write(unpacked.join("src/lib.rs"), vec![b' '; 4096]).unwrap();
            fs::write(unpacked.join(COMPLETE), "").unwrap();
            fs::write(home.join(format!("registry/cache/index/{name}.crate")), vec![b' '; 4096]).unwrap();
        }
        Registry::new(home, max_bytes, Trash::emptied_at_once(folder.join("trash")))
    }

    #[test]
    fn closed_files_of_a_crate_are_opened_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path(), u64::MAX, &["a-1.0.0"]);
        let unpacked = registry.home.join("registry/src/index/a-1.0.0");
        let (closed, outside) = (unpacked.join("src/lib.rs"), folder.path().join("outside"));
        fs::write(&outside, "").unwrap();
        for path in [&closed, &outside] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::os::unix::fs::symlink(&outside, unpacked.join("link")).unwrap();
        registry.open_for_reading().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&closed), mode(&outside)), (0o644, 0o600));
        // Once for each time that it is unpacked.
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o600)).unwrap();
        registry.open_for_reading().unwrap();
        assert_eq!(mode(&closed), 0o600);
        fs::remove_file(unpacked.join(COMPLETE)).unwrap();
        fs::write(unpacked.join(COMPLETE), "").unwrap();
        registry.open_for_reading().unwrap();
        assert_eq!(mode(&closed), 0o644);
    }

    #[test]
    fn what_no_lockfile_has_named_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let registry = registry(folder.path(), 30_000, &["a-1.0.0", "b-1.0.0", "c-1.0.0"]);
        let checkout = registry.home.join("git/checkouts/d-0123/abcdef0");
        fs::create_dir_all(&checkout).unwrap();
        fs::create_dir_all(registry.home.join("git/db/d-0123")).unwrap();
        fs::write(checkout.join("lib.rs"), vec![b' '; 8192]).unwrap();
        fs::write(checkout.join(COMPLETE), "").unwrap();
        let complete = |name: &str| registry.home.join("registry/src/index").join(name).join(COMPLETE);
        for (age, file) in
            [&complete("a-1.0.0"), &complete("b-1.0.0"), &complete("c-1.0.0"), &checkout.join(COMPLETE)].into_iter().enumerate()
        {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(age as u64);
            File::open(file).unwrap().set_modified(time).unwrap();
        }
        let locked = |name: &str, source: &str| Locked { name: name.into(), version: "1.0.0".into(), source: source.into() };
        let used = [locked("a", "registry+https://example.com/index"), locked("d", "git+https://example.com/d#abcdef0123")];
        registry.used(&used).unwrap();
        let left = || [&complete("a-1.0.0"), &complete("b-1.0.0"), &complete("c-1.0.0"), &checkout].map(|path| path.exists());

        let builds = folder.path().join("builds");
        fs::create_dir_all(builds.join("1")).unwrap();
        fs::write(builds.join("1/fetched"), "").unwrap();
        fs::write(builds.join("1.lock"), "").unwrap();
        let projects = BuildFolders::new(builds.clone(), u64::MAX, registry.trash.clone());
        let building = registry.hold().unwrap();
        assert!(!registry.evict(&projects).unwrap() && !registry.clear(&projects).unwrap());
        drop(building);
        assert!(builds.join("1/fetched").exists());
        assert!(registry.evict(&projects).unwrap());
        assert!(!builds.join("1/fetched").exists());
        assert_eq!(left(), [true, false, true, true]);
        assert!(!registry.home.join("registry/cache/index/b-1.0.0.crate").exists());
        registry.grows();
        assert!(!registry.evict(&projects).unwrap());
        assert!(registry.clear(&projects).unwrap());
        assert_eq!((left(), registry.bytes(Closed::Leave)), ([false; 4], 0));
    }
}
