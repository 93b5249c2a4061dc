//! What the dependencies of an app are compiled with, apart from the app's own code.
//!
//! Compiled dependencies are shared between projects, and no project may change what another one's build reads. So what is
//! shared was compiled where nothing of a project was but what names its dependencies (manifests, lockfile), and those of
//! its own libraries that the app depends on, which are shared only with projects that sent the very same files. cargo
//! finds the same packages, features and profile there, and makes the same units. Every other source file is
//! `fn main() {}` there, which does for a library, a program and a build script.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use crate::deployment::Digest;

/// Sections of a cargo configuration that neither change what is compiled nor make cargo run anything.
const HARMLESS: [&str; 6] = ["alias", "cargo-new", "http", "net", "registries", "term"];
/// What of a manifest decides how dependencies are compiled.
const SECTIONS: [&str; 9] =
    ["dependencies", "build-dependencies", "dev-dependencies", "target", "features", "profile", "patch", "replace", "workspace"];

/// The dependencies of one app, and the files that cargo needs to compile them alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skeleton {
    /// The same for apps whose dependencies are compiled in the same way.
    pub(super) key: Digest,
    /// The folder of the profile that they are compiled with.
    pub(super) profile: String,
    /// Every package that is a dependency, with what pins its content, sorted.
    pub(super) packages: BTreeSet<String>,
    /// Names of the packages whose units may be kept: none is called as a package that is not a dependency.
    pub(super) kept: BTreeSet<String>,
    /// Files of the app's libraries, relative to the tree.
    library_files: BTreeSet<PathBuf>,
    /// Manifests and the lockfile, relative to the tree.
    copied: Vec<PathBuf>,
    /// Other source files, relative to the tree.
    emptied: Vec<PathBuf>,
}

/// The dependencies of one app, in two steps.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skeletons {
    /// Those from elsewhere alone, where there are others: they are the same for many more projects.
    pub(super) foreign: Option<Skeleton>,
    /// All of them.
    pub(super) all: Skeleton,
}

impl Skeleton {
    /// Looks at a build tree for the dependencies of the package `app`. `None`: they cannot be compiled apart, or could
    /// bring their own programs. `compiler` says which compiler it is, `profile` is the folder of the profile.
    pub(super) fn of(tree: &Path, lockfile: &Path, app: &str, compiler: &str, profile: &str) -> io::Result<Option<Skeletons>> {
        let Ok(lock) = super::sources::read(lockfile, "Cargo.lock") else { return Ok(None) };
        let Some(lock) = Lock::of(&lock, app) else { return Ok(None) };
        let mut files = Files::default();
        if lock.packages.is_empty() || !files.collect(tree, Path::new(""))? {
            return Ok(None);
        }
        files.copied.push(lockfile.strip_prefix(tree).unwrap_or(lockfile).to_path_buf());
        // Sorted: where the manifests stand says nothing about what they depend on.
        files.manifests.sort();
        let foreign = Self::with(tree, &lock, &files, compiler, profile, false)?;
        let all = Self::with(tree, &lock, &files, compiler, profile, true)?;
        Ok(Some(Skeletons { foreign: (!all.library_files.is_empty()).then_some(foreign), all }))
    }

    fn with(tree: &Path, lock: &Lock, files: &Files, compiler: &str, profile: &str, libraries: bool) -> io::Result<Self> {
        let (mut packages, mut kept, mut others) = (lock.packages.clone(), lock.names.clone(), files.packages.clone());
        let mut library_files = BTreeSet::new();
        for name in lock.libraries.iter().filter(|_| libraries) {
            // Of two of one name, who is to say which it is.
            let Some([folder]) = files.packages.get(name).map(Vec::as_slice) else { continue };
            others.remove(name);
            let own = files.of_package(folder);
            packages.insert(format!("{name} {} {}", folder.display(), digest(tree, &own)?));
            library_files.extend(own);
            kept.insert(name.clone());
        }
        kept.retain(|name| !others.contains_key(name));
        let mut hash = Sha256::new();
        for part in
            std::iter::once(compiler).chain(packages.iter().map(String::as_str)).chain(files.manifests.iter().map(String::as_str))
        {
            hash.update(part);
            hash.update([0]);
        }
        let emptied = files.emptied.iter().filter(|file| !library_files.contains(*file)).cloned().collect();
        Ok(Self {
            key: Digest::new(&hash.finalize()),
            profile: profile.to_owned(),
            packages,
            kept,
            library_files,
            copied: files.copied.clone(),
            emptied,
        })
    }

    /// Writes it to the folder `to`.
    pub(super) fn write(&self, tree: &Path, to: &Path) -> io::Result<()> {
        let place = |file: &Path| {
            let place = to.join(file);
            fs::create_dir_all(place.parent().unwrap_or(to))?;
            Ok::<_, io::Error>(place)
        };
        for file in self.copied.iter().chain(&self.library_files) {
            fs::copy(tree.join(file), place(file)?)?;
        }
        for file in &self.emptied {
            fs::write(place(file)?, "fn main() {}\n")?;
        }
        self.backdate(to)
    }

    /// Makes the libraries' files in a tree older than whatever was compiled from them: cargo goes by that. They are the
    /// same to the byte. A file elsewhere that a library includes is not made older: nobody has compared it.
    pub(super) fn backdate(&self, tree: &Path) -> io::Result<()> {
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        self.library_files.iter().try_for_each(|file| File::options().read(true).open(tree.join(file))?.set_modified(past))
    }
}

/// What a lockfile says of an app's dependencies.
struct Lock {
    /// Those from elsewhere, with what pins their content.
    packages: BTreeSet<String>,
    names: BTreeSet<String>,
    /// Names of those that were sent along with the app.
    libraries: BTreeSet<String>,
}

impl Lock {
    /// `None` where the content of a package is not pinned.
    fn of(lock: &Table, app: &str) -> Option<Self> {
        let all: Vec<&Value> = lock.get("package").and_then(Value::as_array).into_iter().flatten().collect();
        fn text<'a>(package: &'a Value, key: &str) -> Option<&'a str> {
            package.get(key).and_then(Value::as_str)
        }
        let (mut packages, mut names) = (BTreeSet::new(), BTreeSet::new());
        for package in &all {
            let Some(source) = text(package, "source") else { continue };
            let (name, version) = (text(package, "name")?, text(package, "version")?);
            // A repository's source ends with the commit.
            let commit = || source.strip_prefix("git+")?.split_once('#').map(|(_, commit)| commit);
            let pin = text(package, "checksum").or_else(commit)?;
            packages.insert(format!("{name} {version} {source} {pin}"));
            names.insert(name.to_owned());
        }
        let app = app.split('@').next().unwrap_or(app);
        let (mut reached, mut next) = (BTreeSet::new(), vec![app]);
        while let Some(name) = next.pop() {
            for package in all.iter().filter(|package| text(package, "name") == Some(name)) {
                // `name`, `name version` or `name version (source)`; by the name alone too many are found rather than too few.
                let dependencies = package.get("dependencies").and_then(Value::as_array).into_iter().flatten();
                let dependencies = dependencies.filter_map(|d| d.as_str()?.split(' ').next());
                next.extend(dependencies.filter(|name| reached.insert((*name).to_owned())));
            }
        }
        let sent = |name: &String| all.iter().any(|p| text(p, "name") == Some(name) && text(p, "source").is_none());
        let libraries = reached.into_iter().filter(|name| name != app && sent(name)).collect();
        Some(Self { packages, names, libraries })
    }
}

/// A digest of files' names and contents.
fn digest(tree: &Path, files: &BTreeSet<PathBuf>) -> io::Result<String> {
    let mut hash = Sha256::new();
    for file in files {
        let content = fs::read(tree.join(file))?;
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(content.len().to_le_bytes());
        hash.update(&content);
    }
    Ok(Digest::new(&hash.finalize()).as_str().to_owned())
}

/// The files of a tree that matter.
#[derive(Default)]
struct Files {
    all: Vec<PathBuf>,
    copied: Vec<PathBuf>,
    emptied: Vec<PathBuf>,
    /// Where the packages of a name are.
    packages: BTreeMap<String, Vec<PathBuf>>,
    /// What the manifests say of dependencies.
    manifests: Vec<String>,
}

impl Files {
    /// `false`: there is a configuration that the dependencies cannot be compiled without, and that is not to be trusted.
    fn collect(&mut self, tree: &Path, folder: &Path) -> io::Result<bool> {
        for entry in fs::read_dir(tree.join(folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if entry.file_name() == ".cargo" {
                    if !harmless(&entry.path()) {
                        return Ok(false);
                    }
                } else if !self.collect(tree, &path)? {
                    return Ok(false);
                }
                continue;
            }
            if entry.file_name() == "Cargo.toml" {
                self.manifest(&entry.path(), path.clone());
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.emptied.push(path.clone());
            }
            self.all.push(path);
        }
        Ok(true)
    }

    fn manifest(&mut self, file: &Path, path: PathBuf) {
        // What cannot be read is no manifest of a package that is built, or cargo will say so.
        let manifest = super::sources::read(file, "Cargo.toml").unwrap_or_default();
        let package = manifest.get("package");
        if let Some(name) = package.and_then(|package| package.get("name")).and_then(Value::as_str) {
            let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
            self.packages.entry(name.to_owned()).or_default().push(folder);
        }
        let mut kept: Table = manifest
            .iter()
            .filter(|(section, _)| SECTIONS.contains(&section.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for key in ["edition", "resolver"] {
            if let Some(value) = package.and_then(|package| package.get(key)) {
                kept.insert(key.to_owned(), value.clone());
            }
        }
        self.manifests.push(kept.to_string());
        self.copied.push(path);
    }

    /// The files of the package in this folder, without those of packages further in.
    fn of_package(&self, folder: &Path) -> BTreeSet<PathBuf> {
        let inner: Vec<&PathBuf> =
            self.packages.values().flatten().filter(|other| other.as_path() != folder && other.starts_with(folder)).collect();
        let mine = |file: &&PathBuf| file.starts_with(folder) && !inner.iter().any(|inner| file.starts_with(inner));
        self.all.iter().filter(mine).cloned().collect()
    }
}

/// Whether the cargo configuration in this folder changes nothing about how dependencies are compiled.
fn harmless(folder: &Path) -> bool {
    ["config", "config.toml"].iter().all(|name| match super::sources::read(&folder.join(name), name) {
        Ok(config) => config.keys().all(|section| HARMLESS.contains(&section.as_str())),
        Err(_) => !folder.join(name).exists(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\nchecksum = \"12\"\n
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/b?branch=x#0123\"\n";

    fn of(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Skeleton>) {
        let (folder, skeletons) = both(files);
        (folder, skeletons.map(|skeletons| skeletons.all))
    }

    fn both(files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Skeletons>) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("Cargo.lock", LOCK), ("src/lib.rs", "secret")].iter().chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let skeleton = Skeleton::of(folder.path(), &folder.path().join("Cargo.lock"), "app", "rustc 1", "release").unwrap();
        (folder, skeleton)
    }

    const MANIFEST: &str = "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\na = \"1\"\n";

    #[test]
    fn nothing_of_the_projects_code_is_in_it() {
        let files = [("Cargo.toml", MANIFEST), ("build.rs", "evil"), ("src/bin/x.rs", "evil"), ("data.txt", "evil")];
        let (tree, skeleton) = of(&files);
        let skeleton = skeleton.unwrap();
        let to = tempfile::tempdir().unwrap();
        skeleton.write(tree.path(), to.path()).unwrap();
        let read = |path: &str| fs::read_to_string(to.path().join(path)).ok();
        for source in ["src/lib.rs", "build.rs", "src/bin/x.rs"] {
            assert_eq!(read(source).as_deref(), Some("fn main() {}\n"), "{source}");
        }
        assert_eq!(
            (read("Cargo.toml").as_deref(), read("Cargo.lock").as_deref(), read("data.txt")),
            (Some(MANIFEST), Some(LOCK), None)
        );
        assert_eq!(skeleton.kept, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn the_key_is_of_the_dependencies_alone() {
        let key = |manifest: &str, place: &str| of(&[(place, manifest)]).1.unwrap().key;
        let first = key(MANIFEST, "Cargo.toml");
        assert_eq!(key(&MANIFEST.replace("app", "other").replace("0.1.0", "0.2.0"), "folder/Cargo.toml"), first);
        for changed in ["[features]\nx = [\"a/y\"]\n", "[profile.release]\nlto = true\n"] {
            assert_ne!(key(&format!("{MANIFEST}{changed}"), "Cargo.toml"), first, "{changed}");
        }
    }

    #[test]
    fn what_could_run_a_program_or_change_a_dependency_is_not_shared() {
        for config in [
            "[build]\nrustc-wrapper = \"./evil\"",
            "[source.crates-io]\nreplace-with = \"mine\"",
            "[target.x]\nlinker = \"x\"",
            "no toml",
        ] {
            let files = [("Cargo.toml", MANIFEST), ("app/.cargo/config.toml", config)];
            assert_eq!(of(&files).1, None, "{config}");
        }
        assert!(of(&[("Cargo.toml", MANIFEST), (".cargo/config.toml", "[term]\nquiet = true\n")]).1.is_some());
        let unpinned = LOCK.replace("checksum", "other");
        assert_eq!(of(&[("Cargo.toml", MANIFEST), ("Cargo.lock", &unpinned)]).1, None);
    }

    #[test]
    fn a_package_of_the_projects_hides_one_of_the_same_name() {
        let mine = MANIFEST.replace("\"app\"", "\"a\"");
        assert_eq!(of(&[("Cargo.toml", &mine)]).1.unwrap().kept, BTreeSet::from(["b".to_owned()]));
    }

    #[test]
    fn a_library_of_the_apps_is_shared_with_those_who_have_the_same() {
        let lock = LOCK.replace("name = \"app\"\nversion = \"0.1.0\"", "name = \"app\"\nversion = \"0.1.0\"\ndependencies = [\"mid\"]")
            + "[[package]]\nname = \"mid\"\nversion = \"0.1.0\"\ndependencies = [\"a\", \"low\"]\n[[package]]\nname = \"low\"\nversion = \"0.1.0\"\n
               [[package]]\nname = \"unrelated\"\nversion = \"0.1.0\"\n";
        let manifest = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
        let (mid, low, unrelated) = (manifest("mid"), manifest("low"), manifest("unrelated"));
        let with = |source: &str| {
            both(&[
                ("Cargo.lock", &lock),
                ("Cargo.toml", MANIFEST),
                ("mid/Cargo.toml", &mid),
                ("mid/src/lib.rs", source),
                ("mid/low/Cargo.toml", &low),
                ("mid/low/src/lib.rs", "low"),
                ("unrelated/Cargo.toml", &unrelated),
                ("unrelated/src/lib.rs", "evil"),
            ])
        };
        let (tree, skeletons) = with("one");
        let skeletons = skeletons.unwrap();
        let skeleton = skeletons.all;
        assert_eq!(skeleton.kept, ["a", "b", "low", "mid"].map(str::to_owned).into());
        let foreign = skeletons.foreign.unwrap();
        assert_eq!(with("two").1.unwrap().foreign.unwrap().key, foreign.key);
        assert_eq!(foreign.kept, ["a", "b"].map(str::to_owned).into());
        let with = |source: &str| with(source).1.unwrap().all;
        assert_eq!(with("one").key, skeleton.key);
        assert_ne!(with("two").key, skeleton.key);

        let to = tempfile::tempdir().unwrap();
        skeleton.write(tree.path(), to.path()).unwrap();
        for (file, text) in [
            ("mid/src/lib.rs", "one"),
            ("mid/low/src/lib.rs", "low"),
            ("unrelated/src/lib.rs", "fn main() {}\n"),
            ("src/lib.rs", "fn main() {}\n"),
        ] {
            assert_eq!(fs::read_to_string(to.path().join(file)).unwrap(), text, "{file}");
        }
        let modified = |file: &str| to.path().join(file).metadata().unwrap().modified().unwrap();
        assert!(modified("mid/low/src/lib.rs") < modified("src/lib.rs"));
    }
}
