//! The data directory: its layout, who may enter it, and that one server at a time uses it.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::{db::now_ms, deployment::Digest, remove::Trash, reserve::Reserve, stored::persist};

/// Longest path of a socket that the kernel takes, in bytes, less what is below the run directory.
const MAX_RUN_DIR: usize = 107 - "/redis/app_0123456789abcdef/redis.sock".len();

/// The file that says since which start of the machine a server runs. One that ends as it should removes it.
const RUNNING: &str = "running";

/// A data directory that this server holds.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// For sockets: short, empty at each start, gone after a reboot.
    pub(crate) run: PathBuf,
    /// What is not needed any more.
    pub(crate) trash: Trash,
    /// Room for when there is no other.
    pub(crate) reserve: Reserve,
    _lock: File,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DataDirError {
    #[error("there is no home folder to put the data directory in")]
    NoHome,
    #[error("{}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{} is in use by another platform-server", .0.display())]
    InUse(PathBuf),
    #[error("other users cannot enter {} (its mode is {mode:o}), and builds, apps and databases run as other users than the server", .folder.display())]
    Closed { folder: PathBuf, mode: u32 },
    #[error("{} belongs to another user (uid {owner})", .folder.display())]
    Foreign { folder: PathBuf, owner: u32 },
    #[error("{} was made by a server that ran as another user (uid {owner}), and its files belong to that one", .folder.display())]
    MadeBy { folder: PathBuf, owner: u32 },
    #[error("the path {} is too long for sockets", .0.display())]
    TooLong(PathBuf),
}

impl DataDirError {
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::MadeBy { .. } => "run the server as that user, or choose another one: --data-dir DIR".into(),
            Self::NoHome | Self::TooLong(_) => "choose another one: --data-dir DIR".into(),
            Self::Io { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "choose one that you may write to: --data-dir DIR".into()
            }
            Self::Io { .. } => return None,
            Self::InUse(_) => "stop that one first, or choose another: --data-dir DIR".into(),
            Self::Closed { folder, .. } => {
                format!(
                    "choose a data directory elsewhere (--data-dir /var/lib/platform-server), or: chmod o+x {}",
                    folder.display()
                )
            }
            Self::Foreign { folder, .. } => {
                format!("remove {}, or set XDG_RUNTIME_DIR to a folder of your own", folder.display())
            }
        })
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_path_buf();
    move |error| DataDirError::Io { path, error }
}

/// The default: `/var/lib/platform-server` for root, else below the user's data folder.
pub(crate) fn default_path(root: bool) -> Result<PathBuf, DataDirError> {
    if root {
        return Ok("/var/lib/platform-server".into());
    }
    dirs::data_dir().map(|folder| folder.join("platform-server")).ok_or(DataDirError::NoHome)
}

impl DataDir {
    /// Takes the directory for this server, gives the reserve of so many bytes up if the disk is full, and makes what is
    /// missing.
    pub(crate) fn open(path: &Path, root: bool, reserve_bytes: u64) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(at(path))?;
        let path = fs::canonicalize(path).map_err(at(path))?;
        if root {
            enterable_by_others(&path)?;
        }
        let lock = private_file(&path.join("lock")).map_err(at(&path))?;
        let owner = lock.metadata().map_err(at(&path))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return Err(DataDirError::MadeBy { folder: path, owner });
        }
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(DataDirError::InUse(path));
        }
        let reserve = Reserve::new(&path, reserve_bytes);
        // All that is made from here on takes some room.
        if reserve.give_up_if_low().map_err(at(&path))? {
            tracing::warn!("the disk is full: the room that is kept for that is used to start");
        }
        // Others pass through, to the folders that are theirs, and list nothing.
        fs::set_permissions(&path, fs::Permissions::from_mode(if root { 0o711 } else { 0o700 })).map_err(at(&path))?;
        let trash = Trash::emptied_aside(Self::trash(&path)).map_err(at(&Self::trash(&path)))?;
        let run = run_dir(&path, root, &trash)?;
        let this = Self { root: path, run, trash, reserve, _lock: lock };
        for folder in ["archives", "artifacts", "builds", "cargo-home", "deployments", "logs", "persist", "redis"] {
            let folder = this.root.join(folder);
            fs::create_dir_all(&folder).map_err(at(&folder))?;
            // Apps and Redis pass through to what is theirs.
            let mode = if ["deployments", "persist", "redis"].iter().any(|name| folder.ends_with(name)) { 0o711 } else { 0o700 };
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(at(&folder))?;
        }
        Ok(this)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// The registry cache's folder, for a data directory at `path`. The folder around it is the server's alone; a sandboxed
    /// cargo gets this one mounted, and enters it by its mode.
    pub(crate) fn registry(path: &Path) -> PathBuf {
        path.join("cargo-home/shared")
    }

    /// The folder of what is to be removed, for a data directory at `path`.
    pub(crate) fn trash(path: &Path) -> PathBuf {
        path.join("trash")
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Removes what a killed server left half done: deployments that it had not stored yet, and files without their place.
    /// What cannot be removed is told, and left.
    pub(crate) fn remove_unfinished(&self, known: impl Fn(&str) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(self.join("deployments"))? {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(&known) {
                self.trash.discard_or_tell(&entry.path());
            }
        }
        for folder in ["", "archives", "artifacts"] {
            for entry in fs::read_dir(self.join(folder))? {
                let entry = entry?;
                // As `tempfile` names what has not got its place yet.
                if entry.file_name().to_string_lossy().starts_with(".tmp") {
                    self.trash.discard_or_tell(&entry.path());
                }
            }
        }
        Ok(())
    }

    /// The administrator's key; made at the first start. The file holds the key and a newline, for its owner's eyes.
    pub(crate) fn admin_key(&self) -> io::Result<(PathBuf, String)> {
        let path = self.join("admin.key");
        if let Ok(text) = fs::read_to_string(&path)
            && !text.trim().is_empty()
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            return Ok((path, text.trim().to_owned()));
        }
        let key = crate::provision::secret(32)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        writeln!(file, "{key}")?;
        persist(file, &path)?;
        Ok((path, key))
    }

    /// Whether the machine has lost what was not yet on the disk: it was started anew, and the last server had not ended as it
    /// should. What cannot be found out is told, and taken for a loss: then more is made again than has to be.
    pub(crate) fn power_was_lost(&self) -> bool {
        self.is_of_another_start(boot_id()).unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be found out whether the machine was started anew since the last server ran");
            true
        })
    }

    fn is_of_another_start(&self, boot: io::Result<Vec<u8>>) -> io::Result<bool> {
        match fs::read(self.join(RUNNING)) {
            Ok(noted) => Ok(noted != boot?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Notes that a server runs since this start of the machine.
    pub(crate) fn note_running(&self) -> io::Result<()> {
        let (path, boot) = (self.join(RUNNING), boot_id()?);
        if fs::read(&path).is_ok_and(|noted| noted == boot) {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
        file.write_all(&boot)?;
        persist(file, &path)
    }

    /// Writes everything to the disk, and notes that none runs any more.
    pub(crate) fn note_ended(root: &Path) -> io::Result<()> {
        rustix::fs::syncfs(File::open(root)?)?;
        match fs::remove_file(root.join(RUNNING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            // It may be that it could not be noted that one runs.
            _ => Ok(()),
        }
    }
}

/// What the kernel calls the time since it was started.
fn boot_id() -> io::Result<Vec<u8>> {
    fs::read("/proc/sys/kernel/random/boot_id")
}

/// Opens a file that its owner alone may read, making it if it is missing.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Every folder above must let others pass. Found out before anything starts, instead of by an `EACCES` from deep inside.
fn enterable_by_others(path: &Path) -> Result<(), DataDirError> {
    for folder in path.ancestors().skip(1) {
        let mode = fs::metadata(folder).map_err(at(folder))?.mode() & 0o7777;
        if mode & 0o001 == 0 {
            return Err(DataDirError::Closed { folder: folder.to_path_buf(), mode });
        }
    }
    Ok(())
}

/// Where builds and apps see an app's files: an empty folder, over which each of them has those files mounted. Always the same
/// path, as it is compiled into apps: a root server's is the same on every machine.
pub(crate) fn seen_at(data: &DataDir, root: bool) -> Result<PathBuf, DataDirError> {
    let base = if root { data.run.parent().unwrap_or(&data.run) } else { &data.root };
    let folder = base.join("tree");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).map_err(at(&folder))?;
    Ok(folder)
}

/// A short path of the server's own for this data directory's sockets.
fn run_dir(data_dir: &Path, root: bool, trash: &Trash) -> Result<PathBuf, DataDirError> {
    let uid = rustix::process::geteuid().as_raw();
    let digest = Digest::new(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes()));
    let name = &digest.as_str()[..16];
    let base = run_base(root, uid, name)?;
    fs::create_dir_all(&base).map_err(at(&base))?;
    let owner = fs::symlink_metadata(&base).map_err(at(&base))?;
    if owner.uid() != uid || !owner.is_dir() {
        return Err(DataDirError::Foreign { folder: base, owner: owner.uid() });
    }
    let mode = if root { 0o711 } else { 0o700 };
    fs::set_permissions(&base, fs::Permissions::from_mode(mode)).map_err(at(&base))?;
    let run = base.join(name);
    // It is seldom on the same disk as the trash, so it is moved aside here.
    let aside = base.join(format!(".tmp-{name}-{}", now_ms()));
    match fs::rename(&run, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        moved => moved.map_err(at(&run))?,
    }
    for entry in fs::read_dir(&base).map_err(at(&base))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&format!(".tmp-{name}-")) {
            trash.remove(entry.path()).map_err(at(&base))?;
        }
    }
    for (folder, mode) in
        [(run.clone(), mode), (run.join("apps"), 0o700), (run.join("postgres"), mode), (run.join("redis"), mode)]
    {
        fs::create_dir(&folder).map_err(at(&folder))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(at(&folder))?;
    }
    Ok(run)
}

/// The first of the usual places that leaves room for the names of sockets.
fn run_base(root: bool, uid: u32, name: &str) -> Result<PathBuf, DataDirError> {
    let mine = format!("platform-server-{uid}");
    let places = if root {
        vec![PathBuf::from("/run/platform-server")]
    } else {
        let runtime = dirs::runtime_dir().map(|folder| folder.join("platform-server"));
        runtime.into_iter().chain([std::env::temp_dir().join(&mine), Path::new("/tmp").join(&mine)]).collect()
    };
    let fits = |place: &PathBuf| place.join(name).as_os_str().len() <= MAX_RUN_DIR;
    let last = places.last().cloned().unwrap_or_default();
    places.into_iter().find(fits).ok_or(DataDirError::TooLong(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remove::tests::{DEEP, eventually, nested};

    #[test]
    fn a_folder_that_others_cannot_enter_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (closed, inside) = (folder.path().join("closed"), folder.path().join("closed/data"));
        fs::create_dir_all(&inside).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let error = enterable_by_others(&fs::canonicalize(&inside).unwrap()).unwrap_err();
        assert!(matches!(&error, DataDirError::Closed { folder, .. } if folder.ends_with("closed")), "{error}");
        assert!(error.hint().unwrap().contains("chmod o+x"));
    }

    fn data(root: &Path) -> DataDir {
        let trash = Trash::emptied_aside(root.join("trash")).unwrap();
        DataDir {
            root: root.to_path_buf(),
            run: PathBuf::new(),
            trash,
            reserve: Reserve::new(root, 0),
            _lock: tempfile::tempfile().unwrap(),
        }
    }

    #[test]
    fn what_a_killed_server_left_is_removed_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        for kept in ["deployments/known/files", "archives", "artifacts", "persist/1"] {
            fs::create_dir_all(data.join(kept)).unwrap();
        }
        nested(&data.join("deployments/unknown"), DEEP);
        nested(&data.join("archives/.tmpA1b2C3"), 2);
        for file in [".tmpA1b2C3", "artifacts/.tmpA1b2C3", "artifacts/kept.so", "deployments/file"] {
            fs::write(data.join(file), "").unwrap();
        }
        data.remove_unfinished(|id| id == "known").unwrap();
        for gone in ["deployments/unknown", "deployments/file", "archives/.tmpA1b2C3", ".tmpA1b2C3", "artifacts/.tmpA1b2C3"] {
            assert!(!data.join(gone).exists(), "{gone}");
        }
        for kept in ["deployments/known/files", "artifacts/kept.so", "persist/1"] {
            assert!(data.join(kept).exists(), "{kept}");
        }
        eventually("the trash is emptied", || fs::read_dir(data.join("trash")).unwrap().next().is_none());
    }

    #[test]
    fn a_loss_of_power_is_one_that_no_server_has_ended_before() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        assert!(!data.power_was_lost());
        data.note_running().unwrap();
        // Killed, or still there: what it wrote is in the kernel's memory at least.
        assert!(!data.power_was_lost());
        fs::write(folder.path().join(RUNNING), "another").unwrap();
        assert!(data.power_was_lost());
        data.note_running().unwrap();
        assert!(!data.power_was_lost());
        DataDir::note_ended(folder.path()).unwrap();
        assert!(!data.power_was_lost());
        assert!(!folder.path().join(RUNNING).exists());
        DataDir::note_ended(folder.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_found_out_is_taken_for_a_loss_of_power() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        let unreadable = || Err(io::ErrorKind::PermissionDenied.into());
        assert!(!data.is_of_another_start(unreadable()).unwrap(), "the last server has ended as it should");
        fs::write(folder.path().join(RUNNING), [0xff, 0]).unwrap();
        assert!(data.power_was_lost());
        assert_eq!(data.is_of_another_start(unreadable()).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        data.note_running().unwrap();
        assert!(!data.power_was_lost());
        fs::remove_file(folder.path().join(RUNNING)).unwrap();
        fs::create_dir(folder.path().join(RUNNING)).unwrap();
        assert!(data.power_was_lost());
    }

    #[test]
    fn the_key_is_made_once_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let data = data(folder.path());
        let (path, key) = data.admin_key().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{key}\n"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(data.admin_key().unwrap().1, key);
    }
}
