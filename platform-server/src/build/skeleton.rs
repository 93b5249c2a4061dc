//! What the dependencies of an app are compiled with, apart from the app's own code.
//!
//! Compiled dependencies are shared between projects, and no project may change what another one's build reads. So they are
//! compiled in a skeleton, which has nothing in it that a project wrote:
//!
//! - manifests that are generated from what the platform understands of the project's ([`manifest`]), and a lockfile written
//!   in the same way ([`lock`]). cargo finds the same packages, features and profile there, and makes the same units;
//! - two empty source files of the platform's own, for every library, program and build script.
//!
//! A project's own libraries that the app depends on are shared in a second step. They are in its skeleton as they were sent,
//! and what is compiled there is for those projects alone whose skeleton is the same.
//!
//! Everything that is in a skeleton is in its key.

mod lock;
mod manifest;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use platform_wire::ArchiveIndex;
use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use self::{lock::Lock, manifest::Manifests};
use super::profile::Profile;
use crate::deployment::Digest;

/// Sections of a cargo configuration that neither change what is compiled nor make cargo run anything.
const HARMLESS: [&str; 6] = ["alias", "cargo-new", "http", "net", "registries", "term"];
/// The folder of the platform's own files. A project with such a folder does not share.
const OWN: &str = ".skeleton";
const EMPTY_LIBRARY: &str = ".skeleton/lib.rs";
const EMPTY_PROGRAM: &str = ".skeleton/main.rs";
/// Where the app's workspace is, unless there are libraries of the app in it: whoever has another place for it shares too.
const PLACE: &str = ".skeleton/app";
/// The app's package.
const APP: &str = "skeleton-of-an-app";
const VERSION: &str = "0.0.0";

/// The dependencies of one app, and the files that cargo needs to compile them alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skeleton {
    /// A digest of all that decides what is compiled.
    pub(super) key: Digest,
    /// The folder of the profile that they are compiled with.
    pub(super) profile: String,
    /// What cargo is told to compile there.
    pub(super) index: ArchiveIndex,
    /// Every package that is a dependency, with what pins its content, sorted.
    pub(super) packages: BTreeSet<String>,
    /// Folders of the app's libraries, relative to the tree.
    pub(super) libraries: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
}

#[derive(Debug, PartialEq, Eq)]
enum Content {
    Written(String),
    /// A file of the tree at the same place, with this mode and digest.
    Sent(u32, String),
}

/// The dependencies of one app, in two steps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skeletons {
    /// Those from elsewhere alone, where there are others: they are the same for many more projects.
    pub(super) foreign: Option<Skeleton>,
    /// All of them.
    pub(super) all: Skeleton,
}

/// What is looked at.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) tree: &'a Path,
    /// Where builds see the tree.
    pub(super) seen_at: &'a Path,
    pub(super) index: &'a ArchiveIndex,
    /// Which compiler it is.
    pub(super) compiler: &'a str,
    pub(super) profile: &'a Profile,
}

impl Skeleton {
    /// Looks at a build tree for the dependencies of an app. `None`: they cannot be compiled apart, or could bring their own
    /// programs.
    pub(super) fn of(source: Source<'_>) -> io::Result<Option<Skeletons>> {
        let Source { tree, index, .. } = source;
        let mut files = Files::default();
        if tree.join(OWN).symlink_metadata().is_ok() || !files.collect(tree, Path::new(""))? {
            return Ok(None);
        }
        let app = |(name, folders): (&String, &Vec<PathBuf>)| {
            folders.iter().any(|folder| folder == Path::new(&index.package_root)).then(|| name.clone())
        };
        let Some(app) = files.packages.iter().find_map(app) else { return Ok(None) };
        let lockfile = tree.join(&index.workspace_root).join("Cargo.lock");
        let lock = super::sources::read(&lockfile, "Cargo.lock").ok().and_then(|lock| Lock::of(&lock, &app));
        let Some(lock) = lock.filter(|lock| !lock.packages.is_empty()) else { return Ok(None) };
        // Of two of one name, who is to say which it is.
        let folder = |name: &String| files.packages.get(name).filter(|folders| folders.len() == 1)?.first().cloned();
        let mut libraries: BTreeSet<PathBuf> = lock.libraries.iter().filter_map(folder).collect();
        let has_build_script =
            |library: &PathBuf| files.manifests.get(library).is_some_and(|manifest| files.has_build_script(library, manifest));
        // The commit is in the environment of the project's own build alone, and cargo does not see that a build script reads it.
        if index.git_commit.is_some() && libraries.iter().any(has_build_script) {
            libraries.clear();
        }
        let all = Self::with(source, &lock, &files, &libraries)?;
        let foreign = if libraries.is_empty() { None } else { Some(Self::with(source, &lock, &files, &BTreeSet::new())?) };
        Ok(Some(Skeletons { foreign, all }))
    }

    fn with(source: Source<'_>, lock: &Lock, found: &Files, libraries: &BTreeSet<PathBuf>) -> io::Result<Self> {
        let Source { tree, seen_at, index, .. } = source;
        let (app, root) = (Path::new(&index.package_root), Path::new(&index.workspace_root));
        let packages: Vec<PathBuf> = found.packages.values().flatten().cloned().collect();
        let movable = root != Path::new("")
            && app.starts_with(root)
            && !libraries.iter().any(|library| library.starts_with(root))
            && found.manifests.get(root).is_some_and(manifest::stays_inside);
        let program = index.binary.is_some();
        let moved = movable.then_some((root, Path::new(PLACE)));
        let manifests = Manifests { seen_at, app, program, moved, packages: &packages };

        let mut files = BTreeMap::new();
        for file in found.of_packages(libraries) {
            let (mode, digest) = digest(&tree.join(file))?;
            files.insert(file.clone(), Content::Sent(mode, digest));
        }
        for (folder, manifest) in &found.manifests {
            let place = manifests.placed(folder);
            // What cannot be understood here is no manifest of a package that is built, or cargo will say so.
            if !files.contains_key(&folder.join("Cargo.toml"))
                && let Some(text) = manifests.generate(folder, manifest, found.has_build_script(folder, manifest))
            {
                files.insert(place.join("Cargo.toml"), Content::Written(text));
            }
        }
        files.insert(manifests.placed(root).join("Cargo.lock"), Content::Written(lock.text.clone()));
        files.insert(EMPTY_LIBRARY.into(), Content::Written(String::new()));
        files.insert(EMPTY_PROGRAM.into(), Content::Written("fn main() {}\n".into()));

        let mut index = index.clone();
        index.package_root = manifests.placed(app).display().to_string();
        APP.clone_into(&mut index.package);
        index.binary = program.then(|| APP.to_owned());
        Ok(Self {
            key: key(source, &index, &files),
            profile: source.profile.folder.clone(),
            index,
            packages: lock.packages.clone(),
            libraries: libraries.clone(),
            files,
        })
    }

    /// Writes it to the folder `to`.
    pub(super) fn write(&self, tree: &Path, to: &Path) -> io::Result<()> {
        for (file, content) in &self.files {
            let place = to.join(file);
            fs::create_dir_all(place.parent().unwrap_or(to))?;
            match content {
                Content::Written(text) => fs::write(place, text)?,
                Content::Sent(..) => fs::copy(tree.join(file), place).map(drop)?,
            }
        }
        self.date(to)
    }

    /// Makes the libraries' files in a tree older than whatever was compiled from them, as they are the same to the byte,
    /// and all else newer, as nobody has compared it: cargo goes by that.
    pub(super) fn date(&self, tree: &Path) -> io::Result<()> {
        let root = Path::new("");
        self.date_folder(tree, root, self.libraries.contains(root), SystemTime::now())
    }

    /// `in_library`: the folder is a library's, or below one.
    fn date_folder(&self, tree: &Path, folder: &Path, in_library: bool, now: SystemTime) -> io::Result<()> {
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let is_sent = |path: &Path| matches!(self.files.get(path), Some(Content::Sent(..)));
        for entry in fs::read_dir(tree.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            let old = if kind.is_dir() {
                let in_library = in_library || self.libraries.contains(&path);
                self.date_folder(tree, &path, in_library, now)?;
                in_library
            } else {
                is_sent(&path)
            };
            if kind.is_dir() || kind.is_file() {
                File::open(entry.path())?.set_modified(if old { past } else { now })?;
            }
        }
        Ok(())
    }
}

fn key(source: Source<'_>, index: &ArchiveIndex, files: &BTreeMap<PathBuf, Content>) -> Digest {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    };
    let Profile { name, variables, settings, .. } = source.profile;
    let ArchiveIndex { package_root, binary, features, no_default_features, .. } = index;
    let told = (source.compiler, name, variables, settings, package_root, binary, features, no_default_features);
    add(format!("{told:?}").as_bytes());
    for (file, content) in files {
        add(file.as_os_str().as_encoded_bytes());
        match content {
            Content::Written(text) => add(text.as_bytes()),
            Content::Sent(mode, digest) => add(format!("{mode} {digest}").as_bytes()),
        }
    }
    Digest::new(&hash.finalize())
}

/// Mode and digest of a file.
fn digest(file: &Path) -> io::Result<(u32, String)> {
    let mut file = File::open(file)?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok((file.metadata()?.permissions().mode() & 0o7777, Digest::new(&hash.finalize()).as_str().to_owned()))
}

/// The files of a tree that matter.
#[derive(Default)]
struct Files {
    all: HashSet<PathBuf>,
    /// Where the packages of a name are.
    packages: BTreeMap<String, Vec<PathBuf>>,
    /// The manifests of packages and workspaces, by their folder.
    manifests: BTreeMap<PathBuf, Table>,
}

impl Files {
    /// `false`: there is a configuration that the dependencies cannot be compiled without, and that is not to be trusted.
    fn collect(&mut self, tree: &Path, folder: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(tree.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if entry.file_name() == ".cargo" {
                    if !harmless(&entry.path()) {
                        return Ok(false);
                    }
                } else if !self.collect(tree, &path)? {
                    return Ok(false);
                }
                continue;
            }
            if !kind.is_file() {
                return Ok(false);
            }
            if entry.file_name() == "Cargo.toml" {
                self.manifest(&entry.path(), folder);
            }
            self.all.insert(path);
        }
        Ok(true)
    }

    fn manifest(&mut self, file: &Path, folder: &Path) {
        // What cannot be read is no manifest of a package that is built, or cargo will say so.
        let Ok(manifest) = super::sources::read(file, "Cargo.toml") else { return };
        if let Some(name) = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str) {
            self.packages.entry(name.to_owned()).or_default().push(folder.to_path_buf());
        }
        if manifest.contains_key("package") || manifest.contains_key("workspace") {
            self.manifests.insert(folder.to_path_buf(), manifest::read(manifest));
        }
    }

    fn has_build_script(&self, folder: &Path, manifest: &Table) -> bool {
        match manifest.get("package").and_then(|package| package.get("build")) {
            None => self.all.contains(&folder.join("build.rs")),
            Some(build) => build.as_bool() != Some(false),
        }
    }

    /// The files of the packages in these folders, each without those of packages further in. Looks at each file and folder
    /// once: there may be tens of thousands of them, and of packages.
    fn of_packages(&self, folders: &BTreeSet<PathBuf>) -> Vec<&PathBuf> {
        if folders.is_empty() {
            return Vec::new();
        }
        let packages: HashSet<&Path> = self.packages.values().flatten().map(PathBuf::as_path).collect();
        let mut known = HashMap::new();
        let mut files = Vec::new();
        for file in &self.all {
            let package = file.parent().and_then(|folder| nearest(folder, &packages, &mut known));
            if package.is_some_and(|package| folders.contains(package)) {
                files.push(file);
            }
        }
        files
    }
}

/// The folder of the package that a folder belongs to. What has been found so far is `known`.
fn nearest<'a>(
    folder: &'a Path,
    packages: &HashSet<&'a Path>,
    known: &mut HashMap<&'a Path, Option<&'a Path>>,
) -> Option<&'a Path> {
    if let Some(found) = known.get(folder) {
        return *found;
    }
    let found = if packages.contains(folder) { Some(folder) } else { nearest(folder.parent()?, packages, known) };
    known.insert(folder, found);
    found
}

/// Whether the cargo configuration in this folder changes nothing about how dependencies are compiled.
fn harmless(folder: &Path) -> bool {
    ["config", "config.toml"].iter().all(|name| match super::sources::read(&folder.join(name), name) {
        Ok(config) => config.keys().all(|section| HARMLESS.contains(&section.as_str())),
        Err(_) => !folder.join(name).exists(),
    })
}

#[cfg(test)]
mod tests;
