//! Projects that cannot be deployed: refused before the upload, with what to do.

use crate::support::{Project, Run, Server, Shuttle, manifest};

/// Deploys, and checks that nothing was sent.
#[track_caller]
fn refused(project: &Project, arguments: &[&str]) -> Run {
    let server = Server::start();
    let run = Shuttle::new(project, &server, arguments).run().ended_with(3);
    assert_eq!(server.uploads(), 0);
    assert_eq!(run.stdout, "");
    run
}

#[test]
fn no_annotated_function() {
    let project = Project::new();
    project.write("app/src/lib.rs", "pub async fn app() {}\n");
    refused(&project, &["deploy"]).says(&[
        "`my-app` has no function under #[shuttle_service::main]",
        "src/lib.rs",
        "async fn app",
    ]);
}

#[test]
fn two_annotated_functions() {
    let project = Project::new();
    project.write("app/src/lib.rs", "mod other;\n\n#[shuttle_service::main]\nasync fn one() {}\n");
    project.write("app/src/other.rs", "#[shuttle_service::main]\nasync fn two() {}\n");
    refused(&project, &["deploy"]).says(&["more than one function", "src/lib.rs:3", "src/other.rs:1"]);
}

#[test]
fn binaries_with_no_function_or_with_two() {
    let project = Project::new();
    std::fs::remove_file(project.app().join("src/lib.rs")).unwrap();
    project.write("app/src/main.rs", "fn main() {}\n");
    refused(&project, &["deploy"]).says(&["no function under #[shuttle_service::main]", "write in src/main.rs"]);
    let service = "#[shuttle_service::main]\nasync fn main() {}\n";
    project.write("app/src/main.rs", service).write("app/src/bin/other.rs", service);
    refused(&project, &["deploy"]).says(&["more than one function", "src/main.rs:1", "src/bin/other.rs:1"]);
}

#[test]
fn no_package_at_all() {
    let project = Project::empty().at("");
    refused(&project, &["deploy"]).says(&["could not find `Cargo.toml`", "--manifest-path"]);
}

#[test]
fn no_sdk_or_one_from_a_registry() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml");
    project.write("app/Cargo.toml", &manifest.replace("shuttle-service = { path = \"../sdk\" }", ""));
    refused(&project, &["deploy"]).says(&["does not depend on shuttle-service", "shuttle-service = {", "axum = \"0.8\""]);
    project.write("app/Cargo.toml", &manifest.replace("{ path = \"../sdk\" }", "\"0.57\""));
    refused(&project, &["deploy"]).says(&["from a registry", "- shuttle-service = \"0.57\"", "+ shuttle-service = {"]);
}

#[test]
fn a_name_that_is_no_dns_label() {
    let project = Project::new();
    project.write("app/Cargo.toml", &manifest("My_App", "../sdk"));
    refused(&project, &["deploy"]).says(&["`My_App` cannot be a project's name", "cargo shuttle deploy --name my-app"]);
    refused(&project, &["deploy", "--name=-x-"]).says(&["cargo shuttle deploy --name x"]);
    assert!(!project.app().join("Shuttle.toml").exists());
}

#[test]
fn a_virtual_workspace_needs_a_choice_unless_there_is_none() {
    let project = Project::empty().at("ws");
    let service = "#[shuttle_service::main]\nasync fn app() {}\n";
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"2\"\n")
        .write("ws/a/Cargo.toml", &Project::member("svc-a", "../../sdk"))
        .write("ws/a/src/lib.rs", "")
        .write("ws/b/Cargo.toml", &Project::member("svc-b", "../../sdk"))
        .write("ws/b/src/lib.rs", "");
    refused(&project, &["deploy"]).says(&["none of its packages", "svc-a, svc-b"]);

    project.write("ws/b/src/lib.rs", service);
    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    assert_eq!(server.archive().project, "svc-b");

    project.write("ws/a/src/lib.rs", service);
    refused(&project, &["deploy"]).says(&["svc-a, svc-b", "-p svc-a"]);
    refused(&project, &["deploy", "-p", "svc-x"]).says(&["no package `svc-x`", "did you mean `svc-a`?"]);
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "-p", "svc-a"]).run().ended_with(0);
    assert_eq!(server.archive().index().package, "svc-a");
}

#[test]
fn uncommitted_files_unless_allowed() {
    let project = Project::new();
    project.write("app/.gitignore", "Cargo.lock\nignored.txt\n").write("README.md", "outside").commit("");
    project.write("app/src/lib.rs", "// new\n#[shuttle_service::main]\nasync fn app() {}\n").write("app/new.txt", "");
    refused(&project, &["deploy"]).says(&["2 of the files", "new.txt", "src/lib.rs", "--allow-dirty"]);

    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(0);
    project.commit("");
    // Neither an ignored file nor one that is not sent matters.
    project.write("app/ignored.txt", "").write("README.md", "changed");
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    // What the command itself writes does not stand in its own way.
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--name", "other"]).run().ended_with(0);
    std::fs::remove_file(project.app().join("new.txt")).unwrap();
    refused(&project, &["deploy"]).says(&["new.txt"]);
}

#[test]
fn a_folder_that_a_repository_ignores_is_not_part_of_it() {
    let project = Project::new();
    project.write(".gitignore", "app/\n*.txt\n").commit("");
    project.write("app/note.txt", "");
    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    assert!(server.archive().names().contains(&"app/note.txt".to_owned()), "{:?}", server.archive().names());
}

#[test]
fn a_path_dependency_that_is_uncommitted_counts() {
    let project = Project::new();
    project.write("sdk/.gitignore", "").commit("sdk");
    project.write("sdk/src/lib.rs", "// changed\n");
    refused(&project, &["deploy"]).says(&["is not committed", "sdk/src/lib.rs"]);
}

#[test]
fn a_folder_without_a_project_and_a_broken_manifest() {
    let project = Project::empty();
    refused(&project, &["deploy"]).says(&["could not find `Cargo.toml`"]);
    project.write("app/Cargo.toml", "[package\n");
    refused(&project, &["deploy"]).says(&["Cargo.toml:1:9", "cannot read the manifest: unclosed table"]);
    refused(&project, &["deploy", "--manifest-path", "nowhere/Cargo.toml"]).says(&["there is no such file"]);
}

#[test]
fn an_unknown_key_in_shuttle_toml() {
    let project = Project::new();
    project.write("app/Shuttle.toml", "nmae = \"x\"\n");
    refused(&project, &["deploy"]).says(&["unknown key `nmae`", "did you mean `name`?"]);
}

#[test]
fn an_sdk_that_is_only_for_tests_or_the_build_script() {
    let project = Project::new();
    let manifest = project.read("app/Cargo.toml");
    let refusal = project.read("app/Cargo.toml").replace("[dependencies]\nshuttle-service = { path = \"../sdk\" }\n", "");
    project.write("app/Cargo.toml", &refusal);
    let expected = refused(&project, &["deploy"]).stderr;
    for kind in ["dev", "build"] {
        project.write("app/Cargo.toml", &manifest.replace("[dependencies]", &format!("[{kind}-dependencies]")));
        assert_eq!(refused(&project, &["deploy"]).stderr, expected);
    }
}

#[test]
fn a_temporary_folder_that_is_not_there() {
    let (project, server) = (Project::new(), Server::start());
    let run = Shuttle::new(&project, &server, &["deploy"]).env("TMPDIR", project.root().join("absent")).run().ended_with(1);
    run.says(&["absent", "free space in", "set TMPDIR"]);
}

#[test]
fn a_submodule_at_another_commit_counts_and_so_does_what_is_changed_in_it() {
    let project = Project::new();
    let commit = |folder| project.git(folder, &["init", "-q"]).git(folder, &["add", "-A"]).git(folder, &["commit", "-qm", "c"]);
    let manifest = project.read("app/Cargo.toml").replace("[workspace]", "sub = { path = \"sub\" }\n\n[workspace]");
    project.write("app/Cargo.toml", &manifest).write("app/.gitignore", "Cargo.lock\n");
    project.write("app/sub/Cargo.toml", "[package]\nname = \"sub\"\nversion = \"1.0.0\"\n").write("app/sub/src/lib.rs", "");
    // A repository within the other: its commit is what the outer one records.
    commit("app/sub");
    commit("app");
    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);

    project.write("app/sub/src/lib.rs", "// changed\n");
    refused(&project, &["deploy"]).says(&["1 of the files to deploy is not committed", "sub/src/lib.rs"]);
    commit("app/sub");
    refused(&project, &["deploy"]).says(&["is not committed", "sub (a submodule at another commit than the recorded one)"]);
    commit("app");
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
}

#[test]
fn what_may_not_be_read_is_named_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = |path: &std::path::Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    for path in ["app/assets", "app/assets/logo.svg", "app/src/../Shuttle.toml"] {
        let project = Project::new();
        project.write("app/assets/logo.svg", "").write("app/Shuttle.toml", "");
        let file = project.root().join(path);
        mode(&file, 0);
        let run = Shuttle::new(&project, &Server::start(), &["deploy"]).without_override().run().ended_with(3);
        mode(&file, 0o755);
        let name = file.file_name().unwrap().to_str().unwrap();
        run.says(&[name, "Permission denied", "hint: make it readable", "chmod -R u+rX", "chown"]);
    }
}
