//! What the dependencies of a project are compiled with, apart from the project's own code.
//!
//! Compiled dependencies are shared between projects, and no project may change what another one's build reads. So what is
//! shared was compiled where no file of any project's was, but for its manifests and its lockfile: cargo finds the same
//! packages, features and profile there, and makes the same units. A source file of the project's is `fn main() {}` there,
//! which does for a library, a program and a build script.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use toml::{Table, Value};

use crate::deployment::Digest;

/// Sections of a cargo configuration that neither change what is compiled nor make cargo run anything.
const HARMLESS: [&str; 6] = ["alias", "cargo-new", "http", "net", "registries", "term"];
/// What of a manifest decides how dependencies are compiled.
const SECTIONS: [&str; 9] =
    ["dependencies", "build-dependencies", "dev-dependencies", "target", "features", "profile", "patch", "replace", "workspace"];

/// The dependencies of one project, and the files that cargo needs to compile them alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skeleton {
    /// The same for projects whose dependencies are compiled in the same way.
    pub(super) key: Digest,
    /// Every package from a registry or a repository, with what pins its content, sorted.
    pub(super) packages: BTreeSet<String>,
    /// Names of the packages whose units may be kept: those from elsewhere that are not called as one of the project's.
    pub(super) kept: BTreeSet<String>,
    /// Manifests and the lockfile, relative to the tree.
    copied: Vec<PathBuf>,
    /// Source files, relative to the tree.
    emptied: Vec<PathBuf>,
}

impl Skeleton {
    /// Looks at a build tree. `None`: its dependencies cannot be compiled apart, or could bring their own programs.
    /// `compiler` says which compiler it is.
    pub(super) fn of(tree: &Path, lockfile: &Path, compiler: &str) -> io::Result<Option<Self>> {
        let Ok(lock) = super::sources::read(lockfile, "Cargo.lock") else { return Ok(None) };
        let Some((packages, names)) = foreign(&lock) else { return Ok(None) };
        let mut files = Files::default();
        if !files.collect(tree, Path::new(""))? || packages.is_empty() {
            return Ok(None);
        }
        files.copied.push(lockfile.strip_prefix(tree).unwrap_or(lockfile).to_path_buf());
        let mut hash = Sha256::new();
        for part in std::iter::once(compiler).chain(packages.iter().map(String::as_str)) {
            hash.update(part);
            hash.update([0]);
        }
        // Sorted: where the manifests stand says nothing about what they depend on.
        files.manifests.sort();
        for manifest in &files.manifests {
            hash.update(manifest);
            hash.update([0]);
        }
        Ok(Some(Self {
            key: Digest::new(&hash.finalize()),
            packages,
            kept: names.difference(&files.own).cloned().collect(),
            copied: files.copied,
            emptied: files.emptied,
        }))
    }

    /// Writes it to the folder `to`.
    pub(super) fn write(&self, tree: &Path, to: &Path) -> io::Result<()> {
        let place = |file: &Path| {
            let place = to.join(file);
            fs::create_dir_all(place.parent().unwrap_or(to))?;
            Ok::<_, io::Error>(place)
        };
        for file in &self.copied {
            fs::copy(tree.join(file), place(file)?)?;
        }
        for file in &self.emptied {
            fs::write(place(file)?, "fn main() {}\n")?;
        }
        Ok(())
    }
}

/// The packages of a lockfile that are not the project's own, and their names. `None` where the content of one is not
/// pinned.
fn foreign(lock: &Table) -> Option<(BTreeSet<String>, BTreeSet<String>)> {
    let (mut packages, mut names) = (BTreeSet::new(), BTreeSet::new());
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        let Some(source) = text("source") else { continue };
        let (name, version) = (text("name")?, text("version")?);
        // A repository's source ends with the commit.
        let pin = text("checksum")
            .or_else(|| source.starts_with("git+").then(|| source.split_once('#')).flatten().map(|(_, at)| at))?;
        packages.insert(format!("{name} {version} {source} {pin}"));
        names.insert(name.to_owned());
    }
    Some((packages, names))
}

/// The files of a tree that matter.
#[derive(Default)]
struct Files {
    copied: Vec<PathBuf>,
    emptied: Vec<PathBuf>,
    /// Names of the project's own packages.
    own: BTreeSet<String>,
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
            } else if entry.file_name() == "Cargo.toml" {
                self.manifest(&entry.path(), path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.emptied.push(path);
            }
        }
        Ok(true)
    }

    fn manifest(&mut self, file: &Path, path: PathBuf) {
        self.copied.push(path);
        // What cannot be read is no manifest of a package that is built, or cargo will say so.
        let Ok(manifest) = super::sources::read(file, "Cargo.toml") else { return };
        let package = manifest.get("package");
        if let Some(name) = package.and_then(|package| package.get("name")).and_then(Value::as_str) {
            self.own.insert(name.to_owned());
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
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [("Cargo.lock", LOCK), ("src/lib.rs", "secret")].iter().chain(files) {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let skeleton = Skeleton::of(folder.path(), &folder.path().join("Cargo.lock"), "rustc 1").unwrap();
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
}
