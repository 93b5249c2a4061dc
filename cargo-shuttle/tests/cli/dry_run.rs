//! `deploy --dry-run`: what would be sent, without a server.

use crate::support::{Project, Server, Shuttle};

fn project() -> Project {
    let project = Project::new();
    project
        .write("app/.env", "s3cret")
        .write("app/Secrets.toml", "A = \"s3cret\"\n")
        .write("app/target/debug/app", "")
        .write("app/data.txt", &"x".repeat(2048));
    project
}

#[test]
fn files_are_listed_with_their_sizes_and_nothing_is_written() {
    let project = project();
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--name", "another"]).run().ended_with(0);
    let lines: Vec<_> = run.stdout.lines().collect();
    assert!(lines.contains(&"   2.00 KiB  app/data.txt"), "{}", run.stdout);
    assert!(lines.iter().any(|line| line.ends_with(" B  sdk/src/lib.rs")), "{}", run.stdout);
    assert!(!run.stdout.contains("Secrets") && !run.stdout.contains(".env") && !run.stderr.contains("s3cret"), "{}", run.stdout);
    run.says(&[
        "Secrets 1 from Secrets.toml",
        "Left out .env, which holds secrets",
        "Left out Secrets.toml, which holds secrets",
        "Left out target, which is built",
        "Cargo.lock would be made",
        "Would send 5 files,",
        "As project another; nothing was sent",
    ]);
    for file in ["Cargo.lock", "Shuttle.toml"] {
        assert!(!project.app().join(file).exists(), "{file}");
    }
}

#[test]
fn json_says_what_is_uploaded_then() {
    let (project, server) = (project(), Server::start());
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    let run = Shuttle::bare(&project, &["deploy", "--dry-run", "--output", "json"]).run().ended_with(0);
    let json = run.json();
    let listed: Vec<_> = json["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    let archive = server.archive();
    assert_eq!(listed, archive.names()[1..]);
    assert_eq!(json["archive_bytes"], archive.bytes.len());
    assert_eq!(json["project"], "my-app");
    let left_out: Vec<_> = json["left_out"].as_array().unwrap().iter().map(|one| (&one["path"], &one["reason"])).collect();
    let expected =
        [(".env", "secret"), ("Secrets.toml", "secret"), ("target", "built")].map(|(path, why)| (path.into(), why.into()));
    assert_eq!(left_out, expected.each_ref().map(|(path, why): &(serde_json::Value, serde_json::Value)| (path, why)));
}

#[test]
fn a_refusal_is_foretold() {
    let project = project();
    project.write("app/.gitignore", "/target\n").commit("app");
    project.write("app/data.txt", "changed");
    let run = Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(0);
    run.says(&["warning: this would be refused", "data.txt", "--allow-dirty"]);
    project.write("app/src/lib.rs", "");
    Shuttle::bare(&project, &["deploy", "--dry-run"]).run().ended_with(3).says(&["no function under"]);
}
