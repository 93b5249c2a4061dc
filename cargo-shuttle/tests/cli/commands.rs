//! The other commands, configuration, and the rules that all of them share.

use std::os::unix::fs::PermissionsExt as _;

use platform_wire::{BuildKind, ErrorCode, LaterBuild, Resource, ServiceKind, Serving, State};

use crate::support::{KEY, Project, Server, Shuttle, deployment};

fn known() -> platform_wire::Project {
    platform_wire::Project {
        name: "my-app".parse().unwrap(),
        url: "http://my-app.localhost:8000".into(),
        created_at_ms: 0,
        serving: Some(Serving {
            deployment: "d1".into(),
            instance: "running".into(),
            restarts: 0,
            kind: ServiceKind::Http,
            build: BuildKind::Fast,
            optimised: Some(LaterBuild::Ready),
        }),
        latest: Some(deployment("d1", State::Deployed)),
        resources: vec![Resource { name: "pool".into(), kind: "postgres".into() }],
        env: Vec::new(),
        origin: platform_wire::Origin::default(),
    }
}

const LINE: &str = r#"{"time_ms":1767225600000,"level":"info","source":"stdout","deployment":"d1","message":"hello"}"#;

#[test]
fn status_shows_what_serves() {
    let (project, server) = (Project::new(), Server::start());
    let run = Shuttle::new(&project, &server, &["status", "--output", "json"]).run().ended_with(6);
    assert_eq!(run.json()["error"]["code"], "not_found");
    run.says(&["cargo shuttle deploy"]);

    server.has_project(known());
    let run = Shuttle::new(&project, &server, &["status"]).run().ended_with(0);
    assert!(run.stdout.contains("http://my-app.localhost:8000") && run.stdout.contains("postgres (pool)"), "{}", run.stdout);
    let json = Shuttle::new(&project, &server, &["status", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["serving"]["deployment"], "d1");
    assert_eq!(json["serving"]["optimised"]["state"], "ready");
    let build = "Build      fast; optimised from the next start on, or now: cargo shuttle restart";
    assert!(run.stdout.contains(build), "{}", run.stdout);
}

#[test]
fn a_restart_says_what_serves_then() {
    let (project, server) = (Project::new(), Server::start());
    let mut restarted = known();
    restarted.serving.as_mut().unwrap().build = BuildKind::Optimised;
    server.has_project(restarted);
    let run = Shuttle::new(&project, &server, &["restart"]).run().ended_with(0).says(&["from the optimised build"]);
    assert_eq!(run.stdout, "http://my-app.localhost:8000\n");
    let json = Shuttle::new(&project, &server, &["restart", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json["serving"]["build"], "optimised");
    server.refuses_restarts(422, ErrorCode::NotStarted, "the app did not start: it panicked");
    let run = Shuttle::new(&project, &server, &["restart"]).run().ended_with(8).says(&["the app did not start: it panicked"]);
    assert_eq!(run.stderr.lines().last(), Some("note: deployment d1 still serves at http://my-app.localhost:8000"));
    server.refuses_restarts(409, ErrorCode::Conflict, "nothing of `my-app` is deployed");
    let run = Shuttle::new(&project, &server, &["restart"]).run().ended_with(6);
    assert!(!run.stderr.contains("note:"), "{}", run.stderr);
}

#[test]
fn projects_are_lines_or_one_document() {
    let (project, server) = (Project::empty(), Server::start());
    let run = Shuttle::new(&project, &server, &["project", "list"]).run().ended_with(0).says(&["Nothing is deployed on"]);
    assert_eq!(run.stdout, "");
    server.has_project(known());
    let run = Shuttle::new(&project, &server, &["project", "list"]).run().ended_with(0);
    let words: Vec<Vec<_>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["NAME", "STATE", "LAST", "DEPLOYMENT", "URL"]);
    assert_eq!(words[1][..2], ["my-app", "running"]);
    assert_eq!(words[1].last(), Some(&"http://my-app.localhost:8000"));
    let json = Shuttle::new(&project, &server, &["project", "list", "--output", "json"]).run().ended_with(0).json();
    assert_eq!((&json[0]["name"], &json[0]["serving"]["deployment"]), (&"my-app".into(), &"d1".into()));
}

#[test]
fn lines_of_a_failed_deployment_are_marked_and_one_can_be_chosen() {
    let (project, server) = (Project::new(), Server::start());
    server.has_logs(&format!("[{LINE},{}]", LINE.replace("\"d1\"", "\"d000002222222\"")));
    server.has_deployments(&[deployment("d000002222222", State::Error), deployment("d1", State::Deployed)]);
    let run = Shuttle::new(&project, &server, &["logs"]).run().ended_with(0);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines[0], "2026-01-01T00:00:00.000Z d1     INFO  stdout   hello");
    assert_eq!(lines[1], "2026-01-01T00:00:00.000Z 222222 (failed) INFO  stdout   hello");

    Shuttle::new(&project, &server, &["logs", "--deployment", "222222"]).run().ended_with(0);
    assert_eq!(server.log_queries().last().unwrap()["deployment"], "222222");
    server.has_logs("[]");
    let run = Shuttle::new(&project, &server, &["logs", "--deployment", "d7"]).run().ended_with(0);
    run.says(&["Nothing was logged yet by deployment d7"]);
}

#[test]
fn a_deployment_that_fails_while_its_lines_are_followed_is_marked_from_then_on() {
    let (project, server) = (Project::new(), Server::start());
    server.had_deployments(&[deployment("d1", State::Loaded)]).has_deployments(&[deployment("d1", State::Error)]);
    server.streams_until_listed(format!("data: {LINE}\n\n"), 2);
    let run = Shuttle::new(&project, &server, &["logs", "-f", "--reconnect", "1"]).run().ended_with(9);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines[0], "2026-01-01T00:00:00.000Z d1     INFO  stdout   hello");
    assert_eq!(lines.last().unwrap(), &"2026-01-01T00:00:00.000Z d1     (failed) INFO  stdout   hello");
    // Not with every line, and not once it is known.
    assert!(lines.len() > 4, "{}", run.stdout);
    assert_eq!(server.listings(), 2);
}

#[test]
fn a_command_of_other_days_is_answered_with_what_there_is() {
    let project = Project::empty();
    for (arguments, hint) in [
        (&["init"][..], "cargo new --lib"),
        (&["run", "--port", "80"], "platform-server serve"),
        (&["stop"], "cargo shuttle delete"),
        (&["list"], "cargo shuttle project list"),
        (&["resource", "list"], "cargo shuttle status"),
        (&["deploi"], "did you mean `cargo shuttle deploy`?"),
    ] {
        let run = Shuttle::bare(&project, arguments).run().ended_with(2);
        run.says(&[&format!("error: there is no command `cargo shuttle {}`", arguments[0]), "hint: ", hint]);
    }
    Shuttle::bare(&project, &["project"]).run().ended_with(2).says(&["List the server's projects"]);
}

#[test]
fn nothing_is_wrapped_for_a_pipe_and_no_command_for_a_terminal() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Cargo.toml", &project.read("app/Cargo.toml").replace("my-app", "My_App"));
    let command = "`cargo shuttle deploy --name my-app`";
    let run = Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3);
    let said: Vec<_> = run.stderr.lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(matches!(said[..], [error, hint] if error.starts_with("error: ") && hint.starts_with("hint: ")), "{}", run.stderr);
    let run = Shuttle::new(&project, &server, &["deploy"]).on_terminal().end().ended_with(3);
    let lines: Vec<String> = run.stderr.lines().map(console_text).collect();
    assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains(command)), "{lines:#?}");
}

#[test]
fn progress_is_broken_between_words_on_a_terminal() {
    let (project, server) = (Project::new(), Server::start());
    let run = Shuttle::new(&project, &server, &["deploy", "--no-follow"]).on_terminal().end().ended_with(0);
    let lines: Vec<String> = run.stderr.lines().map(console_text).collect();
    let locked = lines.iter().position(|line| line.trim_start().starts_with("Locked dependencies in")).unwrap();
    let said: Vec<_> = lines[locked..].iter().take_while(|line| !line.contains("Packed")).map(|line| line.trim()).collect();
    assert!(said.len() > 1 && said.join(" ").ends_with("commit this file, so that they stay the same"), "{lines:#?}");
    // A path that is longer than the terminal is wide is not broken by the CLI.
    assert!(lines.iter().all(|line| line.chars().count() <= 80 || line.trim().contains("Cargo.lock")), "{lines:#?}");
    let run = Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    assert!(run.stderr.lines().all(|line| line.starts_with(' ')), "{}", run.stderr);
}

/// A line as it stands on a terminal: without escape sequences.
fn console_text(line: &str) -> String {
    let mut text = String::new();
    let mut letters = line.trim_end_matches('\r').chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().skip(1).find(|end| ('@'..='~').contains(end));
        } else {
            text.push(letter);
        }
    }
    // What stood there before a bar was cleared.
    text.rsplit('\r').next().unwrap_or_default().to_owned()
}

#[test]
fn logs_are_lines_or_one_document() {
    let (project, server) = (Project::new(), Server::start());
    server.has_logs(&format!("[{LINE},{LINE}]"));
    let run = Shuttle::new(&project, &server, &["logs", "--tail", "2"]).run().ended_with(0);
    assert_eq!(run.stdout, "2026-01-01T00:00:00.000Z d1     INFO  stdout   hello\n".repeat(2));
    let json = Shuttle::new(&project, &server, &["logs", "--output", "json"]).run().ended_with(0).json();
    assert_eq!(json.as_array().unwrap().len(), 2);
    server.has_logs("[]");
    let run = Shuttle::new(&project, &server, &["logs"]).run().ended_with(0).says(&["Nothing was logged yet"]);
    assert_eq!(run.stdout, "");
}

#[test]
fn followed_logs_are_resumed_and_have_one_object_a_line() {
    let (project, server) = (Project::new(), Server::start());
    server.streams(format!("id: 7\ndata: {LINE}\n\n: open\n\n")).streams(format!("id: 8\ndata: {LINE}\n\n"));
    let arguments = ["logs", "-f", "--reconnect", "1", "--output", "json"];
    let run = Shuttle::new(&project, &server, &arguments).run().ended_with(9);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", run.stdout);
    for line in &lines[..2] {
        assert_eq!(*line, LINE);
    }
    assert_eq!(server.resumed_from()[..3], [None, Some("7".to_owned()), Some("8".to_owned())]);
}

#[test]
fn delete_asks_unless_told_not_to() {
    let (project, server) = (Project::new(), Server::start());
    server.has_project(known());
    let run = Shuttle::new(&project, &server, &["delete"]).stdin("my-app\n").run().ended_with(2);
    run.says(&["no terminal to ask on", "--yes"]);
    assert!(server.deleted().is_empty());
    let run = Shuttle::new(&project, &server, &["delete", "--yes"]).run().ended_with(0);
    run.says(&["Deleted my-app", "postgres (pool)", "is kept"]);
    let run = Shuttle::new(&project, &server, &["delete", "--yes", "--name", "other", "--output", "json"]).run().ended_with(0);
    assert_eq!(run.json()["kept"][0]["type"], "postgres");
    assert_eq!(server.deleted(), ["my-app", "other"]);
}

#[test]
fn a_name_that_was_set_is_read_by_every_command() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Shuttle.toml", "# ours\nname = \"old\"\n");
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--name", "renamed"]).run().ended_with(0);
    assert_eq!(server.archive().project, "renamed");
    assert_eq!(project.read("app/Shuttle.toml"), "# ours\nname = \"renamed\"\n");
    assert!(server.archive().names().contains(&"app/Shuttle.toml".to_owned()));
    Shuttle::new(&project, &server, &["delete", "--yes"]).run().ended_with(0);
    assert_eq!(server.deleted(), ["renamed"]);
}

#[test]
fn login_remembers_a_server_that_takes_the_key() {
    let (project, server) = (Project::new(), Server::start());
    let login = Shuttle::bare(&project, &["login", "--api-url", &server.url]).stdin("wrong\n");
    let home = login.home();
    login.run().ended_with(5);
    assert!(!home.join("config").exists());

    let config = tempfile::tempdir().unwrap();
    let with_config = |arguments: &[&str]| Shuttle::bare(&project, arguments).env("XDG_CONFIG_HOME", config.path());
    with_config(&["login", "--api-url", &server.url]).stdin(&format!("{KEY}\n")).run().ended_with(0);
    let file = config.path().join("cargo-shuttle/config.toml");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    server.has_project(known());
    with_config(&["status"]).run().ended_with(0);
    // The remembered key stays with its server.
    let other = Server::start();
    with_config(&["status", "--api-url", &other.url]).run().ended_with(5).says(&["there is no key for"]);
}

#[test]
fn wrong_usage_is_json_where_json_is_wanted() {
    let project = Project::new();
    let run = Shuttle::bare(&project, &["deploi", "--output", "json"]).run().ended_with(2);
    assert_eq!(run.json()["error"]["code"], "usage");
    let run = Shuttle::bare(&project, &["deploi"]).run().ended_with(2);
    assert_eq!(run.stdout, "");
}

#[test]
fn help_documents_the_exit_codes() {
    let run = Shuttle::bare(&Project::empty(), &["deploy", "--help"]).run().ended_with(0);
    assert!(run.stdout.contains("Exit codes:") && run.stdout.contains("--allow-dirty"), "{}", run.stdout);
}

#[test]
fn a_server_that_is_none_is_told_from_one_that_refuses() {
    let (project, server) = (Project::new(), Server::start());
    // There is no JSON behind this path: as if --api-url named something else.
    let url = format!("{}/elsewhere", server.url);
    let run = Shuttle::new(&project, &server, &["status"]).env("SHUTTLE_API", url).run().ended_with(6);
    run.says(&["no platform-server answers", "--api-url"]);
}
