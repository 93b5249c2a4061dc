//! A project's build tree: the files that cargo compiles, brought up to date from a deployment's files.
//!
//! cargo decides by modification times what to compile again. So an unchanged file keeps its own, a changed or new one
//! gets the time of now (never the archive's: cargo misses changed content under an old time), and a missing one is
//! removed; where files come or go, whatever may embed them is compiled again ([`embedded`](super::embedded)). Only the
//! server writes here; a build sees the tree read-only, or a layer of its own over it, so no link that a build made is ever
//! followed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

use super::embedded::Embedded;
use crate::remove;

/// What a synchronisation did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) written: usize,
    pub(crate) removed: usize,
    pub(crate) kept: usize,
}

/// Makes the tree at `to` the same as the files at `from`. All of it belongs to `owner`, who finds it read-only or below a layer
/// of its own.
pub(crate) fn synchronise(from: &Path, to: &Path, owner: Option<u32>) -> io::Result<Changes> {
    fs::create_dir_all(to)?;
    give(to, owner)?;
    let mut changes = Changes::default();
    folder(from, to, Path::new(""), owner, &mut Embedded::new(from, to), &mut changes)?;
    Ok(changes)
}

/// One folder, which is at `place` in the tree.
fn folder(
    from: &Path,
    to: &Path,
    place: &Path,
    owner: Option<u32>,
    embedded: &mut Embedded<'_>,
    changes: &mut Changes,
) -> io::Result<()> {
    let mut wanted = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        wanted.insert(entry.file_name());
        let place = place.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            if !is_dir(&target) {
                embedded.set_changes(&place)?;
                remove::all(&target)?;
                fs::create_dir(&target)?;
            }
            give(&target, owner)?;
            folder(&entry.path(), &target, &place, owner, embedded, changes)?;
        } else if same(&entry.path(), &target)? {
            give(&target, owner)?;
            changes.kept += 1;
        } else {
            if !fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_file()) {
                embedded.set_changes(&place)?;
            }
            replace(&entry.path(), &target)?;
            give(&target, owner)?;
            changes.written += 1;
        }
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !wanted.contains(&entry.file_name()) {
            embedded.set_changes(&place.join(entry.file_name()))?;
            remove::all(&entry.path())?;
            changes.removed += 1;
        }
    }
    Ok(())
}

/// Makes it the owner's, unless it is already.
fn give(path: &Path, owner: Option<u32>) -> io::Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    let metadata = fs::symlink_metadata(path)?;
    if (metadata.uid(), metadata.gid()) == (owner, owner) { Ok(()) } else { lchown(path, Some(owner), Some(owner)) }
}

fn is_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// Same content and same mode.
fn same(from: &Path, to: &Path) -> io::Result<bool> {
    let (Ok(old), new) = (fs::symlink_metadata(to), fs::metadata(from)?) else { return Ok(false) };
    if !old.is_file() || old.len() != new.len() || old.permissions().mode() != new.permissions().mode() {
        return Ok(false);
    }
    let (mut a, mut b) = (File::open(from)?, File::open(to)?);
    let (mut left, mut right) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        let length = a.read(&mut left)?;
        if length == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..length])?;
        if left[..length] != right[..length] {
            return Ok(false);
        }
    }
}

/// Writes beside the old file and renames: a crash leaves one or the other. The new file's time is that of its writing.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if is_dir(to) {
        remove::all(to)?;
    }
    let parent = to.parent().unwrap_or(to);
    let mut temporary = tempfile::NamedTempFile::new_in(parent)?;
    io::copy(&mut File::open(from)?, &mut temporary)?;
    temporary.as_file().set_permissions(fs::metadata(from)?.permissions())?;
    #[expect(clippy::disallowed_methods, reason = "what is lost of a build tree is found and copied again")]
    temporary.persist(to)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn only_what_changed_gets_a_new_time() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (path, text) in [("src/lib.rs", "one"), ("src/same.rs", "same"), ("old/gone.rs", "gone")] {
            write(&from, path, text);
        }
        assert_eq!(synchronise(&from, &to, None).unwrap(), Changes { written: 3, removed: 0, kept: 0 });
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        for path in ["src/lib.rs", "src/same.rs"] {
            File::options().write(true).open(to.join(path)).unwrap().set_modified(past).unwrap();
        }
        // Same length, and an old time on the source: content decides.
        write(&from, "src/lib.rs", "two");
        File::options().write(true).open(from.join("src/lib.rs")).unwrap().set_modified(past).unwrap();
        fs::remove_dir_all(from.join("old")).unwrap();
        assert_eq!(synchronise(&from, &to, None).unwrap(), Changes { written: 1, removed: 1, kept: 1 });
        assert!(to.join("src/lib.rs").metadata().unwrap().modified().unwrap() > past);
        assert_eq!(to.join("src/same.rs").metadata().unwrap().modified().unwrap(), past);
        assert!(!to.join("old").exists());
    }

    #[test]
    fn a_folder_and_a_file_change_places() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from, "a", "file");
        write(&from, "b/c", "in a folder");
        synchronise(&from, &to, None).unwrap();
        fs::remove_dir_all(&from).unwrap();
        write(&from, "a/c", "in a folder");
        write(&from, "b", "file");
        synchronise(&from, &to, None).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/c")).unwrap(), "in a folder");
        assert_eq!(fs::read_to_string(to.join("b")).unwrap(), "file");
    }

    #[test]
    fn a_link_in_the_tree_is_replaced_and_never_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from, "file", "new");
        write(folder.path(), "outside", "untouched");
        fs::create_dir_all(&to).unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), to.join("file")).unwrap();
        synchronise(&from, &to, None).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("outside")).unwrap(), "untouched");
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "new");
    }
}
