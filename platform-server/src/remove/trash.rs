//! Where things are until they are removed: out of their place at once, whatever their size.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use rustix::{
    fs::{CWD, renameat},
    io::Errno,
};

use super::{all, open_folder};
use crate::db::now_ms;

/// How a thing is called on another disk than the trash: like everything that a server which starts removes.
const ASIDE: &str = ".tmp-removed-";

/// A folder of what is to be removed. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Trash {
    folder: Arc<Path>,
    number: Arc<AtomicU64>,
    /// `None`: whoever throws something away waits until it is removed.
    queue: Option<mpsc::Sender<PathBuf>>,
}

impl Trash {
    /// One that is emptied on a thread of its own, which also removes what an earlier server left there. That thread is
    /// not waited for when the server ends.
    pub(crate) fn emptied_aside(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        let (queue, work) = mpsc::channel::<PathBuf>();
        for entry in fs::read_dir(&folder)? {
            let _ = queue.send(entry?.path());
        }
        std::thread::Builder::new().name("trash".into()).spawn(move || {
            while let Ok(path) = work.recv() {
                if let Err(error) = all(&path) {
                    tracing::warn!(%error, "a folder is left in the trash; the next server that starts tries again");
                }
            }
        })?;
        Ok(Self { folder: folder.into(), number: Arc::default(), queue: Some(queue) })
    }

    /// One for a short-lived process, which waits for each removal.
    pub(crate) fn emptied_at_once(folder: PathBuf) -> Self {
        Self { folder: folder.into(), number: Arc::default(), queue: None }
    }

    /// Takes a file or a folder out of its place, and has it removed. One that is not there is no error.
    ///
    /// # Errors
    /// When it is still in its place, and, where the removal is waited for, when a part of it is left in the trash.
    pub(crate) fn discard(&self, path: &Path) -> io::Result<()> {
        let name = format!("{}-{}-{}", now_ms(), std::process::id(), self.number.fetch_add(1, Ordering::Relaxed));
        let mut aside = self.folder.join(&name);
        let mut moved = renameat(CWD, path, CWD, &aside);
        if moved == Err(Errno::XDEV) {
            aside = path.with_file_name(format!("{ASIDE}{name}"));
            moved = renameat(CWD, path, CWD, &aside);
        }
        if moved == Err(Errno::ACCESS) {
            // It changes its `..`, and for that it has to be writable.
            drop(open_folder(CWD, path));
            moved = renameat(CWD, path, CWD, &aside);
        }
        self.taken_out(path, aside, moved)
    }

    /// What a move out of its place has come to.
    fn taken_out(&self, path: &Path, aside: PathBuf, moved: Result<(), Errno>) -> io::Result<()> {
        match moved {
            Ok(()) => {}
            // Or there is no trash; then it is removed where it is.
            Err(Errno::NOENT) if self.folder.is_dir() => return Ok(()),
            Err(Errno::NOENT) => return all(path),
            // A move takes some space as well, and removing is what makes space.
            Err(Errno::NOSPC | Errno::DQUOT) => return all(path),
            Err(error) => {
                let error = io::Error::from(error);
                return Err(io::Error::new(error.kind(), format!("{} cannot be thrown away: {error}", path.display())));
            }
        }
        self.remove(aside)
    }

    /// Has something removed that is out of its place already.
    ///
    /// # Errors
    /// Where the removal is waited for, when a part of it is left.
    pub(crate) fn remove(&self, path: PathBuf) -> io::Result<()> {
        match &self.queue {
            Some(queue) => {
                // The thread ends with the process.
                let _ = queue.send(path);
                Ok(())
            }
            None => all(&path),
        }
    }

    /// As [`Trash::discard`], for who can do no more about it than to say so.
    pub(crate) fn discard_or_tell(&self, path: &Path) {
        if let Err(error) = self.discard(path) {
            tracing::warn!(%error, "something that is not needed any more is left");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::remove::tests::{DEEP, nested};

    /// Waits for something that another thread does.
    pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
        // Long: a disk that others use as well removes a thousand folders in a second.
        let deadline = Instant::now() + Duration::from_secs(300);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_empty(folder: &Path) -> bool {
        fs::read_dir(folder).unwrap().next().is_none()
    }

    #[test]
    fn a_thing_is_out_of_its_place_at_once_and_gone_in_the_end() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, left) = (parent.path().join("trash"), parent.path().join("folder"));
        // What an earlier server left.
        fs::create_dir(&folder).unwrap();
        nested(&folder.join("earlier"), DEEP);
        nested(&left, DEEP);
        let trash = Trash::emptied_aside(folder.clone()).unwrap();
        trash.discard(&left).unwrap();
        assert!(!left.exists());
        trash.discard(&left).unwrap();
        fs::write(&left, "a file").unwrap();
        trash.discard(&left).unwrap();
        assert!(!left.exists());
        eventually("the trash is emptied", || is_empty(&folder));
    }

    #[test]
    fn on_a_full_disk_a_thing_is_removed_where_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let trash = Trash::emptied_aside(parent.path().join("trash")).unwrap();
        let left = parent.path().join("folder");
        let aside = parent.path().join("trash/aside");
        for full in [Errno::NOSPC, Errno::DQUOT] {
            nested(&left, 10);
            trash.taken_out(&left, aside.clone(), Err(full)).unwrap();
            assert!(!left.exists() && !aside.exists());
        }
        nested(&left, 10);
        let error = trash.taken_out(&left, aside, Err(Errno::ROFS)).unwrap_err();
        assert!(left.exists() && error.to_string().contains("folder cannot be thrown away"), "{error}");
    }

    #[test]
    fn who_waits_for_the_removal_waits_for_it() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, left) = (parent.path().join("trash"), parent.path().join("folder"));
        let trash = Trash::emptied_at_once(folder.clone());
        nested(&left, 10);
        trash.discard(&left).unwrap();
        assert!(!left.exists() && !folder.exists(), "it needs no trash");
        fs::create_dir(&folder).unwrap();
        nested(&left, 10);
        trash.discard(&left).unwrap();
        assert!(!left.exists() && is_empty(&folder));
    }
}
