//! A server that is killed while it builds loses nothing and leaves nothing running.

use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStderr, Stdio},
    time::Instant,
};

use reqwest::{Method, StatusCode};
use tar::EntryType;

use crate::{
    app::App,
    hostile::{archive, index, upload},
    platform::{PATIENCE, PAUSE, Platform},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_on_after_the_server_was_killed_in_its_build() {
    // Only root can mount a disk.
    let has_disk = rustix::process::geteuid().is_root();
    let mut platform = if has_disk { Platform::start_on_disk_of("6g") } else { Platform::start(&[]) };
    let other = archive(&[
        (EntryType::Regular, "shuttle.json", &index()),
        (EntryType::Regular, "Cargo.toml", "no manifest"),
        (EntryType::Regular, "Cargo.lock", "version = 4"),
    ]);
    let (status, other) = upload(&platform, other).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{other}");
    platform.events_until(other["id"].as_str().unwrap(), "\"finished\"", 1).await;
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

    // Killed with an app that runs: the app dies with its server, and is served again, beside one that cannot be read.
    platform.kill();
    platform.assert_no_process_left();
    let spoil = "UPDATE deployment SET state = 'queued', failure = NULL, archive_index = '{}' WHERE seq = 1";
    change_database(&platform, spoil);
    platform.start_again();
    assert!(health(&platform).await.contains("cannot be read"), "{}", platform.server_log());
    let listed = platform.api(Method::GET, "/projects").send().await.unwrap().text().await.unwrap();
    assert!(listed.contains("the server cannot read") && listed.contains(r#""state":"deployed""#), "{listed}");
    assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));
    let status = platform.api(Method::GET, "/projects/hello-axum").send().await.unwrap().text().await.unwrap();
    assert!(status.contains(r#""state":"deployed""#), "{status}");

    // Of what a loss of power may take, all is made again from the archive; so is what somebody removes meanwhile.
    platform.kill();
    let data = platform.seen_data();
    let deployment = std::fs::read_dir(data.join("deployments")).unwrap().flatten().map(|entry| entry.path()).max().unwrap();
    // Its place is counted from the folder that the app and the SDK are in, wherever that is.
    let source = std::fs::canonicalize(app.file("src/lib.rs")).unwrap();
    let places = source.ancestors().map(|folder| deployment.join("files").join(source.strip_prefix(folder).unwrap()));
    let file = places.filter(|place| place.is_file()).last().unwrap();
    std::fs::write(&file, "").unwrap();
    let artifacts = || std::fs::read_dir(data.join("artifacts")).unwrap().flatten().map(|entry| entry.path());
    let artifact = artifacts().next().unwrap();
    std::fs::File::options().write(true).open(&artifact).unwrap().set_len(1000).unwrap();
    std::fs::write(data.join("running"), "an earlier start of the machine").unwrap();
    platform.start_again();
    platform.get_until("hello-axum", "/", |status, body| status == 200 && body == "Hello, world!").await;
    assert!(!std::fs::read_to_string(&file).unwrap().is_empty());
    platform.kill_and_start_again();
    assert_eq!(platform.get("hello-axum", "/").await.0, 200);
    artifacts().for_each(|artifact| std::fs::remove_file(artifact).unwrap());
    std::fs::remove_dir_all(deployment.join("files")).unwrap();
    platform.kill_program("platform-runner");
    platform.get_until("hello-axum", "/", |status, body| status == 200 && body == "Hello, world!").await;
    assert!(artifacts().next().is_some() && file.exists(), "{}", platform.server_log());

    if has_disk {
        platform.fill_disk();
        platform.kill();
        platform.start_again();
        assert!(health(&platform).await.contains("disk is full"), "{}", platform.server_log());
        assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));
        // Once more, with nothing freed meanwhile.
        platform.stop_and_start_again();
        assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));
        let deleted = platform.api(Method::DELETE, "/projects/hello-axum").send().await.unwrap();
        assert_eq!(deleted.status(), StatusCode::OK, "{}", deleted.text().await.unwrap());
        let begun = Instant::now();
        while health(&platform).await.contains("disk is full") {
            assert!(begun.elapsed() < PATIENCE, "deleting it has freed nothing: {}", platform.server_log());
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Changes a row in the database of a server that does not run.
fn change_database(platform: &Platform, sql: &str) {
    // SQLite would resolve the way to the disk, which is no link to a path.
    let (data, copy) = (platform.seen_data(), tempfile::tempdir().unwrap());
    let files = ["platform.db", "platform.db-wal"].map(|name| (data.join(name), copy.path().join(name)));
    for (file, copy) in &files {
        let _ = std::fs::copy(file, copy);
    }
    let database = rusqlite::Connection::open(&files[0].1).unwrap();
    assert_eq!(database.execute(sql, []).unwrap(), 1);
    database.close().unwrap();
    std::fs::copy(&files[0].1, &files[0].0).unwrap();
    for name in ["platform.db-wal", "platform.db-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
}

async fn health(platform: &Platform) -> String {
    platform.api(Method::GET, "/healthz").send().await.unwrap().text().await.unwrap()
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
