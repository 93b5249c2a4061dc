//! What is sent beside the packages: the workspace's own files, sources elsewhere, assets that git ignores.

use crate::support::{Archive, Project, Server, Shuttle};

#[track_caller]
fn upload(project: &Project) -> Archive {
    let server = Server::start();
    Shuttle::new(project, &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(0);
    server.archive()
}

fn workspace() -> Project {
    let project = Project::empty().at("ws/app");
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"app\"]\nexclude = [\"other\", \"vendor\"]\nresolver = \"2\"\n")
        .write("ws/app/Cargo.toml", &Project::member("my-app", "../../sdk"))
        .write("ws/app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n");
    project
}

#[test]
fn the_workspaces_own_files_are_sent_and_another_workspace_is_not() {
    let project = workspace();
    project
        .write("ws/.gitignore", "/dist\n*.log\n")
        .write("ws/text.txt", "for include_str!")
        .write("ws/migrations/1.sql", "")
        .write("ws/vendor/dep/Cargo.toml", "[package]\nname = \"dep\"\nversion = \"1.0.0\"\n[workspace]\n")
        .write("ws/vendor/dep/.cargo-checksum.json", "{}")
        .write("ws/target/debug/app", "")
        .write("ws/dist/bundle.js", "")
        .write("ws/a.log", "")
        .write("ws/.env", "")
        .write("ws/Secrets.toml", "")
        .write("ws/other/Cargo.toml", "[workspace]\nmembers = [\"lib\"]\n")
        .write("ws/other/notes.md", "")
        .write("ws/other/lib/Cargo.toml", "[package]\nname = \"lib\"\nversion = \"1.0.0\"\n")
        .write("ws/other/lib/src/lib.rs", "")
        .link("../other/notes.md", "ws/migrations/linked.md");
    let expected = [
        "ws/.gitignore",
        "ws/Cargo.lock",
        "ws/Cargo.toml",
        "ws/app/Cargo.toml",
        "ws/app/src/lib.rs",
        "ws/migrations/1.sql",
        "ws/migrations/linked.md",
        "ws/text.txt",
        "ws/vendor/dep/.cargo-checksum.json",
        "ws/vendor/dep/Cargo.toml",
    ];
    let sent = |archive: &Archive| archive.names().into_iter().filter(|name| name.starts_with("ws/")).collect::<Vec<_>>();
    assert_eq!(sent(&upload(&project)), expected);

    // A package of the other workspace is sent where it is depended on, and the rest of that is not.
    let manifest = project.read("ws/app/Cargo.toml") + "lib = { path = \"../other/lib\" }\n";
    project.write("ws/app/Cargo.toml", &manifest);
    let names = sent(&upload(&project));
    assert!(names.contains(&"ws/other/lib/src/lib.rs".to_owned()), "{names:?}");
    assert!(!names.contains(&"ws/other/notes.md".to_owned()), "{names:?}");
}

#[test]
fn the_workspaces_own_files_have_to_be_committed() {
    let project = workspace();
    let server = Server::start();
    project.write("ws/notes.md", "").write("ws/other/Cargo.toml", "[workspace]\n").write("ws/other/notes.md", "");
    let deploy = || Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run();
    deploy().ended_with(0);
    project.commit("ws");
    project.write("ws/other/notes.md", "changed");
    deploy().ended_with(0);
    project.write("ws/notes.md", "changed");
    deploy().ended_with(3).says(&["1 of the files to deploy is not committed", "notes.md"]);
    std::fs::remove_file(project.root().join("ws/notes.md")).unwrap();
    deploy().ended_with(3).says(&["1 of the files to deploy is not committed", "notes.md"]);
}

#[test]
fn sources_outside_of_every_folder_are_sent_with_their_modules() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml") + "[lib]\npath = \"../shared/src/root.rs\"\n";
    std::fs::remove_dir_all(project.app().join("src")).unwrap();
    project
        .write("app/Cargo.toml", &manifest)
        .write("shared/src/root.rs", "mod part;\n#[shuttle_service::main]\nasync fn app() {}\n")
        .write("shared/src/part.rs", "mod deep;\n")
        .write("shared/src/part/deep.rs", "")
        .write("shared/src/unrelated.rs", "");
    let names = upload(&project).names();
    let shared: Vec<_> = names.iter().filter(|name| name.starts_with("shared/")).collect();
    assert_eq!(shared, ["shared/src/part.rs", "shared/src/part/deep.rs", "shared/src/root.rs"]);
}

#[test]
fn assets_are_sent_though_git_ignores_them() {
    let project = Project::new();
    project
        .write("app/.gitignore", "/static/generated\n/model.bin\n*.map\n")
        .write("app/Shuttle.toml", "[build]\nassets = [\"static/generated/**\", \"model.bin\"]\n")
        .write("app/static/generated/deep/app.js", "")
        .write("app/static/generated/app.js.map", "")
        .write("app/static/generated/.env", "")
        .write("app/model.bin", "")
        .write("app/other.map", "")
        .commit("app");
    let server = Server::start();
    // What git ignores is not asked to be committed.
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    let names = server.archive().names();
    for name in ["static/generated/deep/app.js", "static/generated/app.js.map", "model.bin"] {
        assert!(names.contains(&format!("app/{name}")), "no {name} in {names:?}");
    }
    assert!(!names.iter().any(|name| name.ends_with("other.map") || name.ends_with(".env")), "{names:?}");
}

#[test]
fn assets_that_cannot_be_are_refused() {
    let project = Project::new();
    let server = Server::start();
    project.write("app/target/x", "").write("app/.env", "");
    for (pattern, part) in [
        ("dist/**", "matches no file in"),
        ("../other/**", "within the folder of its Shuttle.toml"),
        ("a[", "unclosed"),
        (".env", "holds secrets, and is never sent"),
        ("target/*", "is built, not written, and is never sent"),
    ] {
        project.write("app/Shuttle.toml", &format!("[build]\nassets = [\"{pattern}\"]\n"));
        Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&[pattern, part]);
    }
    assert_eq!(server.uploads(), 0);
}

#[test]
fn chosen_features_are_told_and_have_to_exist() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml") + "[features]\nmetrics = []\n";
    project
        .write("app/Cargo.toml", &manifest)
        .write("app/Shuttle.toml", "[build]\nfeatures = [\"metrics\"]\ndefault-features = false\n");
    let index = upload(&project).index();
    assert_eq!((index.features, index.no_default_features), (vec!["metrics".to_owned()], true));
    project.write("app/Shuttle.toml", "[build]\nfeatures = [\"metrisc\"]\n");
    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&["no feature `metrisc`", "did you mean `metrics`?"]);
}

#[test]
fn a_chosen_profile_is_told_and_has_to_exist() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml") + "[profile.dist]\ninherits = \"release\"\nlto = \"thin\"\n";
    project.write("app/Cargo.toml", &manifest).write("app/Shuttle.toml", "[build]\nprofile = \"dist\"\n");
    assert_eq!(upload(&project).index().profile.as_deref(), Some("dist"));
    project.write("app/Shuttle.toml", "[build]\nprofile = \"dits\"\n");
    let server = Server::start();
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3);
    run.says(&["profile `dits` is not defined", "[profile.dits]"]);
    for (name, part) in [("bench", "which is for tests"), ("debug", "cargo calls that one `dev`")] {
        project.write("app/Shuttle.toml", &format!("[build]\nprofile = \"{name}\"\n"));
        let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&[part]);
        assert!(!run.stderr.contains("define it"), "{}", run.stderr);
    }
}
