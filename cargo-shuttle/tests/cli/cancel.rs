//! Deployments that are listed, and ended: by a command, or by a Ctrl-C and a yes.

use platform_wire::{Event, Failure, FailureKind, State};

use crate::support::{CTRL_C, Project, Server, Shuttle, Terminal, deployment, finished, sse};

const QUESTION: &str = "cancel the deployment? [y/N]";

fn failed(id: &str, message: &str) -> platform_wire::Deployment {
    let failure = Failure { kind: FailureKind::Build, message: message.into(), hint: None, exit_status: None, log: Vec::new() };
    platform_wire::Deployment { failure: Some(failure), ..deployment(id, State::Error) }
}

#[test]
fn deployments_are_lines_or_one_document() {
    let (project, server) = (Project::new(), Server::start());
    let run = Shuttle::new(&project, &server, &["deployment", "list"]).run().ended_with(0).says(&["Nothing was deployed yet"]);
    assert_eq!(run.stdout, "");
    server.has_deployments(&[failed("d2", "it does not compile\nerror[E0308]"), deployment("d1", State::Deployed)]);
    let run = Shuttle::new(&project, &server, &["deployment", "list"]).run().ended_with(0);
    let words: Vec<Vec<_>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["ID", "STATE", "AGE", "FAILURE"]);
    assert_eq!(words[1][..2], ["d2", "failed"]);
    assert_eq!(words[1][3..], ["d", "it", "does", "not", "compile"]);
    assert_eq!(words[2][..2], ["d1", "deployed"]);
    assert_eq!(words.len(), 3);
    let json = Shuttle::new(&project, &server, &["deployment", "list", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json[0]["failure"]["message"], "it does not compile\nerror[E0308]");
    assert_eq!(json[1]["id"], "d1");
}

#[test]
fn the_newest_that_is_under_way_is_cancelled() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployments(&[failed("d3", "no"), deployment("d2", State::Queued), deployment("d1", State::Deployed)]);
    let run = Shuttle::new(&project, &server, &["deployment", "cancel"]).run().ended_with(0);
    // The server does not know the project: so nothing is claimed of it.
    run.says(&["Cancelled deployment d2 of my-app"]);
    assert_eq!(server.cancels(), ["d2"]);
}

#[test]
fn one_that_is_named_needs_no_folder() {
    let (project, server) = (Project::empty(), Server::start());
    server.has_deployments(&[deployment("d2", State::Queued), deployment("d1", State::Loaded)]);
    let run = Shuttle::new(&project, &server, &["deployment", "cancel", "d1", "--output", "json"]).run().ended_with(0);
    assert_eq!(run.json()["id"], "d1");
    assert_eq!(server.cancels(), ["d1"]);
    Shuttle::new(&project, &server, &["deployment", "cancel", "d1", "--name", "other"]).run().ended_with(2);
}

#[test]
fn what_cannot_be_cancelled_is_said() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployments(&[failed("d2", "no"), deployment("d1", State::Deployed)]);
    let run = Shuttle::new(&project, &server, &["deployment", "cancel", "--output", "json"]).run().ended_with(1);
    assert_eq!(run.json()["error"]["code"], "nothing_under_way");
    run.says(&["no deployment of my-app is under way", "hint: `cargo shuttle deployment list`"]);
    assert!(server.cancels().is_empty());

    let run = Shuttle::new(&project, &server, &["deployment", "cancel", "d1", "--output", "json"]).run().ended_with(6);
    assert_eq!(run.json()["error"]["code"], "conflict");
    run.says(&["it is under way no more"]);
    let run = Shuttle::new(&project, &server, &["deployment", "cancel", "d9"]).run().ended_with(6);
    run.says(&["there is no such deployment", "hint: `cargo shuttle deployment list`"]);
}

/// A deployment that is built until it is cancelled, and was just interrupted.
fn interrupted(server: &Server, project: &Project) -> Terminal {
    let first =
        sse(1, &[Event::Progress { done: 1, total: Some(2), unit: "axum".into() }, Event::Output { text: "building\n".into() }]);
    server.streams_until_cancel(first, sse(3, &[finished()]));
    let mut terminal = Shuttle::new(project, server, &["deploy"]).on_terminal();
    terminal.shows("building").types(CTRL_C).shows(QUESTION);
    terminal
}

#[test]
fn an_interrupt_and_a_yes_cancel() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployments(&[deployment("d1", State::Queued)]);
    let mut terminal = interrupted(&server, &project);
    terminal.types("y\n");
    terminal.end().ended_with(130).says(&["the deployment d1 was cancelled", "`cargo shuttle deploy` begins anew"]);
    assert_eq!(server.cancels(), ["d1"]);
}

#[test]
fn an_interrupt_and_no_yes_leave_the_deployment() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployments(&[deployment("d1", State::Queued)]);
    // A no, nothing, the end of the input, and a second Ctrl-C.
    for keys in ["n\n", "\n", "\u{4}", CTRL_C] {
        let mut terminal = interrupted(&server, &project);
        terminal.types(keys);
        terminal.end().ended_with(130).says(&["interrupted", "the deployment d1 goes on", "cargo shuttle deployment cancel d1"]);
    }
    assert!(server.cancels().is_empty());
}

#[test]
fn a_yes_that_comes_too_late_ends_as_the_deployment_did() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployments(&[deployment("d1", State::Deployed)]);
    let mut terminal = interrupted(&server, &project);
    terminal.types("y\n");
    terminal.end().ended_with(0).says(&["too late to cancel it", "http://my-app.localhost:8000"]);
    assert_eq!(server.cancels(), ["d1"]);
}

#[test]
fn a_yes_that_the_server_does_not_hear_leaves_the_deployment() {
    let (project, server) = (Project::new(), Server::start());
    let mut terminal = interrupted(&server, &project);
    terminal.types("y\n");
    terminal.end().ended_with(130).says(&["it could not be cancelled: there is no such deployment", "the deployment d1 goes on"]);
}
