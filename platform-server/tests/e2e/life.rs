//! The life of one app: deployed, deployed again, broken in every way, deleted.

use std::{
    io::{BufRead, BufReader},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use reqwest::Method;

use crate::{
    app::App,
    platform::{Platform, text},
};

/// The annotated function of hello-axum, with something else inside.
fn with_main(body: &str) -> String {
    format!(
        "#[shuttle_service::main]\nasync fn axum() -> Result<axum::Router, String> {{\n{body}\n}}\n\
         #[allow(dead_code)]\nfn router() -> axum::Router {{ axum::Router::new() }}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_from_its_first_deployment_to_its_deletion() {
    let platform = Arc::new(Platform::start(&["--start-timeout", "4", "--max-restart-delay", "1", "--warm-up-after", "1"]));
    let app = App::copy_of("hello-axum");
    assert_eq!(platform.get("hello-axum", "/").await.0, 404);
    platform.wait_for_log("warmed up");
    let deployed = platform.shuttle(app.path(), &["deploy", "--allow-dirty"]);
    let said = text(&deployed);
    assert!(deployed.status.success(), "{said}{}", platform.server_log());
    // Of what comes from elsewhere, all had been compiled.
    assert!(said.contains("Compiled 1 of ") && said.contains(" of the project, 0 of "), "{said}");
    assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, world!".to_owned()));
    // Host names are matched without their case, port and trailing dot.
    for host in ["HELLO-axum.LocalHost", "hello-axum.localhost:8000", "hello-axum.localhost."] {
        let response = platform.client.get(&platform.ready.proxy).header("host", host).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "Hello, world!", "{host}");
    }

    replaced_without_a_gap(&platform, &app).await;
    broken_builds_leave_the_old_version(&platform, &app).await;
    broken_starts_leave_the_old_version(&platform, &app).await;
    a_crash_is_followed_by_a_restart(&platform, &app).await;
    an_app_sees_nothing_of_the_server(&platform, &app).await;
    two_at_once(&platform, &app).await;

    let deleted = platform.shuttle(app.path(), &["delete", "--yes"]);
    assert!(deleted.status.success(), "{}", text(&deleted));
    assert_eq!(platform.get("hello-axum", "/").await.0, 404);
    let status = platform.shuttle(app.path(), &["status"]);
    assert_eq!(status.status.code(), Some(6), "{}", text(&status));
    assert!(text(&status).contains("was deleted") && text(&status).contains("logs --name hello-axum"), "{}", text(&status));
    let logs = text(&platform.shuttle(app.path(), &["logs", "--tail", "10000"]));
    assert!(logs.contains("visited") && logs.trim_end().ends_with("the project hello-axum was deleted"), "{logs}");
    platform.deploy(app.path());
    assert_eq!(platform.get("hello-axum", "/").await.0, 200);
}

/// While a new version is built and started, the old one answers; every request gets one or the other.
async fn replaced_without_a_gap(platform: &Arc<Platform>, app: &App) {
    app.edit("Hello, world!", "Hello, second!");
    let done = Arc::new(AtomicBool::new(false));
    let (asking, stop) = (Arc::clone(platform), Arc::clone(&done));
    let asker = tokio::spawn(async move {
        let (mut old, mut new) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            match asking.get("hello-axum", "/").await {
                (200, body) if body == "Hello, world!" => old += 1,
                (200, body) if body == "Hello, second!" => new += 1,
                other => panic!("while it was replaced, it answered {other:?}"),
            }
        }
        (old, new)
    });
    let (deploying, folder) = (Arc::clone(platform), app.path().to_path_buf());
    tokio::task::spawn_blocking(move || deploying.deploy(&folder)).await.unwrap();
    assert_eq!(platform.get("hello-axum", "/").await.1, "Hello, second!", "live when deploy has returned");
    done.store(true, Ordering::Relaxed);
    let (old, _) = asker.await.unwrap();
    assert!(old > 0);
}

async fn broken_builds_leave_the_old_version(platform: &Platform, app: &App) {
    app.write(&with_main("    let number: u32 = \"text\"; Ok(router())"));
    let said = platform.deploy_fails(app.path(), 7);
    assert!(said.contains("mismatched types") && said.contains("src/lib.rs:3"), "the compiler's own words: {said}");
    assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, second!".to_owned()));
    let status = platform.shuttle(app.path(), &["status", "--output", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["latest"]["state"], "error", "{status}");
    assert_eq!(status["latest"]["failure"]["kind"], "build", "{status}");
    assert_ne!(status["latest"]["id"], status["serving"]["deployment"], "{status}");
}

async fn broken_starts_leave_the_old_version(platform: &Platform, app: &App) {
    for (body, wanted) in [
        ("    println!(\"a last word\"); panic!(\"not today\");", &["not today", "a last word"][..]),
        ("    eprintln!(\"a last word\"); Err(\"no luck\".to_owned())", &["no luck", "a last word"]),
        ("    println!(\"a last word\"); std::process::exit(3)", &["exit status 3", "a last word"]),
        ("    println!(\"a last word\"); std::process::abort()", &["SIGABRT", "a last word"]),
        ("    println!(\"a last word\"); std::future::pending::<()>().await; Ok(router())", &["within 4 s", "a last word"]),
    ] {
        app.write(&with_main(body));
        let said = platform.deploy_fails(app.path(), 8);
        let is_told =
            |line: &str| line.starts_with("note: deployment ") && line.contains("still serves at http://hello-axum.localhost");
        assert!(said.lines().any(is_told), "{body} should end with what serves: {said}");
        for words in wanted {
            assert!(said.contains(words), "{body} should say {words:?}: {said}");
        }
        assert_eq!(platform.get("hello-axum", "/").await, (200, "Hello, second!".to_owned()), "after {body}");
    }
}

async fn a_crash_is_followed_by_a_restart(platform: &Platform, app: &App) {
    app.write(
        "#[shuttle_service::main]\nasync fn axum() -> Result<axum::Router, String> {\n\
             println!(\"printed\"); eprintln!(\"complained\");\n\
             let crash = axum::routing::get(|| async { if true { std::process::abort() } });\n\
             Ok(axum::Router::new().route(\"/\", axum::routing::get(|| async { println!(\"visited\"); \"up\" })).route(\"/crash\", crash))\n}\n",
    );
    platform.deploy(app.path());
    let mut follow = platform.command(app.path(), &["logs", "--follow", "--output", "json"]);
    let mut follow = follow.stdout(std::process::Stdio::piped()).spawn().unwrap();
    assert_eq!(platform.get("hello-axum", "/").await.1, "up");
    let followed = BufReader::new(follow.stdout.take().unwrap()).lines().map_while(Result::ok);
    // One object a line; it ends only when it is ended.
    let mut followed = followed.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    assert!(followed.any(|line| line["message"] == "visited" && line["source"] == "stdout" && line["level"] == "info"));
    follow.kill().unwrap();
    follow.wait().unwrap();
    assert_eq!(platform.get("hello-axum", "/crash").await.0, 502);
    platform.get_until("hello-axum", "/", |status, body| (status, body) == (200, "up")).await;
    let logs = text(&platform.shuttle(app.path(), &["logs"]));
    for words in ["printed", "complained", "signal 6 (SIGABRT)"] {
        assert!(logs.contains(words), "the logs have no {words:?}: {logs}");
    }
    let status = platform.api(Method::GET, "/projects/hello-axum").send().await.unwrap();
    let status: serde_json::Value = serde_json::from_str(&status.text().await.unwrap()).unwrap();
    assert_eq!(status["serving"]["restarts"], 1, "{status}");
}

/// An app that looks around finds nothing of the server's and nothing of other apps'.
async fn an_app_sees_nothing_of_the_server(platform: &Platform, app: &App) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    app.write(
        "#[shuttle_service::main]\nasync fn axum() -> Result<axum::Router, String> {\n\
             let look = axum::routing::post(|path: String| async move { if std::fs::File::open(&path).is_ok() { \"open\" } else { \"closed\" } });\n\
             Ok(axum::Router::new().route(\"/\", look))\n}\n",
    );
    platform.deploy(app.path());
    let data = platform.data();
    let mut looked_at = vec![platform.ready.admin_key_file.clone()];
    for name in ["platform.db", "platform.db-wal", "lock", "archives", "artifacts", "builds", "cargo-home", "logs", "deployments"]
    {
        looked_at.push(data.join(name));
    }
    for path in looked_at {
        assert!(path.exists(), "{}", path.display());
        let response = platform.request(Method::POST, "hello-axum", "/").body(path.display().to_string()).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), "closed", "an app can open {}", path.display());
    }
    let own = platform.request(Method::POST, "hello-axum", "/").body("Cargo.toml").send().await.unwrap();
    assert_eq!(own.text().await.unwrap(), "open", "its own files are its working directory");
}

/// Both end in a defined state, and the newer one serves. The older one was live for a moment, or, if the newer one came before
/// its build had begun, never.
async fn two_at_once(platform: &Platform, app: &App) {
    let second = App::copy_of("hello-axum");
    let run = |app: &App, word: &str| {
        app.edit("Hello, world!", word);
        platform
            .command(app.path(), &["deploy", "--allow-dirty", "--yes", "--output", "json"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [run(app, "Hello, left!"), run(&second, "Hello, right!")].map(|child| child.wait_with_output().unwrap());
    let mut codes = both.each_ref().map(|output| output.status.code());
    codes.sort();
    assert!(codes[0] == Some(0) && [Some(0), Some(10)].contains(&codes[1]), "{:?}", both.each_ref().map(text));
    let found = platform.api(Method::GET, "/projects/hello-axum/deployments").send().await.unwrap();
    let found: Vec<serde_json::Value> = serde_json::from_str(&found.text().await.unwrap()).unwrap();
    let older = if codes[1] == Some(0) { "built" } else { "error" };
    assert_eq!((found[0]["state"].as_str(), found[1]["state"].as_str()), (Some("deployed"), Some(older)), "{found:?}");
    let body = platform.get("hello-axum", "/").await.1;
    assert!(body == "Hello, left!" || body == "Hello, right!", "{body}");
}
