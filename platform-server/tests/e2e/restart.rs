//! A server that is killed while it builds loses nothing and leaves nothing running.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr, Stdio},
};

use reqwest::{Method, StatusCode};
use tar::EntryType;

use crate::{
    app::App,
    hostile::{archive, index, upload},
    platform::Platform,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_on_after_the_server_was_killed_in_its_build() {
    let mut platform = Platform::start(&[]);
    let app = App::copy_of("hello-axum");
    let mut cli =
        platform.command(app.path(), &["deploy", "--allow-dirty"]).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(cli.stderr.take().unwrap()).lines();
    let compiling = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("Compiling") && line.contains('/')));
    assert!(compiling.is_some(), "it compiles something");
    platform.kill();
    platform.assert_no_process_left();
    platform.start_again();
    // The CLI connects again by itself and sees the end.
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert!(cli.wait().unwrap().success(), "{rest:?}\n{}", platform.server_log());
    assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));

    // Killed with an app that runs: the app dies with its server, and is served again.
    platform.kill();
    platform.assert_no_process_left();
    platform.start_again();
    assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));
    let status = platform.api(Method::GET, "/projects/hello-axum").send().await.unwrap().text().await.unwrap();
    assert!(status.contains(r#""state":"deployed""#), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_lost_its_server_says_so_and_the_deployment_is_found_again() {
    let mut platform = Platform::start(&[]);
    let app = App::copy_of("hello-axum");
    let (mut cli, said) = deploy_until_it_compiles(&platform, &app, &["deploy", "--allow-dirty", "--reconnect", "0"]);
    platform.kill();
    let rest: Vec<String> = said.map_while(Result::ok).collect();
    assert_eq!(cli.wait().unwrap().code(), Some(9), "{rest:?}");
    // The CLI wraps its lines.
    let said = rest.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("cargo shuttle status"), "{said}");
    platform.start_again();
    let status = platform.shuttle(app.path(), &["status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["latest"]["state"], "queued", "{status}");
    assert!(platform.shuttle(app.path(), &["delete", "--yes"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_under_which_the_server_ended_twice_is_not_taken_up_again() {
    let mut platform = Platform::start(&[]);
    let index = index();
    let files = [
        ("shuttle.json", index.as_str()),
        ("Cargo.toml", "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
        ("Cargo.lock", "version = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n"),
        ("src/lib.rs", ""),
        // Its build does not end by itself.
        ("build.rs", "fn main() { loop { std::thread::park() } }"),
    ];
    let body = archive(&files.map(|(path, content)| (EntryType::Regular, path, content)));
    let (status, deployment) = upload(&platform, body).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{deployment}");
    let id = deployment["id"].as_str().unwrap();
    let is_compiled = "\"stage\":\"compile\"";
    platform.events_until(id, is_compiled, 1).await;
    // One that stops as it should leaves it for the next start, however often.
    for start in 2..=4 {
        platform.stop_and_start_again();
        platform.events_until(id, is_compiled, start).await;
    }
    platform.kill_and_start_again();
    platform.events_until(id, is_compiled, 5).await;
    platform.kill_and_start_again();
    let told = platform.events_until(id, "\"finished\"", 1).await;
    assert!(told.contains("2 servers ended while they worked on this deployment") && told.contains("deploy again"), "{told}");
    let status = platform.api(Method::GET, &format!("/deployments/{id}")).send().await.unwrap().text().await.unwrap();
    assert!(status.contains(r#""state":"error""#) && status.contains(r#""kind":"internal""#), "{status}");
}

/// Starts the CLI and gives what it goes on to say once the compiler is at work.
fn deploy_until_it_compiles(platform: &Platform, app: &App, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStderr>>) {
    let mut cli = platform.command(app.path(), arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(cli.stderr.take().unwrap()).lines();
    let compiling = said.find(|line| line.as_ref().is_ok_and(|line| line.contains("Compiling") && line.contains('/')));
    assert!(compiling.is_some(), "it compiles something");
    (cli, said)
}
