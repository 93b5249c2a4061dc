//! The way of a deployment: upload, events, resuming, and how each end is told.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::Command,
};

use platform_wire::{
    BuildKind, ErrorCode, Event, Failure, FailureKind, LaterBuild, LogLevel, LogLine, LogSource, Outcome, ServiceKind, Serving,
    Stage, State,
};

use crate::support::{Project, Run, Server, Shuttle, deployment, finished, sse};

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: "it did not work".into(), hint: Some("do better".into()), exit_status: None, log: vec![] }
}

fn log(message: &str) -> LogLine {
    LogLine {
        time_ms: 1_767_225_600_000,
        level: LogLevel::Error,
        source: LogSource::Stderr,
        deployment: "d1".into(),
        target: String::new(),
        message: message.into(),
    }
}

#[test]
fn the_url_alone_is_on_stdout() {
    let (project, server) = (Project::new(), Server::start());
    let red = "\u{1b}[1m\u{1b}[33mwarning\u{1b}[0m: unused\n";
    server.streams(sse(
        1,
        &[
            Event::Position { ahead: 2 },
            Event::Stage { stage: Stage::Fetch, message: "fetching dependencies".into() },
            Event::Progress { done: 1, total: Some(2), unit: "axum".into() },
            Event::Output { text: red.into() },
            Event::Progress { done: 2, total: Some(2), unit: "my-app".into() },
            Event::State { state: State::Built },
            Event::State { state: State::Loaded },
            Event::Unknown,
            finished(),
        ],
    ));
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(0);
    assert_eq!(run.stdout, "http://my-app.localhost:8000\n");
    assert!(!run.stderr.contains('\u{1b}'), "colours without a terminal:\n{}", run.stderr);
    run.says(&[
        "for 2 deployments",
        "Fetching dependencies",
        "Compiling 1/2 steps: axum",
        "warning: unused",
        "Compiling 2/2 steps: my-app",
    ]);
    assert_eq!(server.archive().project, "my-app");
}

#[test]
fn a_background_service_is_called_one() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(sse(1, &[finished()])).has_project(platform_wire::Project {
        name: "my-app".parse().unwrap(),
        url: "http://my-app.localhost:8000".into(),
        created_at_ms: 0,
        serving: Some(Serving {
            deployment: "d1".into(),
            instance: "running".into(),
            restarts: 0,
            kind: ServiceKind::Background,
            build: BuildKind::Fast,
            optimised: Some(LaterBuild::Waiting),
        }),
        latest: None,
        resources: Vec::new(),
        env: Vec::new(),
        origin: platform_wire::Origin::default(),
    });
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(0);
    run.says(&["a background service: it is sent no requests; an optimised build follows"]);
}

#[test]
fn json_is_one_document() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(sse(1, &[finished()]));
    let json = Shuttle::new(&project, &server, &["deploy", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["url"], "http://my-app.localhost:8000");
    assert_eq!(json["state"], "deployed");
    assert_eq!(json["project"], "my-app");
    let json = Shuttle::new(&project, &server, &["deploy", "--no-follow", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["id"], "d1");
    assert_eq!(json["state"], "queued");
}

#[test]
fn what_serves_already_is_not_followed() {
    let (project, server) = (Project::new(), Server::start());
    server.has_the_same();
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(0).says(&["Unchanged", "--force"]);
    assert_eq!(run.stdout, "http://my-app.localhost:8000\n");
    let json = Shuttle::new(&project, &server, &["deploy", "--output", "json"]).run().ended_with(0).json();
    assert_eq!((&json["id"], &json["unchanged"]), (&"d1".into(), &true.into()));
    let json = Shuttle::new(&project, &server, &["deploy", "--no-follow", "--output", "json"]).run().ended_with(0).json();
    assert_eq!((&json["archive_digest"].is_string(), &json["unchanged"]), (&true, &true.into()));
    server.streams(sse(1, &[finished()]));
    let json = Shuttle::new(&project, &server, &["deploy", "--force", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["unchanged"], false);
}

#[test]
fn how_it_is_built_is_told_where_somebody_said_it() {
    let (project, server) = (Project::new(), Server::start());
    let told = |arguments: &[&str]| {
        server.streams(sse(1, &[finished()]));
        Shuttle::new(&project, &server, &[&["deploy"], arguments].concat()).run().ended_with(0);
        server.archive().query.get("build").cloned()
    };
    assert_eq!(told(&[]), None);
    project.write("app/Shuttle.toml", "[build]\nmode = \"optimised\"\n");
    assert_eq!(told(&[]).as_deref(), Some("optimised"));
    assert_eq!(told(&["--build", "both"]).as_deref(), Some("both"));
}

#[test]
fn flags_of_scripts_are_taken() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(sse(1, &[finished()]));
    Shuttle::new(&project, &server, &["deploy", "--allow-dirty", "--build", "fast", "-p", "my-app"]).run().ended_with(0);
}

#[test]
fn a_broken_stream_is_resumed_where_it_broke() {
    let (project, server) = (Project::new(), Server::start());
    let half = "id: 3\ndata: {\"type\":\"stage\"";
    server.streams(sse(1, &[Event::Output { text: "one\n".into() }, Event::Output { text: "two\n".into() }]) + half);
    // This server repeats what is known.
    let again = [Event::Output { text: "two\n".into() }, Event::Output { text: "three\n".into() }, finished()];
    server.streams(sse(2, &again));
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(0);
    assert_eq!(server.resumed_from(), [None, Some("2".to_owned())]);
    let output: Vec<_> = run.stderr.lines().filter(|line| ["one", "two", "three"].contains(line)).collect();
    assert_eq!(output, ["one", "two", "three"]);
}

#[test]
fn a_deployment_that_ended_while_the_stream_was_broken_is_found() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(sse(1, &[Event::State { state: State::Queued }])).knows(deployment("d1", State::Deployed));
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(0);
    assert_eq!(run.stdout, "http://my-app.localhost:8000\n");
}

#[test]
fn a_connection_that_stays_lost_has_its_own_code() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(sse(1, &[Event::State { state: State::Queued }]));
    let arguments = ["deploy", "--reconnect", "0", "--output", "json"];
    let run = Shuttle::new(&project, &server, &arguments).run().ended_with(9);
    assert_eq!(run.json()["error"]["code"], "connection_lost");
    assert_eq!(run.json()["error"]["deployment"], "d1");
    run.says(&["hint: the deployment d1 goes on", "cargo shuttle status"]);
}

#[test]
fn failures_have_their_codes_and_say_why() {
    let project = Project::new();
    for (kind, code) in [
        (FailureKind::Fetch, 7),
        (FailureKind::Build, 7),
        (FailureKind::Provision, 8),
        (FailureKind::Start, 8),
        (FailureKind::Internal, 1),
    ] {
        let server = Server::start();
        server.streams(sse(1, &[Event::Finished { outcome: Outcome::Failed { failure: failure(kind) } }]));
        let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(code);
        assert_eq!(run.stdout, "");
        run.says(&["error: it did not work", "hint: do better"]);
    }
}

#[test]
fn an_app_that_does_not_start_is_heard_last() {
    let (project, server) = (Project::new(), Server::start());
    let mut failure = failure(FailureKind::Start);
    failure.exit_status = Some("signal 6 (SIGABRT)".into());
    failure.log = vec![log("thread 'main' panicked")];
    server.streams(sse(1, &[Event::Log { line: log("starting up") }, Event::Finished { outcome: Outcome::Failed { failure } }]));
    let run = Shuttle::new(&project, &server, &["deploy", "--output=json"]).run().ended_with(8);
    assert_eq!(run.json()["error"]["failure"]["exit_status"], "signal 6 (SIGABRT)");
    run.says(&["ERROR stderr starting up", "the app ended with signal 6 (SIGABRT)", "ERROR stderr thread 'main' panicked"]);
}

#[test]
fn a_superseded_cancelled_or_deleted_deployment_is_not_called_live() {
    let project = Project::new();
    let failed = |kind| Outcome::Failed { failure: failure(kind) };
    for (outcome, status, code, text) in [
        (Outcome::Superseded { by: "d2".into() }, 10, "superseded", "hint: the newer one is d2"),
        (failed(FailureKind::Superseded), 10, "superseded", "hint: see the newer one with `cargo shuttle status`"),
        (
            failed(FailureKind::Cancelled),
            10,
            "cancelled",
            "the deployment d1 was cancelled hint: `cargo shuttle deploy` begins anew",
        ),
        (Outcome::Deleted, 1, "deleted", "was deleted"),
    ] {
        let server = Server::start();
        server.streams(sse(1, &[Event::Finished { outcome }]));
        let run = Shuttle::new(&project, &server, &["deploy", "--output", "json"]).run().ended_with(status);
        assert_eq!(run.json()["error"]["code"], code);
        assert_eq!(run.json()["error"]["deployment"], "d1");
        run.says(&[text]);
    }
}

#[test]
fn what_serves_in_spite_of_it_is_said_last() {
    let project = Project::new();
    let failed = |kind| Outcome::Failed { failure: failure(kind) };
    for outcome in [
        failed(FailureKind::Build),
        failed(FailureKind::Start),
        failed(FailureKind::Cancelled),
        Outcome::Superseded { by: "d2".into() },
    ] {
        let server = Server::start();
        let events = [Event::Stage { stage: Stage::Probe, message: "waiting for its first answer".into() }];
        let finished = Event::Finished { outcome };
        let run = |arguments: &[&str]| {
            server.streams(sse(1, &[&events[..], std::slice::from_ref(&finished)].concat()));
            Shuttle::new(&project, &server, &[&["deploy"], arguments].concat()).run()
        };
        server.has_project(serving("d0", "running"));
        let told = run(&[]);
        assert_eq!(
            told.stderr.lines().last(),
            Some("note: deployment d0 still serves at http://my-app.localhost:8000"),
            "{}",
            told.stderr
        );
        let json = run(&["--output", "json"]).json();
        assert_eq!(json["error"]["serving"]["deployment"], "d0");
        assert_eq!(json["error"]["serving"]["url"], "http://my-app.localhost:8000");

        server.has_project(serving("d0", "crashed"));
        run(&[]).says(&["deployment d0 is still the one at http://my-app.localhost:8000; its process is in state `crashed`"]);
        let mut first = serving("d0", "running");
        first.serving = None;
        server.has_project(first);
        assert_eq!(run(&[]).stderr.lines().last(), Some("note: no version of my-app serves"));
        assert!(run(&["--output", "json"]).json()["error"]["serving"].is_null());
    }
}

/// The project, with this deployment serving.
fn serving(id: &str, instance: &str) -> platform_wire::Project {
    platform_wire::Project {
        name: "my-app".parse().unwrap(),
        url: "http://my-app.localhost:8000".into(),
        created_at_ms: 0,
        serving: Some(Serving {
            deployment: id.into(),
            instance: instance.into(),
            restarts: 0,
            kind: ServiceKind::Http,
            build: BuildKind::Fast,
            optimised: None,
        }),
        latest: None,
        resources: Vec::new(),
        env: Vec::new(),
        origin: platform_wire::Origin::default(),
    }
}

#[test]
fn a_refused_upload_says_what_the_server_says() {
    let (project, server) = (Project::new(), Server::start());
    server.refuses_uploads(507, ErrorCode::DiskFull, "the server's disk is full");
    let run = Shuttle::new(&project, &server, &["deploy", "--output", "json"]).run().ended_with(6);
    assert_eq!(run.json()["error"]["code"], "disk_full");
    assert_eq!(run.json()["error"]["request_id"], "r1");
    run.says(&["error: the server's disk is full"]);
}

#[test]
fn a_refusal_in_the_middle_of_the_upload_is_heard() {
    let (project, server) = (Project::new(), Server::start());
    // Random enough not to shrink: far more than the buffers between the two hold.
    let mut seed = 1_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    };
    let blob: Vec<u8> = (0..24 * 1024 * 1024).map(|_| next()).collect();
    std::fs::write(project.app().join("blob"), blob).unwrap();
    server.refuses_uploads(413, ErrorCode::TooLarge, "the archive is larger than 1 MiB");
    Shuttle::new(&project, &server, &["deploy"]).run().ended_with(6).says(&["larger than 1 MiB", "--dry-run"]);
}

#[test]
fn no_server_and_a_wrong_key_have_their_codes() {
    let (project, server) = (Project::new(), Server::start());
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Shuttle::new(&project, &server, &["deploy"]).env("SHUTTLE_API", format!("http://{gone}")).run().ended_with(4);
    run.says(&["cannot reach the server", "Connection refused", "hint:"]);
    let run = Shuttle::new(&project, &server, &["deploy"]).env("SHUTTLE_API_KEY", "other").run().ended_with(5);
    run.says(&["this key is not known", "cargo shuttle login"]);
    let run = Shuttle::bare(&project, &["deploy"]).env("SHUTTLE_API", &server.url).run().ended_with(5);
    run.says(&["there is no key for", "SHUTTLE_API_KEY"]);
    let run = Shuttle::new(&project, &server, &["deploy"]).env("SHUTTLE_API", "http://192.0.2.1:8001").run().ended_with(2);
    run.says(&["plain HTTP to 192.0.2.1", "ssh -L"]);
    assert_eq!(server.uploads(), 0);
}

#[test]
fn an_interrupt_leaves_the_deployment_and_says_so() {
    let (project, server) = (Project::new(), Server::start());
    server.streams_on(sse(1, &[Event::Output { text: "building\n".into() }])).has_project(serving("d0", "running"));
    let mut child = Shuttle::new(&project, &server, &["deploy"]).start();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("building") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended by itself");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let mut run = Run::new(child.wait_with_output().unwrap());
    run.stderr = rest;
    run.ended_with(130).says(&["interrupted", "the deployment d1 goes on", "note: deployment d0 still serves at"]);
}
