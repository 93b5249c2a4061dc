//! Removal of folders that code of others could write to, or that an upload made, however deep, wide or closed they are.
//!
//! [`all`] removes one while the caller waits; [`Trash`] takes one out of its place at once and has it removed on a thread
//! of its own. Nothing else in the server removes a folder with what is in it.
//!
//! `std` takes a stack frame and a descriptor for each level of a tree, and a path has a longest length. Here a subfolder
//! that is not empty is moved up into the folder that is to be removed, so every folder is emptied at the first level: that
//! takes five descriptors and the same memory for any tree. A link is removed and never followed. A folder whose mode keeps
//! its owner out is opened first.

mod trash;

pub(crate) use trash::Trash;

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmod, fstat, openat, renameat, unlinkat},
    io::Errno,
    path::Arg,
};

/// How often a folder is gone through in which there is still something: another process may be writing there.
const PASSES: usize = 4;

/// Removes a file, or a folder with all that is in it. One that is not there is no error.
///
/// It blocks as long as that takes.
///
/// # Errors
/// Names the first thing that cannot be removed, after everything that can be has been.
pub(crate) fn all(path: &Path) -> io::Result<()> {
    let failed = |error: Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("{} cannot be removed: {error}", path.display()))
    };
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(error) => return Err(failed(error)),
    }
    for pass in 1.. {
        match unlinkat(CWD, path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if pass <= PASSES => {}
            Err(error) => return Err(failed(error)),
        }
        let root = match open_folder(CWD, path) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.map_err(failed)?,
        };
        // Nobody has put something there that is called so.
        let prefix = format!(".removed-{}-", crate::provision::secret(8)?);
        let mut removal = Removal { root, prefix, emptied: 0, moved: 0, removed: 0, left: None };
        removal.run();
        if let Some((name, error)) = removal.left
            // Room on a full disk, for instance, comes with what has been removed.
            && (removal.removed == 0 || pass == PASSES)
        {
            let error = io::Error::from(error);
            return Err(io::Error::new(error.kind(), format!("{} cannot be removed: {name} in it: {error}", path.display())));
        }
    }
    Ok(())
}

/// One pass through a folder.
struct Removal {
    root: OwnedFd,
    /// Subfolders that were moved up are called by this and their number.
    prefix: String,
    /// Those of them that have been emptied; the next one is this one.
    emptied: u64,
    moved: u64,
    /// Files and folders.
    removed: u64,
    /// The first thing that could not be removed.
    left: Option<(String, Errno)>,
}

impl Removal {
    fn run(&mut self) {
        // Opened again, as the one and the other are used at the same time.
        match open_folder(&self.root, c".") {
            Ok(root) => self.empty(&root, c"."),
            Err(error) => self.failed(c".", error),
        }
        while self.emptied < self.moved {
            let name = format!("{}{}", self.prefix, self.emptied);
            match open_folder(&self.root, &name) {
                Ok(folder) => self.empty(&folder, c"."),
                Err(Errno::NOENT) => {}
                Err(error) => self.failed(c".", error),
            }
            match unlinkat(&self.root, &name, AtFlags::REMOVEDIR) {
                Ok(()) => self.removed += 1,
                Err(Errno::NOENT) => {}
                Err(error) => self.failed(c".", error),
            }
            self.emptied += 1;
        }
    }

    /// Removes what is in a folder, and moves its subfolders up.
    fn empty(&mut self, folder: &OwnedFd, name: &CStr) {
        let entries = match Dir::read_from(folder) {
            Ok(entries) => entries,
            Err(error) => return self.failed(name, error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.failed(name, error),
            };
            let name = entry.file_name();
            if name == c"." || name == c".." || name.to_bytes().starts_with(self.prefix.as_bytes()) {
                continue;
            }
            let done = if entry.file_type() == FileType::Directory {
                self.subfolder(folder, name)
            } else {
                match unlinkat(folder, name, AtFlags::empty()) {
                    Ok(()) => {
                        self.removed += 1;
                        Ok(())
                    }
                    Err(Errno::NOENT) => Ok(()),
                    // Some file systems do not tell what it is.
                    Err(Errno::ISDIR) => self.subfolder(folder, name),
                    Err(error) => Err(error),
                }
            };
            if let Err(error) = done {
                self.failed(name, error);
            }
        }
    }

    fn subfolder(&mut self, folder: &OwnedFd, name: &CStr) -> Result<(), Errno> {
        match unlinkat(folder, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.removed += 1;
                return Ok(());
            }
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        let up = format!("{}{}", self.prefix, self.moved);
        let moved = renameat(folder, name, &self.root, &up).or_else(|error| match error {
            // It changes its `..`, and for that it has to be writable.
            Errno::ACCESS => {
                open_folder(folder, name)?;
                renameat(folder, name, &self.root, &up)
            }
            error => Err(error),
        });
        match moved {
            Err(Errno::NOENT) => Ok(()),
            moved => {
                moved?;
                self.moved += 1;
                Ok(())
            }
        }
    }

    fn failed(&mut self, name: &CStr, error: Errno) {
        self.left.get_or_insert_with(|| (name.to_string_lossy().escape_debug().to_string(), error));
    }
}

/// Opens a folder that is no link, whatever its mode is, where its mode may be changed.
pub(crate) fn open_folder(at: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let place = openat(at, name, OFlags::PATH | flags, Mode::empty())?;
    if fstat(&place)?.st_mode & 0o700 != 0o700 {
        // By its descriptor: a change of mode by name would follow a link that takes its place. Whether it was of use shows
        // at once.
        let _ = chmod(format!("/proc/self/fd/{}", place.as_raw_fd()), Mode::RWXU);
    }
    openat(&place, c".", OFlags::RDONLY | flags, Mode::empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    use rustix::{
        fs::mkdirat,
        thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
    };

    pub(crate) use super::trash::tests::eventually;
    use super::*;

    /// As deep as this, `std` overflows its stack or runs out of descriptors.
    pub(crate) const DEEP: usize = 20_000;

    /// Makes folders, one in the other, and a file in the last.
    pub(crate) fn nested(outermost: &Path, depth: usize) {
        fs::create_dir(outermost).unwrap();
        let mut folder = open_folder(CWD, outermost).unwrap();
        for _ in 0..depth {
            mkdirat(&folder, c"d", Mode::RWXU).unwrap();
            folder = open_folder(&folder, c"d").unwrap();
        }
        openat(&folder, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    /// Runs something as a user who may not do everything: on a thread of its own, as a thread has its own user. A test
    /// that runs as an ordinary user is one.
    pub(crate) fn as_ordinary_user(folder: &Path, run: impl FnOnce() + Send + 'static) {
        const USER: u32 = 65_534;
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(folder, Some(USER), Some(USER)).unwrap();
        }
        let thread = std::thread::spawn(move || {
            if root {
                let (uid, gid) = (rustix::process::Uid::from_raw(USER), rustix::process::Gid::from_raw(USER));
                set_thread_groups(&[]).unwrap();
                set_thread_res_gid(gid, gid, gid).unwrap();
                set_thread_res_uid(uid, uid, uid).unwrap();
            }
            run();
        });
        thread.join().unwrap();
    }

    #[test]
    fn a_folder_of_any_depth_and_width_is_removed_with_a_small_stack() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        nested(&folder, DEEP);
        // Longer than a path can be, with names of the longest.
        let mut inner = open_folder(CWD, &folder).unwrap();
        for _ in 0..40 {
            let name = "n".repeat(255);
            mkdirat(&inner, &name, Mode::RWXU).unwrap();
            inner = open_folder(&inner, &name).unwrap();
        }
        for number in 0..2000 {
            fs::create_dir_all(folder.join(format!("wide/{number}/inner"))).unwrap();
        }
        let removed = folder.clone();
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        small.spawn(move || all(&removed).unwrap()).unwrap().join().unwrap();
        assert!(!folder.exists());
        all(&folder).unwrap();
    }

    #[test]
    fn a_link_is_removed_and_what_it_points_at_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let (folder, outside) = (parent.path().join("folder"), parent.path().join("outside"));
        fs::create_dir_all(outside.join("inner")).unwrap();
        fs::write(outside.join("inner/file"), "precious").unwrap();
        fs::create_dir_all(folder.join("a")).unwrap();
        symlink(&outside, folder.join("a/link")).unwrap();
        symlink(&outside, folder.join("link")).unwrap();
        let link = parent.path().join("itself");
        symlink(&outside, &link).unwrap();
        for path in [&folder, &link] {
            all(path).unwrap();
            assert!(path.symlink_metadata().is_err(), "{}", path.display());
        }
        assert_eq!(fs::read_to_string(outside.join("inner/file")).unwrap(), "precious");
    }

    #[test]
    fn a_folder_that_is_closed_to_its_owner_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().to_path_buf();
        as_ordinary_user(parent.path(), move || {
            let folder = path.join("folder");
            for closed in ["d", "d/e/f", "g"] {
                fs::create_dir_all(folder.join(closed).join("x/y")).unwrap();
            }
            for closed in ["d/e/f", "d/e", "d", "g", ""] {
                fs::set_permissions(folder.join(closed), fs::Permissions::from_mode(0o000)).unwrap();
            }
            all(&folder).unwrap();
            assert!(!folder.exists());
        });
    }

    #[test]
    fn what_cannot_be_removed_is_named_and_the_rest_is_gone() {
        // Only root can make what another user cannot remove.
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        fs::create_dir_all(folder.join("a/roots")).unwrap();
        fs::write(folder.join("a/roots/kept"), "").unwrap();
        fs::create_dir_all(folder.join("b/c")).unwrap();
        fs::write(folder.join("b/c/file"), "").unwrap();
        for path in ["", "a", "b", "b/c", "b/c/file"] {
            chown(folder.join(path), Some(65_534), Some(65_534)).unwrap();
        }
        let removed = folder.clone();
        as_ordinary_user(parent.path(), move || {
            let error = all(&removed).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("folder cannot be removed: roots in it"), "{error}");
        });
        assert!(!folder.join("b").exists());
        all(&folder).unwrap();
    }
}
