//! What a path dependency has for itself stays at home, and what its build may read is sent.

use crate::{
    archive::{assert_cargo_reads, upload},
    support::{Project, Shuttle},
};

/// A project whose path dependency `dep` has what only it itself uses. `lib` is its library.
fn with_dependency(manifest: &str, lib: &str) -> Project {
    let project = Project::new();
    let app = project.read("app/Cargo.toml").replace("[workspace]", "dep = { path = \"../dep\" }\n\n[workspace]");
    project
        .write("app/Cargo.toml", &app)
        .write("app/tests/own.rs", "")
        .write("dep/Cargo.toml", &format!("[package]\nname = \"dep\"\nversion = \"1.0.0\"\nedition = \"2021\"\n{manifest}"))
        .write("dep/src/lib.rs", lib)
        .write("dep/src/tests/mod.rs", "")
        .write("dep/tests/deep/data.json", "{}")
        .write("dep/tests/one.rs", "")
        .write("dep/benches/speed.rs", "")
        .write("dep/examples/show/main.rs", "")
        .write("dep/docs/logo.svg", "<svg/>")
        .write("dep/README.md", "");
    project
}

#[track_caller]
fn sent_of_dependency(project: &Project) -> Vec<String> {
    let archive = upload(project);
    assert!(archive.names().contains(&"app/tests/own.rs".to_owned()), "the app's own tests are its own");
    assert_cargo_reads(&archive);
    archive.names().into_iter().filter_map(|name| Some(name.strip_prefix("dep/")?.to_owned())).collect()
}

#[test]
fn what_a_path_dependency_has_for_itself_stays() {
    let project = with_dependency("exclude = [\"docs\"]\n", "");
    assert_eq!(sent_of_dependency(&project), ["Cargo.toml", "README.md", "src/lib.rs", "src/tests/mod.rs"]);
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(0);
    let json = run.json();
    let left_out: Vec<_> = json["left_out"].as_array().unwrap().iter().map(|one| one["path"].as_str().unwrap()).collect();
    let dep = project.root().join("dep");
    let path = |name: &str| dep.join(name).display().to_string();
    assert_eq!(left_out, [path("benches"), path("docs/logo.svg"), path("examples"), path("tests")]);
    assert!(json["left_out"].as_array().unwrap().iter().all(|one| one["reason"] == "unread"));
    run.says(&["no build of that dependency reads"]);

    project.write("app/Shuttle.toml", "[build]\nassets = [\"../dep/tests/**\"]\n");
    let sent = sent_of_dependency(&project);
    assert!(sent.contains(&"tests/deep/data.json".to_owned()) && !sent.contains(&"benches/speed.rs".to_owned()), "{sent:?}");
}

#[test]
fn what_a_build_of_a_path_dependency_may_read_is_sent() {
    for (manifest, lib, sent) in [
        ("", "const DATA: &str = include_str!(\"../tests/deep/data.json\");", "tests/deep/data.json"),
        ("", "#[path = \"../examples/show/main.rs\"]\nmod show;", "examples/show/main.rs"),
        ("", "const HERE: &str = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/x\");", "benches/speed.rs"),
        ("exclude = [\"docs\"]\n", "#![doc = include_str!(\"../docs/logo.svg\")]", "docs/logo.svg"),
        ("[[test]]\nname = \"one\"\n", "", "tests/one.rs"),
        ("[[bench]]\nname = \"speed\"\nharness = false\n", "", "benches/speed.rs"),
        ("[[example]]\nname = \"show\"\n", "", "examples/show/main.rs"),
        ("[lib]\npath = \"tests/one.rs\"\n", "", "tests/one.rs"),
        ("build = \"tests/one.rs\"\n", "", "tests/deep/data.json"),
    ] {
        let names = sent_of_dependency(&with_dependency(manifest, lib));
        assert!(names.contains(&sent.to_owned()), "no {sent} with {manifest:?} and {lib:?} in {names:?}");
    }
    // The app reads it.
    let project = with_dependency("", "");
    project.write("app/src/data.rs", "const DATA: &str = include_str!(\"../../dep/tests/deep/data.json\");");
    assert!(sent_of_dependency(&project).contains(&"tests/deep/data.json".to_owned()));
    // A dependency within its folder is a package of its own.
    let project = with_dependency("[dependencies]\nhelper = { path = \"tests/helper\" }\n", "");
    project.write("dep/tests/helper/Cargo.toml", "[package]\nname = \"helper\"\nversion = \"1.0.0\"\n");
    project.write("dep/tests/helper/src/lib.rs", "");
    let names = sent_of_dependency(&project);
    assert!(names.contains(&"tests/helper/src/lib.rs".to_owned()) && !names.contains(&"tests/one.rs".to_owned()), "{names:?}");
}
