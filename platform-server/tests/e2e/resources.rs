//! What parameters ask for and what settings say is there, or is refused. One small app, changed again and again, so that
//! its dependencies are compiled once.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Stdio, time::Instant};

use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    app::App,
    connections::{
        a_database_that_hangs_is_not_waited_for, restarts_do_not_run_out_of_connections, strangers_take_no_place_of_an_app,
    },
    platform::{PATIENCE, Platform, text},
};

const MANIFEST: &str = r#"
[package]
name = "resources"
version = "0.1.0"
edition = "2024"

[dependencies]
axum = { version = "0.8", default-features = false, features = ["http1", "tokio"] }
shuttle-service = { path = "{repository}/shuttle-service", features = ["axum", "tokio-postgres"] }
tokio = { version = "1", features = ["signal", "time"] }
tokio-postgres = { version = "0.7", default-features = false, features = ["runtime"] }

[workspace]
"#;

const SOURCE: &str = r##"
use std::{fs, io::{Read, Write}, os::unix::net::UnixStream, sync::{Arc, Mutex, atomic::{AtomicUsize, Ordering}}, time::Duration};

use axum::{Router, http::StatusCode, routing::{any, get}};
use shuttle_service::{Error, Metadata, PersistDir, Postgres, Redis, SecretStore};
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::{Client, NoTls};

#[shuttle_service::main(health_path = "/healthy?deep=1", always_on = true, instances = 1)]
async fn app(
    #[shared::Secrets(required = ["WORD", "NUMBER"])] secrets: SecretStore,
    folder: PersistDir,
    metadata: Metadata,
    first: Client,
    #[shared::Postgres(name = "second", extensions = ["pgcrypto"])] second: Client,
    cache: Redis,
    #[shared::Redis(name = "second")] other: Redis,
    plain: Postgres,
) -> Result<Router, Error> {
    let last = folder.join("last");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        // More than what is left running has otherwise.
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::write(last, "").unwrap();
        std::process::exit(0);
    });
    let sockets = format!("{} {}", path_and_password(&cache).0, plain.host().unwrap_or_default());
    let (here, goes) = (folder.join("here"), folder.join("go"));
    let number: u8 = secrets.require("NUMBER")?;
    let said = format!("{} {number}", secrets.require::<String>("WORD")?);
    let about = format!("{} {} {}", metadata.project(), metadata.environment(), metadata.deployment());
    let databases = format!("{} {}", database(&first).await?, database(&second).await?);
    let digest: String = second.query_one("SELECT encode(digest('a', 'sha256'), 'hex')", &[]).await?.get(0);
    let caches = format!("{} {}", remember(&cache, "one")?, remember(&other, "two")?) + &recall(&cache)?;
    let asked = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let (healthy, elsewhere, both) = (asked.clone(), asked.clone(), asked);
    Ok(Router::new()
        .route("/healthy", get(async move || { healthy.0.fetch_add(1, Ordering::Relaxed); StatusCode::NO_CONTENT }))
        .route("/asked", get(async move || format!("{:?}", both)))
        .route("/said", get(async move || said))
        .route("/about", get(async move || about))
        .route("/databases", get(async move || databases))
        .route("/digest", get(async move || digest))
        .route("/caches", get(async move || caches))
        .route("/variables", get(async || ["RUST_BACKTRACE", "GREETING", "TZ", "LANG"].map(|name| std::env::var(name).unwrap_or("-".into())).join(" ")))
        .route("/visits", get(async move || visit(&folder)))
        .route("/sockets", get(async move || sockets))
        .route("/fill", get(async move || fill(plain.url()).await))
        .route("/slow", get(async move || {
            fs::write(here, "").unwrap();
            while !goes.exists() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            "done"
        }))
        .fallback(any(async move || { elsewhere.1.fetch_add(1, Ordering::Relaxed); StatusCode::NOT_FOUND })))
}

async fn database(client: &Client) -> Result<String, Error> {
    Ok(client.query_one("SELECT current_database()::text", &[]).await?.get(0))
}

fn visit(folder: &PersistDir) -> String {
    let visits: u32 = fs::read_to_string(folder.join("visits")).map_or(0, |text| text.parse().unwrap()) + 1;
    fs::write(folder.join("visits"), visits.to_string()).unwrap();
    visits.to_string()
}

/// What a pool is that has been used by many at once.
async fn fill(url: &str) -> Result<&'static str, (StatusCode, String)> {
    static POOL: Mutex<Vec<Client>> = Mutex::new(Vec::new());
    for _ in 0..45 {
        let (client, connection) = tokio_postgres::connect(url, NoTls)
            .await
            .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")))?;
        tokio::spawn(connection);
        POOL.lock().unwrap().push(client);
    }
    Ok("full")
}

fn path_and_password(redis: &Redis) -> (&str, &str) {
    redis.url().trim_start_matches("redis+unix://").split_once("?pass=").unwrap()
}

fn say(redis: &Redis, command: &str) -> Result<String, Error> {
    let (path, password) = path_and_password(redis);
    let mut stream = UnixStream::connect(path)?;
    write!(stream, "AUTH {password}\r\n{command}\r\nQUIT\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn remember(redis: &Redis, word: &str) -> Result<String, Error> {
    Ok(if say(redis, &format!("SET word {word}"))? == "+OK\r\n+OK\r\n+OK\r\n" { "kept".into() } else { "lost".into() })
}

fn recall(redis: &Redis) -> Result<String, Error> {
    Ok(say(redis, "GET word")?.lines().filter(|line| line.chars().all(char::is_alphabetic)).collect())
}
"##;

const BACKGROUND: &str = r#"
use std::{fs, time::Duration};

use shuttle_service::{Background, Error, PersistDir, background};
use tokio::signal::unix::{SignalKind, signal};

#[shuttle_service::main]
async fn main(folder: PersistDir) -> Result<Background, Error> {
    let last = folder.join("last");
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        terminate.recv().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::write(last, "").unwrap();
        std::process::exit(0);
    });
    Ok(background(|mut shutdown| async move {
        let starts: u32 = fs::read_to_string(folder.join("starts")).map_or(0, |text| text.parse().unwrap()) + 1;
        fs::write(folder.join("starts"), starts.to_string())?;
        loop {
            if fs::remove_file(folder.join("end")).is_ok() {
                return Err("told to end".into());
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                () = &mut shutdown => return Ok(()),
            }
        }
    }))
}
"#;

/// Told to the app, and to be found nowhere else.
const WORD: &str = "the-word-that-nobody-else-may-read";

async fn put(platform: &Platform, project: &str, secrets: Value) -> Response {
    let path = format!("/projects/{project}/secrets");
    platform.api(Method::PUT, &path).body(json!({"secrets": secrets}).to_string()).send().await.unwrap()
}

pub(crate) async fn json_of(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

async fn status(platform: &Platform) -> Value {
    json_of(platform.api(Method::GET, "/projects/resources").send().await.unwrap()).await
}

async fn status_until(platform: &Platform, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let status = status(platform).await;
        if wanted(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status}\n{}", platform.server_log());
        tokio::task::yield_now().await;
    }
}

/// What was said, without the CLI's line breaks.
fn unwrapped(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resources_of_every_type_are_given_and_settings_honoured_or_refused() {
    let mut platform = Platform::start(&["--keep-deployments", "1", "--start-timeout", "20", "--database-timeout", "15"]);
    let app = App::of(MANIFEST, SOURCE);
    let said = unwrapped(&platform.deploy_fails(app.path(), 8));
    assert!(said.contains("NUMBER, WORD") && said.contains("Secrets.toml") && said.contains("`WORD = \"…\"`"), "{said}");
    assert_eq!(platform.get("resources", "/said").await.0, 404);

    let stored = put(&platform, "resources", json!({"WORD": WORD, "NUMBER": "7"})).await;
    assert_eq!(stored.status(), 200);
    assert_eq!(json_of(stored).await["count"], 2);
    platform.deploy(app.path());
    everything_is_there(&platform).await;
    let first = status(&platform).await["serving"]["deployment"].clone();
    no_file_holds_the_secret(&platform);
    a_database_that_hangs_is_not_waited_for(&platform).await;
    strangers_take_no_place_of_an_app(&platform).await;
    restarts_do_not_run_out_of_connections(&platform).await;

    the_file_of_secrets_is_sent(&platform, &app).await;
    assert_ne!(status(&platform).await["serving"]["deployment"], first);
    assert_eq!(platform.get("resources", "/visits").await.1, "2", "the folder outlives a deployment");
    variables_reach_the_app(&platform, &app).await;
    platform.kill_and_start_again();
    // The killed server's Postgres may take its time to end, and until then there is no other.
    let said = platform.get_until("resources", "/said", |status, _| status == 200).await;
    assert_eq!(said, "changed 8");
    assert_eq!(platform.get("resources", "/variables").await.1, "1 server UTC C.UTF-8", "as before the server was killed");
    assert_eq!(platform.get("resources", "/visits").await.1, "3");

    what_is_not_healthy_is_not_served(&platform, &app).await;
    what_cannot_be_honoured_is_refused(&platform, &app).await;
    a_background_service_runs_without_requests(&platform, &app).await;
    old_files_go(&platform).await;
    deleted_and_back(&platform, &app).await;
}

async fn everything_is_there(platform: &Platform) {
    assert_eq!(platform.get("resources", "/said").await, (200, format!("{WORD} 7")));
    let serving = status(platform).await;
    let deployment = serving["serving"]["deployment"].as_str().unwrap();
    assert_eq!(platform.get("resources", "/about").await.1, format!("resources production {deployment}"));
    assert_eq!(platform.get("resources", "/asked").await.1, "(1, 0)", "the first request went to the health path");
    let databases = platform.get("resources", "/databases").await.1;
    let (first, second) = databases.split_once(' ').unwrap();
    assert_ne!(first, second);
    assert!(platform.get("resources", "/digest").await.1.starts_with("ca978112ca1bbdcafac231b39a23dc4d"));
    assert_eq!(platform.get("resources", "/caches").await.1, "kept keptone");
    assert_eq!(platform.get("resources", "/visits").await.1, "1");
    let mut resources: Vec<String> = serving["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|resource| format!("{} {}", resource["type"].as_str().unwrap(), resource["name"].as_str().unwrap()))
        .collect();
    resources.sort();
    assert_eq!(resources, ["persist folder", "postgres first", "postgres second", "redis cache", "redis second"]);
    assert!(!serving.to_string().contains(WORD));
}

/// Neither the database nor a log nor an event, nor any other file of the server's.
fn no_file_holds_the_secret(platform: &Platform) {
    let (mut folders, mut seen) = (vec![platform.data()], 0);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                // What cargo compiled and Postgres' own tables have never seen it.
                if !path.ends_with("builds") && !path.ends_with("postgres") && !path.ends_with("cargo-home") {
                    folders.push(path);
                }
            } else if let Ok(content) = fs::read(&path) {
                seen += 1;
                let found = content.windows(WORD.len()).any(|part| part == WORD.as_bytes());
                assert!(!found, "{} holds a secret", path.display());
            }
        }
    }
    assert!(seen > 5);
    assert!(!platform.server_log().contains(WORD));
}

async fn the_file_of_secrets_is_sent(platform: &Platform, app: &App) {
    fs::write(app.file("Secrets.toml"), "WORD = \"changed\"\nNUMBER = \"8\"\n").unwrap();
    platform.deploy(app.path());
    assert_eq!(platform.get("resources", "/said").await, (200, "changed 8".to_owned()));
    fs::remove_file(app.file("Secrets.toml")).unwrap();
    // Without the file, what was sent last is meant.
    platform.deploy(app.path());
    assert_eq!(platform.get("resources", "/said").await, (200, "changed 8".to_owned()));
}

/// Those of `Shuttle.toml` come with the deployment; those of the project go before them, from the next start on.
async fn variables_reach_the_app(platform: &Platform, app: &App) {
    let variables = async || platform.get("resources", "/variables").await.1;
    assert_eq!(variables().await, "1 - - C.UTF-8", "backtraces are on");
    fs::write(app.file("Shuttle.toml"), "[env]\nGREETING = \"file\"\nTZ = \"UTC\"\n").unwrap();
    let before = status(platform).await["serving"]["deployment"].clone();
    platform.deploy(app.path());
    assert_ne!(status(platform).await["serving"]["deployment"], before, "another variable is another deployment");
    assert_eq!(variables().await, "1 file UTC C.UTF-8");

    let cli = |arguments: &[&str]| {
        let output = platform.shuttle(app.path(), arguments);
        assert!(output.status.success(), "{}", text(&output));
        unwrapped(&text(&output))
    };
    assert!(cli(&["env", "set", "GREETING=server", "RUST_BACKTRACE=full"]).contains("cargo shuttle restart"));
    assert_eq!(variables().await, "1 file UTC C.UTF-8", "not before the next start");
    cli(&["restart"]);
    assert_eq!(variables().await, "full server UTC C.UTF-8");
    assert!(cli(&["status"]).contains("Env GREETING, RUST_BACKTRACE, TZ"));
    cli(&["env", "unset", "RUST_BACKTRACE"]);
    assert!(cli(&["env", "list"]).contains("GREETING=server (set, instead of Shuttle.toml's) TZ=UTC (from Shuttle.toml)"));
    cli(&["restart"]);
    assert_eq!(variables().await, "1 server UTC C.UTF-8");
}

async fn what_is_not_healthy_is_not_served(platform: &Platform, app: &App) {
    app.edit("StatusCode::NO_CONTENT", "StatusCode::IM_A_TEAPOT");
    let said = unwrapped(&platform.deploy_fails(app.path(), 8));
    assert!(said.contains("health path /healthy?deep=1 it answered with status 418"), "{said}");
    app.edit(
        "StatusCode::NO_CONTENT",
        "if healthy.0.load(Ordering::Relaxed) < 3 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }",
    );
    platform.deploy(app.path());
    assert_eq!(platform.get("resources", "/asked").await.1, "(3, 0)", "503 is `not yet`");
}

async fn what_cannot_be_honoured_is_refused(platform: &Platform, app: &App) {
    let before = status(platform).await["serving"]["deployment"].clone();
    for (from, to, words) in [
        ("instances = 1", "memory = \"64 MiB\"", "`memory`"),
        ("\"pgcrypto\"", "\"file_fdw\"", "`file_fdw` is not one that an app may have here"),
    ] {
        app.edit(from, to);
        let output = platform.shuttle(app.path(), &["deploy", "--allow-dirty"]);
        let said = unwrapped(&text(&output));
        assert!(!output.status.success() && said.contains(words) && said.contains("hint"), "{to} should say {words}: {said}");
    }
    assert_eq!(status(platform).await["serving"]["deployment"], before, "what served still does");
    assert_eq!(platform.get("resources", "/said").await.0, 200);
}

async fn a_background_service_runs_without_requests(platform: &Platform, app: &App) {
    // As most such services are: a program.
    app.write_program(BACKGROUND);
    platform.deploy(app.path());
    let told = status(platform).await;
    assert_eq!((told["latest"]["state"].as_str(), told["serving"]["kind"].as_str()), (Some("deployed"), Some("background")));
    let response = platform.request(Method::GET, "resources", "/").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers()["x-shuttle-proxy"].to_str().unwrap()), (404, "background"));
    assert!(response.text().await.unwrap().contains("background service"));
    // It is the same folder, whatever the app is by now.
    let folder = persistent(platform);
    assert_eq!(fs::read_to_string(folder.join("starts")).unwrap(), "1");
    fs::write(folder.join("end"), "").unwrap();
    status_until(platform, |status| status["serving"]["restarts"] == 1 && status["serving"]["instance"] == "running").await;
    assert_eq!(platform.get("resources", "/").await.0, 404, "not held while it was started again");
}

/// The folder of the only project.
pub(crate) fn persistent(platform: &Platform) -> std::path::PathBuf {
    let folders: Vec<_> = fs::read_dir(platform.data().join("persist")).unwrap().flatten().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let (path, metadata) = (folders[0].path(), folders[0].metadata().unwrap());
    assert_eq!(metadata.mode() & 0o777, 0o700);
    let of_the_server = metadata.uid() == rustix::process::geteuid().as_raw();
    assert_ne!(of_the_server, rustix::process::geteuid().is_root(), "where the server is root, it is the app's");
    path
}

fn count(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Of all that was deployed, the serving one and one more have files.
async fn old_files_go(platform: &Platform) {
    let data = platform.data();
    let begun = Instant::now();
    while count(&data.join("deployments")) > 2 || count(&data.join("artifacts")) > 2 || count(&data.join("archives")) > 2 {
        assert!(begun.elapsed() < PATIENCE, "{}", platform.server_log());
        tokio::task::yield_now().await;
    }
    let listed = json_of(platform.api(Method::GET, "/projects/resources/deployments").send().await.unwrap()).await;
    let oldest = listed.as_array().unwrap().last().unwrap();
    assert_eq!(oldest["failure"]["kind"], "provision", "its row says what became of it: {oldest}");
    let events = format!("/deployments/{}/events", oldest["id"].as_str().unwrap());
    let events = platform.api(Method::GET, &events).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("\"finished\"") && events.contains("Secrets.toml"), "{events}");
}

async fn deleted_and_back(platform: &Platform, app: &App) {
    let mut follow = platform.command(app.path(), &["logs", "--follow"]);
    let follow = follow.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let followed = platform.api(Method::GET, "/projects/resources/logs?follow=true").send().await.unwrap();
    let last = persistent(platform).join("last");
    let _ = fs::remove_file(&last);
    let deleted = platform.shuttle(app.path(), &["delete", "--yes"]);
    assert!(last.exists(), "a program that handles SIGTERM has got it and had its time");
    assert!(deleted.status.success() && text(&deleted).contains("persist"), "it says what is kept: {}", text(&deleted));
    // Ends by itself; a client that asks again finds no such project.
    followed.text().await.unwrap();
    assert!(!follow.wait_with_output().unwrap().status.success());
    app.edit("health_path = \"/healthy?deep=1\", ", "");
    platform.deploy(app.path());
    assert_eq!(platform.get("resources", "/said").await, (200, "changed 8".to_owned()), "its newest secrets come back");
    assert_eq!(platform.get("resources", "/visits").await.1, "4");
}

/// A package that need not compile.
fn archive() -> Vec<u8> {
    let index = json!({"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
        "sdk_version": "0.1.0", "cli_version": "0.1.0"});
    let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, content) in [("shuttle.json", index.to_string()), ("Cargo.toml", String::new()), ("Cargo.lock", String::new())] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

#[tokio::test]
async fn resources_that_are_secrets_are_refused_by_their_limits_and_told_to_nobody() {
    let platform = Platform::start(&[]);
    for (secrets, status, code) in [
        (json!({"a-b": WORD}), 400, "invalid_secrets"),
        (json!({"A": WORD.repeat(2000)}), 400, "invalid_secrets"),
        (json!({"A": [WORD]}), 400, "bad_request"),
        (json!({"A": WORD.repeat(100_000)}), 413, "too_large"),
    ] {
        let refused = put(&platform, "app", secrets).await;
        assert_eq!(refused.status(), status);
        let error = json_of(refused).await;
        assert!(error["code"] == code && error["hint"].is_string() && !error.to_string().contains(WORD), "{error}");
    }
    assert_eq!(put(&platform, "Not_A_Label", json!({})).await.status(), 400);
    assert!(!platform.data().join("secrets.key").exists(), "nothing was stored");

    let change =
        async |body: Value| platform.api(Method::PATCH, "/projects/app/env").body(body.to_string()).send().await.unwrap();
    for (set, status, words) in [
        (json!({"a-b": WORD}), 400, "cannot be the name"),
        (json!({"LD_PRELOAD": WORD}), 400, "cannot be set"),
        (json!({"A": WORD.repeat(2000)}), 400, "are the most"),
        (json!({"A": [WORD]}), 400, "not of the form"),
        (json!({"A": WORD.repeat(100_000)}), 413, "over the limit of 524288 bytes"),
    ] {
        let refused = change(json!({"set": set})).await;
        assert_eq!(refused.status(), status);
        let error = json_of(refused).await.to_string();
        assert!(error.contains(words) && !error.contains(WORD), "{error}");
    }
    let many: serde_json::Map<_, _> = (0..100).map(|number| (format!("V{number}"), json!(""))).collect();
    assert_eq!(change(json!({"set": many})).await.status(), 200);
    let others: serde_json::Map<_, _> = (0..100).map(|number| (format!("W{number}"), json!(""))).collect();
    assert!(json_of(change(json!({"set": others})).await).await.to_string().contains("there are 200"));
    let kept = json_of(change(json!({"unset": many.keys().collect::<Vec<_>>()})).await).await;
    assert_eq!(kept, json!({"project": {}, "deployment": {}}), "nothing of what was refused");

    let (first, second) = (put(&platform, "app", json!({"A": WORD})).await, put(&platform, "app", json!({})).await);
    assert_ne!(json_of(first).await["id"], json_of(second).await["id"]);
    let projects = platform.api(Method::GET, "/projects").send().await.unwrap().text().await.unwrap();
    assert!(projects.contains(r#""latest":null"#) && !projects.contains(WORD), "{projects}");
    let other = json_of(put(&platform, "other", json!({"A": WORD})).await).await;
    for id in [other["id"].as_str().unwrap(), "unknown"] {
        let refused =
            platform.api(Method::POST, &format!("/deploy?project=app&secrets={id}")).body(archive()).send().await.unwrap();
        assert_eq!(refused.status(), 400);
        assert_eq!(json_of(refused).await["code"], "unknown_secrets");
    }
    assert_eq!(count(&platform.data().join("deployments")), 0);
    assert!(!platform.server_log().contains(WORD));
}
