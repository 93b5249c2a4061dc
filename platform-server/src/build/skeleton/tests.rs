//! What is in a skeleton, and what is in its key.

use platform_wire::BuildKind;

use super::*;
use crate::build::profile;

const HASH: &str = "0123456789012345678901234567890123456789012345678901234567890123";
const MANIFEST: &str = "[package]\nname = \"app\"\nversion = \"0.1.0\"\n[dependencies]\na = \"1\"\n";
const SEEN_AT: &str = "/build/tree";

fn lock(app: &str, more: &str) -> String {
    format!(
        "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n{app}\n
        [[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\nchecksum = \"{HASH}\"\n
        [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/b?branch=x#{HASH}\"\n{more}"
    )
}

fn index(root: &str) -> ArchiveIndex {
    let index = serde_json::json!({"format": 1, "package": "app", "crate_name": "app", "workspace_root": root,
        "package_root": root, "sdk_version": "0.1.0", "cli_version": "0.1.0"});
    serde_json::from_value(index).unwrap()
}

fn skeletons(index: &ArchiveIndex, files: &[(&str, &str)]) -> (tempfile::TempDir, Option<Skeletons>) {
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path();
    let lockfile = format!("{}/Cargo.lock", index.workspace_root);
    for (path, text) in [(lockfile.trim_start_matches('/'), lock("", "").as_str()), ("src/lib.rs", "secret")].iter().chain(files)
    {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let profile = Profile::of(index, profile::chosen(tree, index), BuildKind::Fast);
    let source = Source { tree, seen_at: Path::new(SEEN_AT), index, compiler: "rustc 1", profile: &profile };
    let skeletons = Skeleton::of(source).unwrap();
    (folder, skeletons)
}

fn of(files: &[(&str, &str)]) -> Option<Skeleton> {
    skeletons(&index(""), files).1.map(|skeletons| skeletons.all)
}

/// What a skeleton writes: path and text.
fn written(tree: &Path, skeleton: &Skeleton) -> BTreeMap<String, String> {
    let to = tempfile::tempdir().unwrap();
    skeleton.write(tree, to.path()).unwrap();
    let mut files = Files::default();
    files.collect(to.path(), Path::new("")).unwrap();
    let text = |path: &PathBuf| (path.display().to_string(), fs::read_to_string(to.path().join(path)).unwrap());
    files.all.iter().map(text).collect()
}

#[test]
fn nothing_that_a_project_wrote_is_in_it() {
    // Valid TOML, and a valid program.
    let both =
        |rest: &str| format!("#![cfg_attr(any(), evil)] /*\n{rest}\n# */ fn main() {{ evil() }}\n").replacen("#!", "#!", 1);
    let manifest = both(&format!(
        "{MANIFEST}evil = {{ path = \"evil\" }}\n
        [target.'cfg(unix)'.build-dependencies]\nb = {{ git = \"https://example.com/b\", branch = \"x\", evil = true }}\n
        [lib]\npath = \"Cargo.toml\"\nproc-macro = true\n[[bin]]\nname = \"evil\"\npath = \"evil.rs\"\n[lints.rust]\nevil = \"warn\"\n
        [profile.release]\nopt-level = 2\nrustflags = [\"-Clinker=evil\"]\n"
    ))
    .replace("[dependencies]", "build = \"Cargo.toml\"\nlinks = \"evil\"\nmetadata.evil = 1\n[dependencies]");
    let lock = both(&lock("dependencies = [\"a\"]", ""));
    let files = [
        ("Cargo.toml", manifest.as_str()),
        ("Cargo.lock", lock.as_str()),
        ("build.rs", "evil"),
        ("src/bin/x.rs", "evil"),
        ("data.txt", "evil"),
        ("evil/Cargo.toml", &MANIFEST.replace("\"app\"", "\"other\"").replace("[dep", "build = \"../Cargo.toml\"\n[dep")),
    ];
    let (tree, skeletons) = skeletons(&index(""), &files);
    let files = written(tree.path(), &skeletons.unwrap().all);
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, [".skeleton/lib.rs", ".skeleton/main.rs", "Cargo.lock", "Cargo.toml", "evil/Cargo.toml"]);
    assert_eq!((files[".skeleton/lib.rs"].as_str(), files[".skeleton/main.rs"].as_str()), ("", "fn main() {}\n"));
    for file in ["Cargo.lock", "Cargo.toml", "evil/Cargo.toml"] {
        let text = files[file].replace("evil = { path", "").replace("/build/tree/evil", "").replace("[dependencies.evil]", "");
        assert!(!text.contains("evil") && !text.contains("/*") && !text.contains("fn main"), "{file}: {text}");
    }
    let manifest: Table = files["Cargo.toml"].parse().unwrap();
    let empty = |name: &str| Some(Value::from(format!("{SEEN_AT}/.skeleton/{name}")));
    assert_eq!(manifest["package"].get("build").cloned(), empty("main.rs"));
    assert_eq!(manifest["lib"], Value::Table(Table::from_iter([("path".to_owned(), empty("lib.rs").unwrap())])));
    assert_eq!(manifest["target"]["cfg(unix)"]["build-dependencies"]["b"]["branch"].as_str(), Some("x"));
    assert_eq!(manifest["profile"]["release"].as_table().unwrap().len(), 1);
}

#[test]
fn everything_that_cargo_needs_of_a_manifest_is_in_it() {
    let manifest = r#"
        [workspace]
        members = ["app", "macros"]
        exclude = ["x"]
        resolver = "3"
        [workspace.package]
        version = "0.1.0"
        edition = "2024"
        [workspace.dependencies]
        app = { path = "app", version = "0.1" }
        a = { version = "1", default-features = false, features = ["x"] }
        [patch.crates-io]
        b = { git = "https://example.com/b", rev = "1" }
        [profile.dist]
        inherits = "release"
        build-override = { opt-level = 3 }
        package.a.opt-level = 1
    "#;
    let app = r#"
        [package]
        name = "app"
        version.workspace = true
        edition.workspace = true
        rust-version = "1.85"
        [dependencies]
        a = { workspace = true, optional = true }
        macros = { path = "../macros" }
        [dev-dependencies]
        c = { package = "a", version = "1", registry = "mine" }
        [features]
        default = ["dep:a"]
    "#;
    let macros =
        "[package]\nname = \"macros\"\nversion = \"0.1.0\"\n[lib]\nproc-macro = true\n[dev-dependencies]\napp.workspace = true\n";
    let app_index =
        ArchiveIndex { package_root: "app".into(), features: vec!["x".into()], binary: Some("run".into()), ..index("") };
    let files = [("Cargo.toml", manifest), ("app/Cargo.toml", app), ("macros/Cargo.toml", macros), ("app/src/main.rs", "")];
    let (tree, skeletons) = skeletons(&app_index, &files);
    let skeleton = skeletons.unwrap().all;
    let files = written(tree.path(), &skeleton);
    let read = |file: &str| files[file].parse::<Table>().unwrap();
    let (root, app, macros) = (read("Cargo.toml"), read("app/Cargo.toml"), read("macros/Cargo.toml"));
    let mut expected: Table = manifest.parse().unwrap();
    expected["workspace"]["dependencies"]["app"] =
        Table::from_iter([("package".to_owned(), APP.into()), ("path".to_owned(), "/build/tree/app".into())]).into();
    assert_eq!(root, expected);
    assert_eq!((app["package"]["name"].as_str(), app["bin"][0]["name"].as_str()), (Some(APP), Some(APP)));
    assert_eq!(app["package"]["edition"]["workspace"].as_bool(), Some(true));
    assert_eq!(app["dependencies"]["macros"]["path"].as_str(), Some("/build/tree/macros"));
    assert_eq!(app["dev-dependencies"]["c"]["registry"].as_str(), Some("mine"));
    assert_eq!((app["features"]["default"][0].as_str(), macros["lib"]["proc-macro"].as_bool()), (Some("dep:a"), Some(true)));
    assert_eq!((skeleton.index.package.as_str(), skeleton.index.binary.as_deref()), (APP, Some(APP)));
}

#[test]
fn the_key_is_of_the_dependencies_alone() {
    let key = |manifest: &str, root: &str| {
        let lock = lock("", "").replace("\"app\"", if manifest.contains("other") { "\"other\"" } else { "\"app\"" });
        let lock = if manifest.contains("0.2.0") { lock.replace("\"0.1.0\"", "\"0.2.0\"") } else { lock };
        let place = |file: &str| format!("{root}/{file}").trim_start_matches('/').to_owned();
        skeletons(&index(root), &[(&place("Cargo.toml"), manifest), (&place("Cargo.lock"), &lock)]).1.unwrap().all.key
    };
    let first = key(MANIFEST, "apps/one");
    assert_eq!(key(&MANIFEST.replace("app", "other").replace("0.1.0", "0.2.0"), "two"), first);
    for changed in ["[features]\nx = [\"a/y\"]\n", "[profile.release]\nlto = true\n", "[dev-dependencies]\nb = \"1\"\n"] {
        assert_ne!(key(&format!("{MANIFEST}{changed}"), "two"), first, "{changed}");
    }
    let with = |change: fn(&mut ArchiveIndex)| {
        let mut index = index("");
        change(&mut index);
        skeletons(&index, &[("Cargo.toml", MANIFEST)]).1.unwrap().all.key
    };
    let plain = with(|_| {});
    assert_ne!(with(|index| index.features.push("x".into())), plain);
    assert_ne!(with(|index| index.no_default_features = true), plain);
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
        assert_eq!(of(&files), None, "{config}");
    }
    assert!(of(&[("Cargo.toml", MANIFEST), (".cargo/config.toml", "[term]\nquiet = true\n")]).is_some());
    let unpinned = lock("", "").replace("checksum", "other");
    assert_eq!(of(&[("Cargo.toml", MANIFEST), ("Cargo.lock", &unpinned)]), None);
    assert_eq!(of(&[("Cargo.toml", MANIFEST), (".skeleton/main.rs", "evil")]), None);
}

/// An app that depends on `mid`, which depends on `low` further in.
fn with_libraries(files: &[(&str, &str)]) -> (tempfile::TempDir, Skeletons) {
    with_libraries_of(&index(""), files)
}

fn with_libraries_of(index: &ArchiveIndex, files: &[(&str, &str)]) -> (tempfile::TempDir, Skeletons) {
    let package = |name: &str, rest: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n{rest}\n");
    let more = package("mid", "dependencies = [\"a\", \"low\"]") + &package("low", "") + &package("unrelated", "");
    let lock = lock("dependencies = [\"mid\"]", &more);
    let manifest = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
    let (mid, low, unrelated) = (manifest("mid"), manifest("low"), manifest("unrelated"));
    let own = [
        ("Cargo.lock", lock.as_str()),
        ("Cargo.toml", MANIFEST),
        ("mid/Cargo.toml", &mid),
        ("mid/src/lib.rs", "one"),
        ("mid/low/Cargo.toml", &low),
        ("mid/low/src/lib.rs", "low"),
        ("unrelated/Cargo.toml", &unrelated),
        ("unrelated/src/lib.rs", "evil"),
    ];
    let (tree, skeletons) = skeletons(index, &[&own[..], files].concat());
    (tree, skeletons.unwrap())
}

#[test]
fn libraries_whose_build_scripts_may_ask_for_the_commit_are_not_shared() {
    let committed = ArchiveIndex { git_commit: Some("1".repeat(40)), ..index("") };
    let script = ("mid/low/build.rs", "fn main() {}");
    for (index, files, libraries) in [
        (&index(""), &[script][..], 2),
        (&committed, &[], 2),
        // The app's own, and that of a package that is no dependency, run where the commit is.
        (&committed, &[("build.rs", "fn main() {}"), ("unrelated/build.rs", "fn main() {}")], 2),
        (&committed, &[script], 0),
    ] {
        let Skeletons { foreign, all } = with_libraries_of(index, files).1;
        assert_eq!((all.libraries.len(), foreign.is_some()), (libraries, libraries > 0), "{files:?}");
    }
}

#[test]
fn a_library_of_the_apps_is_shared_with_those_who_have_the_same() {
    let (tree, Skeletons { foreign, all }) = with_libraries(&[]);
    let foreign = foreign.unwrap();
    assert!(foreign.libraries.is_empty());
    assert_eq!(all.libraries, ["mid", "mid/low"].map(PathBuf::from).into());
    // Whatever file of them is another, or in another place, or of another mode.
    for file in ["mid/src/lib.rs", "mid/low/src/lib.rs", "mid/x/Cargo.toml", "mid/data.txt"] {
        let (_tree, other) = with_libraries(&[(file, "two")]);
        assert_ne!(other.all.key, all.key, "{file}");
        assert_eq!(other.foreign.unwrap().key, foreign.key, "{file}");
    }
    // What is not theirs is not in it, so it makes no difference.
    for file in ["unrelated/src/lib.rs", "src/main.rs", "data.txt"] {
        assert_eq!(with_libraries(&[(file, "two")]).1.all.key, all.key, "{file}");
    }
    let files = written(tree.path(), &all);
    for (file, text) in [("mid/src/lib.rs", "one"), ("mid/low/src/lib.rs", "low")] {
        assert_eq!(files[file], text, "{file}");
    }
    assert!(!files.contains_key("unrelated/src/lib.rs") && !files.contains_key("src/lib.rs"), "{files:?}");
}

#[test]
fn the_mode_of_a_librarys_file_counts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    fs::write(&file, "x").unwrap();
    let mut digests = BTreeSet::new();
    for mode in [0o644, 0o755] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        digests.insert(digest(&file).unwrap());
    }
    assert_eq!(digests.len(), 2);
}

#[test]
fn what_was_not_compared_is_newer_than_what_was_compiled() {
    let (tree, Skeletons { all, .. }) = with_libraries(&[("include.txt", "x")]);
    let before = SystemTime::now();
    all.date(tree.path()).unwrap();
    let modified = |file: &str| tree.path().join(file).metadata().unwrap().modified().unwrap();
    for file in ["mid/low/src/lib.rs", "mid/Cargo.toml", "mid/src", "mid"] {
        assert!(modified(file) < before, "{file}");
    }
    for file in ["include.txt", "src/lib.rs", "unrelated/src/lib.rs", "src"] {
        assert!(modified(file) + Duration::from_secs(1) > before, "{file}");
    }
}

#[test]
fn the_files_of_a_library_are_found_in_a_tree_of_any_size() {
    let mut files = Files::default();
    let mut libraries = BTreeSet::new();
    // One library in the other, and many packages and files around and in them.
    let mut folder = PathBuf::new();
    for depth in 0..60 {
        folder.push("in");
        files.packages.insert(format!("library{depth}"), vec![folder.clone()]);
        libraries.insert(folder.clone());
        for number in 0..300 {
            let package = folder.join(format!("other{number}"));
            files.all.extend([package.join("src/lib.rs"), package.join("Cargo.toml")]);
            files.packages.insert(format!("other{depth}-{number}"), vec![package]);
            files.all.insert(folder.join(format!("assets/{number}")));
        }
    }
    let begun = std::time::Instant::now();
    let found: BTreeSet<&PathBuf> = files.of_packages(&libraries).into_iter().collect();
    assert_eq!(found.len(), 60 * 300);
    assert!(found.iter().all(|file| file.parent().unwrap().ends_with("in/assets")));
    // File by file and package by package it would be an hour.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(files.of_packages(&BTreeSet::new()).is_empty());
}

#[test]
fn of_a_manifest_only_what_is_looked_at_is_kept() {
    let tree = tempfile::tempdir().unwrap();
    let more = "[x]\ny = 1\n[package.metadata]\na = 1\n[workspace]\nmetadata.a = 1\nresolver = \"3\"\n";
    fs::write(tree.path().join("Cargo.toml"), format!("{MANIFEST}{more}")).unwrap();
    let mut files = Files::default();
    assert!(files.collect(tree.path(), Path::new("")).unwrap());
    let kept = files.manifests[Path::new("")].to_string();
    assert!(kept.contains("resolver") && kept.contains("[dependencies]") && kept.contains("version"), "{kept}");
    assert!(!kept.contains("metadata") && !kept.contains('x'), "{kept}");
}
