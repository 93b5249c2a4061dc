//! Has cargo compile a package again when files were added to it or removed from it.
//!
//! A macro that embeds a folder (`include_dir!`, `sqlx::migrate!`, `rust_embed`) reads whatever is in it, but cargo is told
//! only of the files that it found there: a file that comes later makes nothing out of date. So where the set of files
//! changes, the package's sources get the time of now.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The packages of a build tree, as far as they have to be compiled again.
#[derive(Debug)]
pub(super) struct Embedded<'a> {
    /// The deployment's files.
    from: &'a Path,
    /// The build tree.
    tree: &'a Path,
    /// Folders of the packages that have not been renewed, relative to the tree. Looked for once it is needed.
    packages: Option<HashSet<PathBuf>>,
    /// Folders in which something has changed: all packages around them are renewed.
    seen: HashSet<PathBuf>,
}

impl<'a> Embedded<'a> {
    pub(super) fn new(from: &'a Path, tree: &'a Path) -> Self {
        Self { from, tree, packages: None, seen: HashSet::new() }
    }

    /// Something at `path`, relative to the tree, is about to be added or removed. Said before it is: a server that is ended
    /// in between finds no difference at its next start.
    pub(super) fn set_changes(&mut self, path: &Path) -> io::Result<()> {
        let Self { from, tree, packages: known, seen } = self;
        let packages = match known {
            Some(packages) => packages,
            None => {
                let mut found: HashSet<PathBuf> = packages(from)?.into_iter().collect();
                // Whatever changes may be embedded from a package that leads to it by `..`.
                for package in found.extract_if(|package| reaches_out(&from.join(package))) {
                    renew(&from.join(&package), &tree.join(&package))?;
                }
                known.insert(found)
            }
        };
        let mut renew_it = |package: &Path| match packages.take(package) {
            Some(package) => renew(&from.join(&package), &tree.join(&package)),
            None => Ok(()),
        };
        renew_it(path)?;
        // It may also be embedded from a package further above.
        for folder in path.ancestors().skip(1) {
            if seen.contains(folder) {
                break;
            }
            renew_it(folder)?;
            seen.insert(folder.to_path_buf());
        }
        Ok(())
    }
}

/// The folders of all packages below a folder, relative to it; without vendored ones, which are never compiled again for their
/// files' times.
pub(super) fn packages(from: &Path) -> io::Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let (mut is_package, mut is_vendored) = (false, false);
        for entry in fs::read_dir(from.join(&folder))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(folder.join(entry.file_name()));
            }
            is_package |= entry.file_name() == "Cargo.toml";
            is_vendored |= entry.file_name() == ".cargo-checksum.json";
        }
        if is_package && !is_vendored {
            packages.push(folder);
        }
    }
    Ok(packages)
}

/// Whether a source or a macro's configuration has `../` in it. What cannot be read counts as one that has.
fn reaches_out(package: &Path) -> bool {
    own_files(package).map_or(true, |files| {
        files.iter().any(|file| {
            let path = package.join(file);
            match file.extension().and_then(|extension| extension.to_str()) {
                // There, `path = "../x"` names another package, which is looked at by itself; what follows is for macros.
                Some("toml") if file == Path::new("Cargo.toml") => has(&path, &[b"package.metadata", b"../"]),
                Some("rs" | "toml") => has(&path, &[b"../"]),
                _ => false,
            }
        })
    })
}

/// Whether a file has these words, in this order. It may be of any size, so it is read piece by piece.
fn has(path: &Path, words: &[&[u8]]) -> bool {
    let search = || -> io::Result<bool> {
        let mut bytes = BufReader::with_capacity(64 * 1024, File::open(path)?);
        let mut words = words.iter();
        let Some(mut word) = words.next() else { return Ok(true) };
        let mut last: Vec<u8> = Vec::new();
        loop {
            let piece = bytes.fill_buf()?;
            if piece.is_empty() {
                return Ok(false);
            }
            let length = piece.len();
            last.extend_from_slice(piece);
            bytes.consume(length);
            while let Some(at) = last.windows(word.len()).position(|part| part == *word) {
                last.drain(..at + word.len());
                match words.next() {
                    Some(next) => word = next,
                    None => return Ok(true),
                }
            }
            // A word may go on in the next piece.
            last.drain(..last.len().saturating_sub(word.len()));
        }
    };
    search().unwrap_or(true)
}

/// Gives the sources of the package in the tree the time of now: the roots of its crates are among them, and compiling all is
/// compiling what the roots include. The manifest, which names the roots, has not been found to be small yet. A build script
/// without `rerun-if-changed` runs again by that; one with it has said what it reads, and cargo looks through the folders that it
/// names.
fn renew(package: &Path, in_tree: &Path) -> io::Result<()> {
    for file in own_files(package)? {
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        if !is_source || file == Path::new("build.rs") {
            continue;
        }
        match File::options().read(true).open(in_tree.join(file)) {
            Ok(file) => file.set_modified(SystemTime::now())?,
            // It is new itself.
            Err(error) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The files of a package, without those of packages below it; relative to its folder.
fn own_files(package: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(package.join(&folder))? {
            let entry = entry?;
            let place = folder.join(entry.file_name());
            if !entry.file_type()?.is_dir() {
                files.push(place);
            } else if !entry.path().join("Cargo.toml").exists() {
                folders.push(place);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tree::synchronise;

    use super::*;

    /// A deployment's files, the tree that is brought up to date with them, and cargo's target folder.
    struct Project(tempfile::TempDir);

    impl Project {
        fn of(files: &[(&str, &str)]) -> Self {
            let project = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|(path, text)| project.write(path, text));
            project
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join("files").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn synchronise(&self) {
            synchronise(&self.0.path().join("files"), &self.0.path().join("tree"), None).unwrap();
        }

        /// Brings the tree up to date, runs cargo on it, and gives what the program prints.
        fn run(&self) -> String {
            self.synchronise();
            let mut cargo = Command::new("cargo");
            cargo.args(["run", "--quiet", "--offline"]).current_dir(self.0.path().join("tree/app"));
            cargo.env("CARGO_TARGET_DIR", self.0.path().join("target")).env_remove("RUSTFLAGS");
            let output = cargo.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        }

        /// Which files have a new time after the tree was brought up to date again.
        fn renewed(&self, files: &[&str]) -> Vec<bool> {
            let past = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            let open = |file: &&str| File::open(self.0.path().join("tree").join(file)).unwrap();
            files.iter().for_each(|file| open(file).set_modified(past).unwrap());
            self.synchronise();
            files.iter().map(|file| open(file).metadata().unwrap().modified().unwrap() > past).collect()
        }
    }

    const MANIFEST: &str = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";

    /// What macros and build scripts that embed a folder do: the names of all files below it, told cargo of none or of the folder.
    #[test]
    fn what_embeds_a_folder_is_compiled_again_for_each_file_that_comes_or_goes() {
        let names = "fn names(folder: &std::path::Path) -> String {
                let mut all: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
                all.sort_by_key(|entry| entry.file_name());
                all.iter().map(|entry| match entry.path().is_dir() {
                    true => names(&entry.path()),
                    false => entry.file_name().into_string().unwrap() + \" \",
                }).collect()
            }";
        let embed = format!(
            "#[proc_macro] pub fn embed(folder: proc_macro::TokenStream) -> proc_macro::TokenStream {{
                let folder = folder.to_string();
                let own = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap();
                format!(\"{{:?}}\", names(&std::path::Path::new(&own).join(folder.trim_matches('\"')))).parse().unwrap()
            }} {names}"
        );
        let script = format!(
            "fn main() {{
                println!(\"cargo::rerun-if-changed=watched\");
                println!(\"cargo::rustc-env=NAMES={{}}\", names(std::path::Path::new(\"watched\")));
            }} {names}"
        );
        let package = |name: &str, more: &str| format!("{}{more}", MANIFEST.replace("app", name));
        let project = Project::of(&[
            ("Cargo.toml", "[workspace]\nmembers = [\"app\", \"lib\", \"embed\"]\nresolver = \"3\"\n"),
            ("embed/Cargo.toml", &package("embed", "[lib]\nproc-macro = true\n")),
            ("embed/src/lib.rs", &embed),
            (
                "lib/Cargo.toml",
                &package("lib", "[lib]\npath = \"code/root.rs\"\n[dependencies]\nembed = { path = \"../embed\" }\n"),
            ),
            ("lib/code/root.rs", "pub const NAMES: &str = embed::embed!(\"assets\");"),
            ("app/Cargo.toml", &package("app", "[dependencies]\nembed = { path = \"../embed\" }\nlib = { path = \"../lib\" }\n")),
            ("app/build.rs", &script),
            ("app/src/main.rs", "mod inner; fn main() { println!(\"{}\", inner::all()); }"),
            (
                "app/src/inner.rs",
                "pub fn all() -> String { [embed::embed!(\"static\"), embed::embed!(\"../shared\"), lib::NAMES, env!(\"NAMES\")].join(\"/ \") }",
            ),
            ("app/static/a", ""),
            ("shared/b", ""),
            ("lib/assets/c", ""),
            ("app/watched/d", ""),
        ]);
        assert_eq!(project.run(), "a / b / c / d\n");
        for file in ["app/static/in/a2", "shared/b2", "lib/assets/c2", "app/watched/in/d2"] {
            project.write(file, "");
        }
        assert_eq!(project.run(), "a a2 / b b2 / c c2 / d d2\n");
        for (old, new) in [("app/static/in/a2", "app/static/in/a3"), ("app/watched/in/d2", "app/watched/in/d3")] {
            let files = project.0.path().join("files");
            fs::rename(files.join(old), files.join(new)).unwrap();
        }
        for gone in ["shared/b", "lib/assets/c"] {
            fs::remove_file(project.0.path().join("files").join(gone)).unwrap();
        }
        assert_eq!(project.run(), "a a3 / b2 / c2 / d d3\n");
    }

    #[test]
    fn words_are_found_wherever_they_stand() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (before, text, found) in [
            (0, "package.metadata ../", true),
            (64 * 1024 - 2, "package.metadata ../", true),
            (64 * 1024 - 18, "package.metadata ../", true),
            (10, "../ package.metadata", false),
            (10, "package.metadata .. /", false),
        ] {
            fs::write(&file, " ".repeat(before) + text).unwrap();
            assert_eq!(has(&file, &[b"package.metadata", b"../"]), found, "{before} {text}");
        }
        assert!(has(&folder.path().join("none"), &[b"x"]));
    }

    #[test]
    fn only_packages_that_could_embed_the_file_are_compiled_again() {
        let project = Project::of(&[
            ("Cargo.toml", "[workspace]\n"),
            ("a/Cargo.toml", MANIFEST),
            ("a/src/lib.rs", ""),
            ("a/src/bin/one.rs", ""),
            ("a/src/bin/two/main.rs", ""),
            ("a/build.rs", ""),
            ("b/Cargo.toml", MANIFEST),
            ("b/src/lib.rs", "const PLACE: &str = \"../shared\";"),
            ("b/inner/Cargo.toml", MANIFEST),
            ("b/inner/src/main.rs", ""),
        ]);
        project.synchronise();
        let files =
            ["a/src/lib.rs", "a/src/bin/one.rs", "a/src/bin/two/main.rs", "a/build.rs", "b/src/lib.rs", "b/inner/src/main.rs"];
        let [none, all_of_a, b, b_and_inner] = [
            [false; 6],
            [true, true, true, false, true, false],
            [false, false, false, false, true, false],
            [false, false, false, false, true, true],
        ];
        assert_eq!(project.renewed(&files), none, "nothing has changed");
        project.write("a/Cargo.toml", &format!("{MANIFEST}#"));
        assert_eq!(project.renewed(&files), none, "the same files with other content");
        project.write("a/static/new", "");
        assert_eq!(project.renewed(&files), all_of_a, "and whatever names a folder above its own");
        project.write("shared/new", "");
        assert_eq!(project.renewed(&files), b);
        project.write("b/inner/new", "");
        assert_eq!(project.renewed(&files), b_and_inner, "and the package around it");
        fs::remove_file(project.0.path().join("files/a/static/new")).unwrap();
        assert_eq!(project.renewed(&files), all_of_a);
    }
}
