//! `Shuttle.toml`, the package's and the workspace's.

use crate::support::{Project, Server, Shuttle};

const SERVICE: &str = "#[shuttle_service::main]\nasync fn app() {}\n";

/// A workspace with a package that can be deployed.
fn workspace() -> Project {
    let project = Project::empty().at("ws/app");
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"app*\"]\nresolver = \"2\"\n")
        .write("ws/app/Cargo.toml", &(Project::member("my-app", "../../sdk") + "\n[features]\nmetrics = []\n"))
        .write("ws/app/src/lib.rs", SERVICE);
    project
}

#[test]
fn the_workspaces_file_counts_and_the_packages_keys_go_before_its_own() {
    let (project, server) = (workspace(), Server::start());
    project.write("ws/.gitignore", "/dist\n").write("ws/dist/bundle.js", "").write(
        "ws/Shuttle.toml",
        "name = \"ours\"\n[build]\nassets = [\"dist\"]\nfeatures = [\"metrics\"]\n[env]\nA = \"1\"\nB = \"1\"\n",
    );
    let deploy = || {
        Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
        server.archive()
    };
    let archive = deploy();
    assert_eq!((archive.project.as_str(), archive.index().features), ("ours", vec!["metrics".to_owned()]));
    assert!(archive.names().contains(&"ws/dist/bundle.js".to_owned()), "{:?}", archive.names());

    project.write("ws/app/Shuttle.toml", "name = \"mine\"\n[env]\nB = \"2\"\n");
    let archive = deploy();
    assert_eq!((archive.project.as_str(), archive.index().features), ("mine", vec!["metrics".to_owned()]));
    assert_eq!(archive.index().env, [("A", "1"), ("B", "2")].map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert!(archive.names().contains(&"ws/dist/bundle.js".to_owned()), "relative to the file's own folder");

    let run = Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(0);
    run.says(&["Settings from app/Shuttle.toml, Shuttle.toml", "Env A, B"]);
}

#[test]
fn a_mistake_in_either_file_is_refused_with_its_line() {
    let (project, server) = (workspace(), Server::start());
    project.write("ws/app/Shuttle.toml", "name = \"mine\"\n").write("ws/Shuttle.toml", "# ours\n[build]\nasets = []\n");
    let refused = || Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3);
    refused().says(&["ws/Shuttle.toml:3: unknown key `build.asets`", "did you mean `build.assets`?"]);
    project.write("ws/Shuttle.toml", "").write("ws/app/Shuttle.toml", "\nname = 1\n");
    refused().says(&["ws/app/Shuttle.toml:2: `name` has to be a string"]);
    project.write("ws/app/Shuttle.toml", "name = \"a\"\nassets = []\n");
    refused().says(&["Shuttle.toml:2: unknown key `assets`", "did you mean `build.assets`?"]);
    assert_eq!(server.uploads(), 0);
}

/// Else several packages would be deployed over each other.
#[test]
fn a_workspaces_name_is_for_one_package() {
    let (project, server) = (workspace(), Server::start());
    project
        .write("ws/Shuttle.toml", "name = \"ours\"\n")
        .write("ws/app-other/Cargo.toml", &Project::member("other", "../../sdk"))
        .write("ws/app-other/src/lib.rs", "");
    let deploy = |arguments: &[&str]| Shuttle::new(&project, &server, &[&["deploy", "--no-follow"], arguments].concat()).run();
    deploy(&[]).ended_with(0);
    assert_eq!(server.archive().project, "ours", "the other one cannot be deployed");

    project.write("ws/app-other/src/lib.rs", SERVICE);
    let refusal = ["`name` stands for one project", "my-app, other", "give each package a Shuttle.toml with a `name`"];
    deploy(&[]).ended_with(3).says(&refusal);
    deploy(&["--workspace"]).ended_with(3).says(&refusal);
    project.write("ws/app/Shuttle.toml", "name = \"mine\"\n");
    deploy(&[]).ended_with(0);
    assert_eq!(server.archive().project, "mine");
    deploy(&["-p", "other", "--name", "theirs"]).ended_with(0);
    assert_eq!(server.archive().project, "theirs");
}

#[test]
fn the_files_of_cargo_and_rustup_that_hold_are_named() {
    let project = workspace();
    project
        .write("ws/.cargo/config.toml", "")
        .write("ws/app/rust-toolchain.toml", "[toolchain]\nchannel = \"stable\"\n")
        .write("ws/app/Shuttle.toml", "");
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(0);
    let json = run.json();
    assert_eq!(json["settings"], serde_json::json!(["app/Shuttle.toml"]));
    assert_eq!(json["config"], serde_json::json!(["app/rust-toolchain.toml", ".cargo/config.toml"]));
    run.says(&["Config from app/rust-toolchain.toml, .cargo/config.toml"]);
}
