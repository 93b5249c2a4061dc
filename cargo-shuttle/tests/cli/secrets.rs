//! `Secrets.toml`: sent apart from the archive, and its values told nobody else.

use serde_json::json;

use crate::support::{Project, Run, Server, Shuttle};

const SECRETS: &str = "API_KEY = \"s3cret-1\"\nDB_PASSWORD = 's3cret \" 2'\n";

#[track_caller]
fn deploy(project: &Project, server: &Server, more: &[&str]) -> Run {
    let arguments = [&["deploy", "--no-follow", "--allow-dirty"], more].concat();
    let run = Shuttle::new(project, server, &arguments).run();
    assert!(!run.stderr.contains("s3cret") && !run.stdout.contains("s3cret"), "{}{}", run.stdout, run.stderr);
    run
}

/// Deploys, and checks that neither secrets nor an archive was sent.
#[track_caller]
fn refused(project: &Project, more: &[&str]) -> Run {
    let server = Server::start();
    let run = deploy(project, &server, more).ended_with(3);
    assert_eq!((server.secrets().len(), server.uploads()), (0, 0));
    run
}

#[test]
fn secrets_are_sent_before_the_archive_which_names_their_set() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Secrets.toml", SECRETS);
    let run = deploy(&project, &server, &["--output", "json"]).ended_with(0);
    assert_eq!(run.json()["id"], "d1");
    run.says(&["Secrets 2 from Secrets.toml"]);
    let set = json!({ "secrets": { "API_KEY": "s3cret-1", "DB_PASSWORD": "s3cret \" 2" } });
    assert_eq!(server.secrets(), [("my-app".to_owned(), set)]);
    assert_eq!(server.archive().secrets(), Some("s1"));
}

#[test]
fn no_file_of_secrets_is_in_the_archive() {
    let (project, server) = (Project::new(), Server::start());
    for file in ["Secrets.toml", "Secrets.dev.toml", "Secrets.prod.toml", ".env", "src/Secrets.toml", "src/.env"] {
        project.write(&format!("app/{file}"), SECRETS);
    }
    // As git would have them, and by another name.
    project.commit("app").link("Secrets.prod.toml", "app/settings.toml");
    deploy(&project, &server, &["--secrets", "Secrets.prod.toml"]).ended_with(0);
    let names = server.archive().names();
    assert!(
        names.iter().all(|name| !name.contains("Secrets") && !name.contains(".env") && !name.contains("settings")),
        "{names:?}"
    );
    assert_eq!(server.secrets().len(), 1);
}

#[test]
fn without_a_file_nothing_is_sent_and_an_empty_one_is_an_empty_set() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Secrets.dev.toml", SECRETS);
    deploy(&project, &server, &[]).ended_with(0);
    assert!(server.secrets().is_empty() && server.archive().secrets().is_none());
    project.write("app/Secrets.toml", "# none yet\n");
    deploy(&project, &server, &[]).ended_with(0).says(&["Secrets none from Secrets.toml"]);
    assert_eq!(server.secrets(), [("my-app".to_owned(), json!({ "secrets": {} }))]);
    assert_eq!(server.archive().secrets(), Some("s1"));
}

#[test]
fn the_packages_file_goes_before_the_workspaces() {
    let project = Project::empty().at("ws/app");
    project
        .write("ws/Cargo.toml", "[workspace]\nmembers = [\"app\"]\nresolver = \"2\"\n")
        .write("ws/app/Cargo.toml", &Project::member("my-app", "../../sdk"))
        .write("ws/app/src/lib.rs", "#[shuttle_service::main]\nasync fn app() {}\n")
        .write("ws/Secrets.toml", "WHOSE = \"workspace\"\n");
    let server = Server::start();
    deploy(&project, &server, &[]).ended_with(0).says(&["Secrets 1 from Secrets.toml"]);
    project.write("ws/app/Secrets.toml", "WHOSE = \"package\"\n");
    let run = deploy(&project, &server, &[]).ended_with(0);
    run.says(&["Secrets 1 from app/Secrets.toml instead of the workspace's Secrets.toml"]);
    project.write("ws/app/other.toml", "WHOSE = \"given\"\n");
    deploy(&project, &server, &["--secrets", "other.toml"]).ended_with(0).says(&["Secrets 1 from other.toml"]);
    let sent: Vec<_> = server.secrets().into_iter().map(|(_, set)| set["secrets"]["WHOSE"].clone()).collect();
    assert_eq!(sent, ["workspace", "package", "given"]);
}

#[test]
fn a_file_that_is_wrong_is_refused_before_anything_is_sent() {
    let project = Project::new();
    for (text, parts) in [
        ("A = \"x\"\nPORT = 8080\n", ["Secrets.toml:2: the secret `PORT` is a number", "PORT = \"…\""]),
        ("[db]\nPASSWORD = \"s3cret\"\n", ["Secrets.toml:1: the secret `db` is a table", "db = \"…\""]),
        ("A = \"s3cret\n", ["Secrets.toml:1:", "NAME = \"value\""]),
        ("\"a-b\" = \"s3cret\"\n", ["`a-b` cannot be a secret's name", "A-Z"]),
    ] {
        project.write("app/Secrets.toml", text);
        refused(&project, &[]).says(&parts);
    }
    project.write("app/Secrets.toml", &format!("LONG = \"{}\"\n", "s3cret".repeat(6000)));
    refused(&project, &[]).says(&["the secret `LONG` has 36000 bytes"]);
    std::fs::remove_file(project.app().join("Secrets.toml")).unwrap();
    project.link("elsewhere.toml", "app/Secrets.toml");
    refused(&project, &[]).says(&["cannot read the secrets in"]);
    refused(&project, &["--secrets", "absent.toml"]).says(&["cannot read the secrets in absent.toml"]);
    project.write("app/Secrets.dev.toml", SECRETS);
    refused(&project, &["--secrets", "Secrets.dev.toml"]).says(&["never sent"]);
}

#[test]
fn a_file_that_git_has_is_warned_of() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/.gitignore", "Secrets*.toml\n").write("app/Secrets.toml", SECRETS).commit("app");
    let run = deploy(&project, &server, &[]).ended_with(0);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    project.commit_ignored("app", "Secrets.toml");
    deploy(&project, &server, &[])
        .ended_with(0)
        .says(&["warning: Secrets.toml is tracked by git", "git rm --cached Secrets.toml"]);
}

#[test]
fn a_server_that_knows_no_secrets_is_named_as_old() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Secrets.toml", SECRETS);
    server.takes_no_secrets();
    deploy(&project, &server, &[]).ended_with(6).says(&["older than this cargo-shuttle", "update platform-server"]);
    assert_eq!(server.uploads(), 0);
}
