//! Compiled dependencies, shared between projects.
//!
//! A project's first build compiles its dependencies apart from its own code ([`super::skeleton`]), and the outcome is kept
//! here, by all that decided it, for every project that asks for the same. Kept are the units that cargo says are those of
//! packages from elsewhere, and those of the project's libraries that are in the skeleton.
//!
//! A project whose dependencies are not the same, but include all of a kept set's, starts from that set: whatever code ran
//! while that set was made is code that this project has chosen to run as well. So no project's choice of dependencies
//! changes what another one reads, either. A set with libraries of a project in it serves nobody to start from. One set is
//! of the platform's own choice ([`super::warm`]); from that one anybody may start, and it is never made from a project's.
//!
//! What is here belongs to the server alone. A project's target folder lies upon it, by a mount that only reads it; where
//! that cannot be, the project gets a copy (where the file system can, sharing its blocks). It stands among the build folders,
//! and is removed by the same rule, but not before the projects that lie upon it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::{messages::Unit, scratch::Scratch, skeleton::Skeleton};

/// How the folders here begin; a project's is a number. Then come who chose the packages, the profile and the key. What an
/// earlier version kept was not kept apart from projects in the same way, and is left to be removed.
const PREFIX: &str = "dependencies-";
/// cargo's folders that hold compiled units.
const UNITS: [&str; 3] = [".fingerprint", "build", "deps"];
/// The list of packages in a set that may serve for others to start from.
const PACKAGES: &str = "packages";
/// Characters of the key in a folder's name.
const KEY: usize = 32;
/// Characters of the hash behind a unit's name.
const HASH: usize = 16;

/// The name of the folder for these dependencies.
pub(super) fn name(skeleton: &Skeleton, chosen_by: ChosenBy) -> String {
    format!("{PREFIX}{}-{}-{}", chosen_by.name(), skeleton.profile, &skeleton.key.as_str()[..KEY])
}

/// Who chose the packages in the folder of this name, if it holds what is compiled with this profile.
fn of_profile(name: &str, profile: &str) -> Option<ChosenBy> {
    let (chosen_by, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (of, key) = rest.rsplit_once('-')?;
    let chosen_by = [ChosenBy::Project, ChosenBy::Platform].into_iter().find(|one| one.name() == chosen_by)?;
    (of == profile && key.len() == KEY).then_some(chosen_by)
}

/// Whether the folder of this name holds what is compiled with this profile.
pub(super) fn is_of_profile(name: &str, profile: &str) -> bool {
    of_profile(name, profile).is_some()
}

/// Who chose which packages there are in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChosenBy {
    Project,
    /// The platform itself: any project may take what it finds of use there.
    Platform,
}

impl ChosenBy {
    /// In the name of a folder. Apart, so that no project's is taken for the platform's.
    fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Platform => "platform",
        }
    }
}

/// The kept sets of a profile that others may start from: name, packages, and who chose them.
fn sets(root: &Path, profile: &str) -> io::Result<Vec<(String, String, ChosenBy)>> {
    let mut sets = Vec::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // One that is just being removed has no list.
        if let Some(chosen_by) = of_profile(&name, profile)
            && let Ok(list) = fs::read_to_string(entry.path().join(PACKAGES))
        {
            sets.push((name, list, chosen_by));
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

/// Hashes of the units that may be kept: those of packages from elsewhere, and of the app's libraries. `seen_at` is where the
/// build saw the tree and the target folder.
pub(super) fn kept_units(skeleton: &Skeleton, units: &[Unit], (tree, target): (&Path, &Path)) -> BTreeSet<String> {
    let prefix = format!("path+file://{}/", tree.display());
    let is_kept = |unit: &&Unit| match unit.package_id.strip_prefix("path+") {
        Some(_) => unit
            .package_id
            .strip_prefix(&prefix)
            .and_then(|rest| rest.split_once('#'))
            .is_some_and(|(folder, _)| skeleton.libraries.contains(Path::new(folder))),
        None => ["registry+", "sparse+", "git+"].iter().any(|kind| unit.package_id.starts_with(kind)),
    };
    let paths = units.iter().filter(is_kept).flat_map(|unit| &unit.paths);
    paths.filter_map(|path| unit_of(path.strip_prefix(target).ok()?, &skeleton.profile)).collect()
}

/// The hash of the unit that a file or folder is of: `release/deps/libname-0123456789abcdef.rlib`,
/// `release/build/name-0123456789abcdef/out`.
fn unit_of(path: &Path, profile: &str) -> Option<String> {
    let mut parts = path.components().map(|part| part.as_os_str().to_str());
    let (of, units, name) = (parts.next()??, parts.next()??, parts.next()??);
    (of == profile && UNITS.contains(&units)).then(|| hash_in(name))?.map(str::to_owned)
}

/// The hash in the name of a file or folder of a unit's.
fn hash_in(name: &str) -> Option<&str> {
    let hash = name.split('.').next()?.rsplit_once('-')?.1;
    (hash.len() == HASH && hash.bytes().all(|c| c.is_ascii_hexdigit())).then_some(hash)
}

/// Puts units that were compiled in `target` where they are shared. Nothing runs any more that could write there. They are
/// put together in `fresh`.
pub(super) fn keep(
    skeleton: &Skeleton,
    hashes: &BTreeSet<String>,
    target: &Path,
    fresh: Scratch,
    folder: &Path,
) -> io::Result<()> {
    let profile = skeleton.profile.as_str();
    let kept = fresh.path().join("target").join(profile);
    fs::create_dir_all(&kept)?;
    for units in UNITS {
        let to = kept.join(units);
        fs::create_dir(&to)?;
        let Some(from) = real_folder(target, &[profile, units])? else { continue };
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_name().to_str().and_then(hash_in).is_some_and(|hash| hashes.contains(hash)) {
                fs::rename(entry.path(), to.join(entry.file_name()))?;
            }
        }
    }
    // What a project's library did while it was compiled is for the projects with the same library alone.
    if skeleton.libraries.is_empty() {
        let mut list = String::new();
        for package in &skeleton.packages {
            list.push_str(package);
            list.push('\n');
        }
        fs::write(fresh.path().join(PACKAGES), list)?;
    }
    fs::write(fresh.path().join("used"), "")?;
    own(fresh.path().join("target").as_path())?;
    fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o700))?;
    match fresh.place(folder) {
        // Another build was faster; its units are as good.
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
        placed => placed,
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

/// Takes what a build made: it is the server's from now on, and nothing but folders and plain files.
///
/// Deeper than a path can say it is an error: nothing that is of use is so deep.
fn own(path: &Path) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if !metadata.is_dir() && !metadata.is_file() {
                fs::remove_file(entry.path())?;
                continue;
            }
            std::os::unix::fs::lchown(entry.path(), Some(uid), Some(gid))?;
            let executable = metadata.is_dir() || metadata.mode() & 0o100 != 0;
            // Under a folder that only the server can enter: for the builds that see it below their own, any of which may
            // write, each in its own folder.
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(if executable { 0o777 } else { 0o666 }))?;
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// Copies what is kept in `folder` to the empty folder `target`, for a build under `uid`.
pub(super) fn copy_to(folder: &Path, target: &Path, uid: Option<u32>) -> io::Result<()> {
    used(folder)?;
    copy(&units(folder), target, uid)
}

/// Notes that a set is of use.
pub(super) fn used(folder: &Path) -> io::Result<()> {
    fs::write(folder.join("used"), "")
}

/// Where the units of a set are: a target folder.
pub(super) fn units(folder: &Path) -> PathBuf {
    folder.join("target")
}

/// cargo compares times, so every file keeps its own.
fn copy(from: &Path, to: &Path, uid: Option<u32>) -> io::Result<()> {
    let finish = |copied: &File, metadata: &fs::Metadata| {
        copied.set_modified(metadata.modified()?)?;
        uid.map_or(Ok(()), |uid| fchown(copied, Some(uid), Some(uid)))
    };
    let (mut folders, mut made) = (vec![(from.to_path_buf(), to.to_path_buf())], Vec::new());
    while let Some((from, to)) = folders.pop() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                fs::create_dir(&target)?;
                folders.push((entry.path(), target.clone()));
                made.push((target, metadata));
            } else {
                let (mut source, mut copied) = (File::open(entry.path())?, File::create_new(&target)?);
                io::copy(&mut source, &mut copied)?;
                copied.set_permissions(fs::Permissions::from_mode(metadata.mode() & 0o755))?;
                finish(&copied, &metadata)?;
            }
        }
    }
    // A folder's own time is the last thing to be set, when nothing more is put into it.
    made.iter().try_for_each(|(target, metadata)| finish(&File::open(target)?, metadata))
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        time::{Duration, SystemTime},
    };

    use platform_wire::BuildKind;

    use super::*;
    use crate::{
        build::{
            folders::BuildFolders,
            profile::{self, Profile},
            skeleton::Source,
        },
        remove::{
            Trash,
            tests::{DEEP, nested},
        },
    };

    fn skeleton() -> Skeleton {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path();
        let lock = format!(
            "[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
            source = \"registry+https://example.com/index\"\nchecksum = \"{:064}\"\n",
            1
        );
        for (file, text) in [("Cargo.lock", lock.as_str()), ("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\n")] {
            fs::write(tree.join(file), text).unwrap();
        }
        let index = serde_json::json!({"format": 1, "package": "app", "crate_name": "app", "workspace_root": "",
            "package_root": "", "sdk_version": "0.1.0", "cli_version": "0.1.0"});
        let index = serde_json::from_value(index).unwrap();
        let profile = Profile::of(&index, profile::chosen(tree, &index), BuildKind::Fast);
        let source = Source { tree, seen_at: Path::new("/build/tree"), index: &index, compiler: "rustc 1", profile: &profile };
        Skeleton::of(source).unwrap().unwrap().all
    }

    /// What cargo says of a unit of a package.
    fn unit(package_id: &str, paths: &[&str]) -> Unit {
        Unit { package_id: package_id.into(), paths: paths.iter().map(|path| Path::new("/build/target").join(path)).collect() }
    }

    fn hash(name: &str) -> String {
        format!("{name:0>16}")
    }

    fn fresh(store: &Path) -> Scratch {
        Scratch::new(store, None, &Trash::emptied_at_once(store.join("trash"))).unwrap()
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn units_are_kept_by_the_package_that_cargo_says_they_are_of() {
        let mut skeleton = skeleton();
        skeleton.libraries.insert("lib".into());
        let path = |unit: &str| format!("release/deps/liba-{}.rlib", hash(unit));
        let script = format!("release/build/a-{}/out", hash("c"));
        let units = [
            unit("registry+https://example.com/index#a@1.0.0", &[&path("a"), &path("a").replace("rlib", "rmeta")]),
            unit("git+https://example.com/b?branch=x#a@1.0.0", &[&path("b")]),
            unit("registry+https://example.com/index#a@1.0.0", &[&script]),
            unit("path+file:///build/tree/lib#a@0.1.0", &[&path("d")]),
            // The app's own, one of another library of that name, and one whose folder begins in the same way.
            unit("path+file:///build/tree#a@0.1.0", &[&path("e")]),
            unit("path+file:///build/tree/other#a@0.1.0", &[&path("e")]),
            unit("path+file:///build/tree/lib/../evil#a@0.1.0", &[&path("e")]),
            unit("", &[&path("e")]),
            // Where no unit is.
            unit("registry+https://example.com/index#a@1.0.0", &[&path("e").replace("deps", "x"), "release/liba.rlib"]),
            unit("registry+https://example.com/index#a@1.0.0", &[&path("e").replace("release", "debug")]),
        ];
        let kept = kept_units(&skeleton, &units, (Path::new("/build/tree"), Path::new("/build/target")));
        assert_eq!(kept, ["a", "b", "c", "d"].map(hash).into());
    }

    #[test]
    fn units_that_are_kept_keep_their_times() {
        let (target, store, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let release = target.path().join("release");
        for unit in [format!("a-{}", hash("a")), format!("a-{}", hash("b")), "a-short".to_owned()] {
            write(release.join(".fingerprint").join(unit).join("invoked"), "");
        }
        let library = format!("liba-{}.rlib", hash("a"));
        for file in [&library, &library.replace(&hash("a"), &hash("b"))] {
            write(release.join("deps").join(file), "compiled");
        }
        symlink("/etc/passwd", release.join(format!("deps/link-{}", hash("a")))).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        File::open(release.join("deps").join(&library)).unwrap().set_modified(old).unwrap();
        let folder = store.path().join(name(&skeleton(), ChosenBy::Project));
        let hashes = BTreeSet::from([hash("a")]);
        keep(&skeleton(), &hashes, target.path(), fresh(store.path()), &folder).unwrap();
        // Whoever comes second finds it there.
        keep(&skeleton(), &hashes, target.path(), fresh(store.path()), &folder).unwrap();
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 1, "and leaves nothing beside it");
        copy_to(&folder, copied.path(), None).unwrap();

        let names = |folder: &str| {
            let entries = fs::read_dir(copied.path().join("release").join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(names(".fingerprint"), [format!("a-{}", hash("a"))]);
        assert_eq!(names("deps"), [library.as_str()]);
        assert_eq!(copied.path().join("release/deps").join(&library).metadata().unwrap().modified().unwrap(), old);
    }

    #[test]
    fn a_set_with_libraries_of_a_project_is_nothing_to_start_from() {
        let (target, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut skeleton = skeleton();
        let keep = |skeleton: &Skeleton, key: &str| {
            fs::create_dir_all(target.path().join("release")).unwrap();
            let folder = store.path().join(format!("dependencies-project-release-{key:0>32}"));
            keep(skeleton, &BTreeSet::new(), target.path(), fresh(store.path()), &folder).unwrap();
            best(store.path(), "release", &skeleton.packages).unwrap()
        };
        skeleton.libraries.insert("lib".into());
        assert_eq!(keep(&skeleton, "1"), None);
        skeleton.libraries.clear();
        assert!(keep(&skeleton, "2").unwrap().ends_with('2'));
    }

    #[test]
    fn units_that_are_deeper_than_a_path_can_say_are_not_kept() {
        let (target, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(target.path().join("release/deps")).unwrap();
        let deep = format!("deep-{}", hash("a"));
        nested(&target.path().join("release/deps").join(deep), DEEP);
        let kept = store.path().join("kept");
        keep(&skeleton(), &BTreeSet::from([hash("a")]), target.path(), fresh(store.path()), &kept).unwrap_err();
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0, "nothing is left of them");
        let deep = target.path().join("deep");
        nested(&deep, DEEP);
        copy(target.path(), store.path(), None).unwrap_err();
        for folder in [deep, store.path().join("deep")] {
            crate::remove::all(&folder).unwrap();
        }
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
            let kept = keep(&skeleton(), &BTreeSet::new(), target.path(), fresh(store.path()), &store.path().join("kept"));
            assert_eq!(kept.unwrap_err().kind(), io::ErrorKind::NotADirectory, "{at}");
            fs::remove_file(link).unwrap();
        }
        assert!(outside.join("deps/secret").exists() && !store.path().join("kept").exists());
    }

    #[test]
    fn a_set_is_a_base_only_for_who_has_all_of_it_unless_it_is_the_platforms() {
        let root = tempfile::tempdir().unwrap();
        let name = |by: &str, name: &str| format!("dependencies-{by}-release-{name:0>32}");
        let packages = |names: &str| names.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        for (set, list) in [("small", "a\n"), ("large", "a\nb\n"), ("other", "a\nb\nc\nevil\n")] {
            write(root.path().join(name("project", set)).join(PACKAGES), list);
        }
        // A profile may have any name, and what an earlier version kept is not looked at.
        for elsewhere in [format!("dependencies-project-platform-release-{:0>32}", 1), format!("shared-release-{:0>32}", 1)] {
            write(root.path().join(elsewhere).join(PACKAGES), "a\nb\nc\nx\n");
        }
        let best = |names| best(root.path(), "release", &packages(names)).unwrap();
        assert_eq!(best("a b c"), Some(name("project", "large")));
        assert_eq!(best("a"), Some(name("project", "small")));
        assert_eq!(best("x"), None);
        write(root.path().join(name("platform", "ours")).join(PACKAGES), "a\nb\nc\nmore\n");
        assert_eq!(best("a b c"), Some(name("platform", "ours")));
    }

    #[test]
    fn the_platforms_own_set_starts_from_no_projects() {
        let root = tempfile::tempdir().unwrap();
        let folders = BuildFolders::new(root.path().to_path_buf(), u64::MAX, Trash::emptied_at_once(root.path().join("trash")));
        let skeleton = skeleton();
        let set = root.path().join(name(&skeleton, ChosenBy::Project));
        write(set.join(PACKAGES), &skeleton.packages.iter().map(|package| format!("{package}\n")).collect::<String>());
        used(&set).unwrap();
        assert!(folders.base(&skeleton, ChosenBy::Project).unwrap().is_some());
        assert!(folders.base(&skeleton, ChosenBy::Platform).unwrap().is_none());
        // Nor is it taken for the platform's own.
        assert!(folders.shared(&skeleton, ChosenBy::Platform).unwrap().is_none());
    }
}
