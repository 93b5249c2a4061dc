//! Compiled dependencies, shared between projects.
//!
//! A project's first build compiles its dependencies apart from its own code ([`super::skeleton`]), and the outcome is kept
//! here, by what decided it, for every project that asks for the same. A project whose dependencies are not the same, but
//! include all of a kept set's, starts from that set: whatever code ran while that set was made is code that this project
//! has chosen to run as well. So no project's choice of dependencies changes what another one reads, either. One set is of
//! the platform's own choice ([`super::warm`]); from that one anybody may start.
//!
//! What is here belongs to the server alone. A project gets a copy (where the file system can, sharing its blocks): a hard
//! link would let one build write what the others read. It stands among the build folders, and is removed by the same rule.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::skeleton::Skeleton;

/// How the folders here begin; a project's is a number. Then come the profile and the key.
const PREFIX: &str = "shared-";
/// cargo's folders that hold compiled units.
const UNITS: [&str; 3] = [".fingerprint", "build", "deps"];
/// A file that stands in a set of the platform's own choice.
const OURS: &str = "ours";
/// Characters of the key in a folder's name.
const KEY: usize = 32;
/// Characters of the hash behind a unit's name.
const HASH: usize = 16;

/// The name of the folder for these dependencies.
pub(super) fn name(skeleton: &Skeleton) -> String {
    format!("{PREFIX}{}-{}", skeleton.profile, &skeleton.key.as_str()[..KEY])
}

/// Whether the folder of this name holds what is compiled with this profile.
fn is_of_profile(name: &str, profile: &str) -> bool {
    name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('-')).is_some_and(|(of, key)| of == profile && key.len() == KEY)
}

/// Who chose which packages there are in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChosenBy {
    Project,
    /// The platform itself: any project may take what it finds of use there.
    Platform,
}

/// The kept sets of a profile: name, packages, and who chose them.
fn sets(root: &Path, profile: &str) -> io::Result<Vec<(String, String, ChosenBy)>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // One that is just being removed has no list.
        if is_of_profile(&name, profile)
            && let Ok(list) = fs::read_to_string(entry.path().join("packages"))
        {
            let ours = entry.path().join(OURS).exists();
            sets.push((name, list, if ours { ChosenBy::Platform } else { ChosenBy::Project }));
        }
    }
    Ok(sets)
}

/// The kept set with most of these packages, provided that it has no other, or is the platform's own.
pub(super) fn best(root: &Path, profile: &str, packages: &BTreeSet<String>) -> io::Result<Option<String>> {
    let mut best = (0, None);
    for (name, list, chosen_by) in sets(root, profile)? {
        let of_use = list.lines().filter(|package| packages.contains(*package)).count();
        if of_use > best.0 && (chosen_by == ChosenBy::Platform || of_use == list.lines().count()) {
            best = (of_use, Some(name));
        }
    }
    Ok(best.1)
}

/// Whether a kept set has all of these.
pub(super) fn covers(root: &Path, profile: &str, packages: &BTreeSet<String>) -> io::Result<bool> {
    Ok(sets(root, profile)?.iter().any(|(_, list, _)| {
        let list: BTreeSet<&str> = list.lines().collect();
        packages.iter().all(|package| list.contains(package.as_str()))
    }))
}

/// Puts the units that were compiled in `target` where they are shared. Nothing runs any more that could write there.
pub(super) fn keep(skeleton: &Skeleton, target: &Path, folder: &Path, chosen_by: ChosenBy) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(folder);
    let fresh = tempfile::Builder::new().prefix(".tmp").tempdir_in(parent)?;
    let profile = skeleton.profile.as_str();
    let kept = fresh.path().join("target").join(profile);
    fs::create_dir_all(&kept)?;
    for units in UNITS {
        let to = kept.join(units);
        fs::create_dir(&to)?;
        let Some(from) = real_folder(target, &[profile, units])? else { continue };
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if units == "deps" || is_unit_of(&entry.file_name(), &skeleton.kept) {
                fs::rename(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    let mut list = String::new();
    for package in &skeleton.packages {
        list.push_str(package);
        list.push('\n');
    }
    fs::write(fresh.path().join("packages"), list)?;
    if chosen_by == ChosenBy::Platform {
        fs::write(fresh.path().join(OURS), "")?;
    }
    fs::write(fresh.path().join("used"), "")?;
    own(&kept)?;
    match fs::rename(fresh.path(), folder) {
        // Another build was faster; its units are as good.
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
        renamed => {
            renamed?;
            // It has its place now.
            let _ = fresh.keep();
            Ok(())
        }
    }
}

/// A folder below one that a build could write to. The server would follow a link that a build left there to wherever the
/// server itself may go, so a link on the way is an error.
pub(super) fn real_folder(target: &Path, way: &[&str]) -> io::Result<Option<PathBuf>> {
    let mut path = target.to_path_buf();
    for name in way {
        path.push(name);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no folder", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(path))
}

/// `name-0123456789abcdef`: a unit of a package whose name is among these.
fn is_unit_of(file: &std::ffi::OsStr, names: &BTreeSet<String>) -> bool {
    file.to_str()
        .and_then(|file| file.rsplit_once('-'))
        .is_some_and(|(name, hash)| hash.len() == HASH && hash.bytes().all(|c| c.is_ascii_hexdigit()) && names.contains(name))
}

/// Takes what a build made: it is the server's from now on, and nothing but folders and plain files.
fn own(path: &Path) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            own(&entry.path())?;
        } else if !metadata.is_file() {
            fs::remove_file(entry.path())?;
            continue;
        }
        std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid))?;
        let executable = metadata.is_dir() || metadata.mode() & 0o100 != 0;
        fs::set_permissions(entry.path(), fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
    }
    Ok(())
}

/// Copies what is kept in `folder` to the empty folder `target`, for a build under `uid`.
pub(super) fn copy_to(folder: &Path, target: &Path, uid: Option<u32>) -> io::Result<()> {
    // Only now is it known to be of use.
    fs::write(folder.join("used"), "")?;
    copy(&folder.join("target"), target, uid)
}

/// cargo compares times, so every file keeps its own.
fn copy(from: &Path, to: &Path, uid: Option<u32>) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target, uid)?;
        } else {
            let (mut source, mut copied) = (File::open(entry.path())?, File::create_new(&target)?);
            io::copy(&mut source, &mut copied)?;
            copied.set_permissions(metadata.permissions())?;
        }
        // A folder's own time is the last thing to be set, when nothing more is put into it.
        let copied = File::open(&target)?;
        copied.set_modified(metadata.modified()?)?;
        if let Some(uid) = uid {
            fchown(&copied, Some(uid), Some(uid))?;
        }
    }
    Ok(())
}

/// Whether cargo has not built anything with this profile in this target folder yet.
pub(super) fn is_new(target: &Path, profile: &str) -> bool {
    !target.join(profile).exists()
}

/// Empties the target folder.
pub(super) fn clear(target: &Path, uid: Option<u32>) -> io::Result<()> {
    fs::remove_dir_all(target)?;
    fs::create_dir(target)?;
    uid.map_or(Ok(()), |uid| std::os::unix::fs::chown(target, Some(uid), Some(uid)))
}

/// An empty folder beside `target` for a build under `uid`, removed when it is dropped.
pub(super) fn scratch(beside: &Path, uid: Option<u32>) -> io::Result<tempfile::TempDir> {
    let parent: PathBuf = beside.parent().unwrap_or(beside).to_path_buf();
    let folder = tempfile::Builder::new().prefix(".tmp-dependencies").tempdir_in(parent)?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    if let Some(uid) = uid {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(uid))?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        time::{Duration, SystemTime},
    };

    use super::*;

    fn skeleton() -> Skeleton {
        let folder = tempfile::tempdir().unwrap();
        let lock = "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
            source = \"registry+https://example.com/index\"\nchecksum = \"12\"\n";
        for (file, text) in [("Cargo.lock", lock), ("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n")] {
            fs::write(folder.path().join(file), text).unwrap();
        }
        Skeleton::of(folder.path(), &folder.path().join("Cargo.lock"), "app", "rustc 1", "release").unwrap().unwrap().all
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn units_of_dependencies_are_kept_with_their_times_and_nothing_of_the_app() {
        let (target, store, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let release = target.path().join("release");
        for unit in ["a-0123456789abcdef", "app-0123456789abcdef", "a-short"] {
            write(release.join(".fingerprint").join(unit).join("invoked"), "");
        }
        write(release.join("deps/liba-0123456789abcdef.rlib"), "compiled");
        symlink("/etc/passwd", release.join("deps/link")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::open(release.join("deps/liba-0123456789abcdef.rlib")).unwrap().set_modified(old).unwrap();
        let folder = store.path().join(name(&skeleton()));
        keep(&skeleton(), target.path(), &folder, ChosenBy::Project).unwrap();
        // Whoever comes second finds it there.
        keep(&skeleton(), target.path(), &folder, ChosenBy::Project).unwrap();
        copy_to(&folder, copied.path(), None).unwrap();

        let names = |folder: &str| {
            let entries = fs::read_dir(copied.path().join("release").join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(".fingerprint"), ["a-0123456789abcdef"]);
        assert_eq!(names("deps"), ["liba-0123456789abcdef.rlib"]);
        let library = copied.path().join("release/deps/liba-0123456789abcdef.rlib");
        assert_eq!(library.metadata().unwrap().modified().unwrap(), old);
        assert!(covers(store.path(), "release", &skeleton().packages).unwrap());
        assert!(!covers(store.path(), "dist", &skeleton().packages).unwrap());
    }

    #[test]
    fn a_link_that_a_build_left_is_not_followed() {
        let (target, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let outside = store.path().join("outside");
        write(outside.join("deps/secret"), "secret");
        for (at, to) in [("release", outside.clone()), ("release/deps", outside.join("deps"))] {
            let link = target.path().join(at);
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(to, &link).unwrap();
            let kept = keep(&skeleton(), target.path(), &store.path().join("kept"), ChosenBy::Project);
            assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::NotADirectory, "{at}");
            fs::remove_file(link).unwrap();
        }
        assert!(outside.join("deps/secret").exists() && !store.path().join("kept").exists());
    }

    #[test]
    fn a_set_is_a_base_only_for_who_has_all_of_it_unless_it_is_the_platforms() {
        let root = tempfile::tempdir().unwrap();
        let name = |name: &str| format!("shared-release-{name:0>32}");
        let packages = |names: &str| names.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        for (set, list) in [("small", "a\n"), ("large", "a\nb\n"), ("other", "a\nb\nc\nevil\n")] {
            write(root.path().join(name(set)).join("packages"), list);
        }
        let best = |names| best(root.path(), "release", &packages(names)).unwrap();
        assert_eq!(best("a b c"), Some(name("large")));
        assert_eq!(best("a"), Some(name("small")));
        assert_eq!(best("x"), None);
        write(root.path().join(name("other")).join(OURS), "");
        assert_eq!(best("a b c"), Some(name("other")));
    }
}
