//! Workspaces with several packages that can be deployed.

use platform_wire::{Event, Failure, FailureKind, Outcome};

use crate::support::{Project, Server, Shuttle, finished, sse};

fn workspace() -> Project {
    let project = Project::empty().at("ws");
    project.write("ws/Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\", \"lib\"]\nresolver = \"2\"\n");
    for name in ["a", "b"] {
        project
            .write(&format!("ws/{name}/Cargo.toml"), &Project::member(&format!("svc-{name}"), "../../sdk"))
            .write(&format!("ws/{name}/src/lib.rs"), "#[shuttle_service::main]\nasync fn app() {}\n");
    }
    project.write("ws/lib/Cargo.toml", "[package]\nname = \"lib\"\nversion = \"1.0.0\"\n").write("ws/lib/src/lib.rs", "");
    project
}

#[test]
fn all_are_deployed_one_after_another_each_with_its_own_name_and_secrets() {
    let (project, server) = (workspace(), Server::start());
    project
        .write("ws/b/Shuttle.toml", "name = \"other\"\n")
        .write("ws/Secrets.toml", "A = \"shared\"\n")
        .write("ws/b/Secrets.toml", "A = \"own\"\n");
    let arguments = ["deploy", "--workspace", "--no-follow", "--output", "json"];
    let run = Shuttle::new(&project, &server, &arguments).run().ended_with(0);
    let json = run.json();
    let projects: Vec<_> = json.as_array().unwrap().iter().map(|one| one["project"].as_str().unwrap()).collect();
    assert_eq!(projects, ["svc-a", "other"]);
    let sent: Vec<_> = server.archives().iter().map(|one| (one.project.clone(), one.index().package)).collect();
    assert_eq!(sent, [("svc-a".into(), "svc-a".into()), ("other".into(), "svc-b".into())]);
    let secrets: Vec<_> = server.secrets().into_iter().map(|(name, set)| (name, set["secrets"]["A"].clone())).collect();
    assert_eq!(secrets, [("svc-a".to_owned(), "shared".into()), ("other".to_owned(), "own".into())]);
    run.says(&["Deploying svc-a (1 of 2)", "Deploying svc-b (2 of 2)"]);
}

#[test]
fn a_dry_run_lists_each() {
    let run = Shuttle::bare(&workspace(), &["deploy", "--workspace", "--dry-run", "--output", "json"]).run().ended_with(0);
    let json = run.json();
    let projects: Vec<_> = json.as_array().unwrap().iter().map(|one| one["project"].as_str().unwrap()).collect();
    assert_eq!(projects, ["svc-a", "svc-b"]);
    run.says(&["Package svc-a (1 of 2)", "Package svc-b (2 of 2)"]);
}

#[test]
fn each_urls_line_is_on_stdout() {
    let (project, server) = (workspace(), Server::start());
    server.streams(sse(1, &[finished()])).streams(sse(1, &[finished()]));
    let run = Shuttle::new(&project, &server, &["deploy", "--workspace"]).run().ended_with(0);
    assert_eq!(run.stdout, "http://my-app.localhost:8000\n".repeat(2));
}

#[test]
fn the_first_failure_ends_it_and_the_rest_is_named() {
    let (project, server) = (workspace(), Server::start());
    let failure =
        Failure { kind: FailureKind::Build, message: "it did not build".into(), hint: None, exit_status: None, log: vec![] };
    server.streams(sse(1, &[Event::Finished { outcome: Outcome::Failed { failure } }]));
    let run = Shuttle::new(&project, &server, &["deploy", "--workspace", "--output", "json"]).run().ended_with(7);
    assert_eq!(server.uploads(), 1);
    let json = run.json();
    assert_eq!((&json["error"]["code"], &json["not_deployed"][0]), (&"build_failed".into(), &"svc-b".into()));
    run.says(&["error: it did not build", "not deployed for that reason: svc-b"]);
}

#[test]
fn one_has_to_be_chosen_and_two_cannot_be_one_project() {
    let (project, server) = (workspace(), Server::start());
    Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&["svc-a, svc-b", "-p svc-a", "--workspace"]);
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "-p", "svc-b"]).run().ended_with(0);
    assert_eq!(server.archive().project, "svc-b");
    Shuttle::new(&project, &server, &["deploy", "--workspace", "-p", "svc-b"]).run().ended_with(2);
    project.write("ws/b/Shuttle.toml", "name = \"svc-a\"\n");
    let run = Shuttle::new(&project, &server, &["deploy", "--workspace"]).run().ended_with(3);
    run.says(&["svc-a and svc-b would both be deployed as project `svc-a`", "-p svc-b --name"]);
    assert_eq!(server.uploads(), 1);
}
