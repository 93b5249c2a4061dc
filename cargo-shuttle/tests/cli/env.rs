//! `[env]` in `Shuttle.toml`, and `env`.

use serde_json::json;

use crate::support::{Project, Server, Shuttle};

#[test]
fn variables_of_the_file_are_sent_with_the_deployment() {
    let (project, server) = (Project::new(), Server::start());
    project.write("app/Shuttle.toml", "[env]\nRUST_LOG = \"debug\"\nEMPTY = \"\"\n");
    let deploy = || Shuttle::new(&project, &server, &["deploy", "--no-follow"]).run().ended_with(0);
    deploy();
    let first = server.archive();
    assert_eq!(json!(first.index().env), json!({ "EMPTY": "", "RUST_LOG": "debug" }));
    // Another value is another deployment.
    project.write("app/Shuttle.toml", "[env]\nRUST_LOG = \"trace\"\nEMPTY = \"\"\n");
    deploy();
    assert_ne!(server.archive().bytes, first.bytes);
}

#[test]
fn variables_that_cannot_be_are_refused_before_anything_is_sent() {
    let (project, server) = (Project::new(), Server::start());
    for (text, parts) in [
        ("[env]\nA = \"1\"\nPORT = 8080\n", ["Shuttle.toml:3: `env.PORT` has to be a string", "PORT = \"…\""]),
        (
            "[env]\nLD_PRELOAD = \"/x.so\"\n",
            ["Shuttle.toml:2: the environment variable `LD_PRELOAD` cannot be set", "how the app is loaded"],
        ),
        ("[env]\nPORT = \"8080\"\n", ["`PORT` cannot be set", "gives an app its listening socket"]),
        ("[env]\n\"a.b\" = \"1\"\n", ["`a.b` cannot be the name of an environment variable", "A-Z"]),
    ] {
        project.write("app/Shuttle.toml", text);
        Shuttle::new(&project, &server, &["deploy"]).run().ended_with(3).says(&parts);
    }
    assert_eq!(server.uploads(), 0);
}

#[test]
fn variables_of_the_project_are_set_listed_and_unset() {
    let (project, server) = (Project::new(), Server::start());
    server.has_deployed(&[("RUST_LOG", "info"), ("TZ", "UTC")]);
    let run = |arguments: &[&str]| Shuttle::new(&project, &server, arguments).run();
    let set = run(&["env", "set", "RUST_LOG=debug", "URL=https://example.com/?a=b", "EMPTY="]).ended_with(0);
    set.says(&["Set EMPTY, RUST_LOG, URL for my-app, from its next start on", "cargo shuttle restart"]);
    let listed = run(&["env", "list"]).ended_with(0).stdout;
    let expected = "EMPTY=  (set)\nRUST_LOG=debug  (set, instead of Shuttle.toml's)\nTZ=UTC  (from Shuttle.toml)\nURL=https://example.com/?a=b  (set)\n";
    assert_eq!(listed, expected);

    let unset = run(&["env", "unset", "RUST_LOG", "EMPTY", "--output", "json"]).ended_with(0);
    assert_eq!(unset.json()["project"], json!({ "URL": "https://example.com/?a=b" }));
    unset.says(&["Unset RUST_LOG, EMPTY for my-app", "RUST_LOG is still set by [env] in Shuttle.toml"]);
    let listed = run(&["env", "list", "--name", "my-app", "--output", "json"]).ended_with(0).json();
    assert_eq!(listed["deployment"], json!({ "RUST_LOG": "info", "TZ": "UTC" }));
}

#[test]
fn a_variable_that_cannot_be_set_is_wrong_usage() {
    let (project, server) = (Project::new(), Server::start());
    for (argument, part) in [
        ("RUST_LOG", "cargo shuttle env set RUST_LOG=VALUE"),
        ("1A=x", "cannot be the name of an environment variable"),
        ("GLIBC_TUNABLES=x", "the platform sets it"),
        ("SHUTTLE_X=y", "names with this beginning are the platform's"),
    ] {
        Shuttle::new(&project, &server, &["env", "set", argument]).run().ended_with(2).says(&[part]);
    }
}
