//! What the CLI writes into a project, and when: nothing before all that could refuse the deployment has been asked.

use platform_wire::ErrorCode;

use crate::support::{Project, Server, Shuttle};

#[test]
fn a_deployment_that_is_refused_leaves_no_trace() {
    let project = Project::new();
    let run = |arguments: &[&str], server: &Server, code: i32| {
        Shuttle::new(&project, server, &[&["deploy", "--no-follow", "--name", "other"], arguments].concat())
            .run()
            .ended_with(code);
        for file in ["Shuttle.toml", "Cargo.lock"] {
            assert!(!project.app().join(file).exists(), "{file} after {arguments:?}");
        }
    };
    let server = Server::start();
    // Secrets that are none, a file that is not committed, a link to nothing, and no server at all.
    project.write("app/Secrets.toml", "A = 1\n");
    run(&["--allow-dirty"], &server, 3);
    std::fs::remove_file(project.app().join("Secrets.toml")).unwrap();
    project.write("app/.gitignore", "Cargo.lock\n").commit("app").write("app/new.txt", "");
    run(&[], &server, 3);
    project.link("nowhere", "app/link");
    run(&["--allow-dirty"], &server, 3);
    std::fs::remove_file(project.app().join("link")).unwrap();
    let gone = format!("http://{}", std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    run(&["--allow-dirty", "--api-url", &gone], &server, 4);
    assert_eq!(server.uploads(), 0);
}

#[test]
fn the_name_is_written_when_the_server_has_taken_the_upload_that_has_it() {
    let (project, server) = (Project::new(), Server::start());
    server.refuses_uploads(507, ErrorCode::DiskFull, "the server's disk is full");
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--name", "other"]).run().ended_with(6);
    assert!(!project.app().join("Shuttle.toml").exists());

    let server = Server::start();
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--name", "other"]).run().ended_with(0).says(&["Named other"]);
    assert_eq!(project.read("app/Shuttle.toml"), "name = \"other\"\n");
    assert_eq!(server.archive().text("app/Shuttle.toml"), "name = \"other\"\n");
    // The next archive is the same.
    let first = server.archive().bytes;
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    assert_eq!(server.archive().bytes, first);
}

#[test]
fn a_lockfile_that_has_to_change_is_a_change_and_is_not_written_for_a_refusal() {
    let (project, server) = (Project::new(), Server::start());
    Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0).says(&["Locked dependencies in"]);
    let manifest = project.read("app/Cargo.toml");
    let before = project.read("app/Cargo.lock");
    project.write("more/Cargo.toml", "[package]\nname = \"more\"\nversion = \"1.0.0\"\n").write("more/src/lib.rs", "");
    project.write("app/Cargo.toml", &manifest.replace("[dependencies]", "[dependencies]\nmore = { path = \"../more\" }"));
    project.commit("app");
    let run = Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(3);
    run.says(&["is not committed", "Cargo.lock"]);
    assert_eq!(project.read("app/Cargo.lock"), before);
    Shuttle::new(&project, &server, &["deploy", "--no-follow", "--allow-dirty"]).run().ended_with(0);
    assert!(project.read("app/Cargo.lock").contains("\"more\""));
    assert_eq!(server.archive().text("app/Cargo.lock"), project.read("app/Cargo.lock"));
}
