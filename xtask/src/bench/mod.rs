//! `cargo xtask bench deploy`: what the platform adds to, or takes from, the wait after a one-line change.
//!
//! Each round edits one line of examples/hello-axum and deploys it, and makes the same edit in the same app written as a plain
//! binary, which is built with `cargo build --release`. The two take turns, so that what else the machine does hits both.

mod app;
mod report;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    error::{At, Error, Result},
    http::Request,
    repo::{Repo, Temp},
    server::Server,
    setup::{self, Scope},
    signals,
    ui::{self, Steps},
};
use app::App;
use report::{Part, Report, Round};

/// How often each side is timed, unless the command line says otherwise.
pub(crate) const ROUNDS: usize = 5;
/// Rounds that are watched from inside, after the timed ones: watching costs a little.
const WATCHED: usize = 3;
/// How long an answer of the new version may take after the CLI has ended.
const ANSWER: Duration = Duration::from_secs(60);

/// Measures and writes the report.
pub(crate) fn deploy(repo: &Repo, rounds: usize) -> Result<()> {
    let mut steps = Steps::new();
    steps.run("Check what this machine has", || setup::setup(Scope::Run))?;
    let bins = steps.run("Build the platform for release", || repo.build_bins(true))?;
    let temp = Temp::new("bench")?;
    let app = App::new(&repo.root, &temp.path)?;
    let server = steps.run("Start platform-server", || Server::start(&bins, &temp, "127.0.0.1:0"))?;
    let measured = measure(&server, &app, rounds, &mut steps);
    if let Err(error) = &measured {
        server.show_log(error);
    }
    let stopped = server.stop();
    let (rounds, parts) = measured?;
    stopped?;
    let report = Report::new(repo, &rounds, &parts)?;
    let file = repo.root.join("docs/BENCHMARKS.md");
    report::write(&file, "deploy", &report.to_markdown())?;
    steps.summary();
    ui::say(report.headline());
    ui::note(format_args!("written to {}", file.display()));
    Ok(())
}

fn measure(server: &Server, app: &App, rounds: usize, steps: &mut Steps) -> Result<(Vec<Round>, Vec<Vec<Part>>)> {
    steps.run("First deployment, and first build of the plain binary", || {
        timed_deploy(server, app, "Hello, first")?;
        app.build_plain()
    })?;
    let timed = steps.run("Timed rounds", || {
        (0..rounds).map(|number| round(server, app, number).inspect(|round| ui::note(round))).collect::<Result<Vec<_>>>()
    })?;
    let watched = steps.run("Watched rounds: where the time goes", || {
        (0..WATCHED).map(|number| watched_deploy(server, app, &format!("Hello, watched {number}"))).collect::<Result<Vec<_>>>()
    })?;
    Ok((timed, watched))
}

/// Which side goes first alternates, as the first one finds colder caches.
fn round(server: &Server, app: &App, number: usize) -> Result<Round> {
    let text = format!("Hello, round {number}");
    let bare = || {
        app.edit_plain(&text)?;
        let began = Instant::now();
        app.build_plain()?;
        Ok::<_, Error>(began.elapsed())
    };
    if number.is_multiple_of(2) {
        let deploy = timed_deploy(server, app, &text)?;
        Ok(Round { deploy, bare: bare()? })
    } else {
        let bare = bare()?;
        Ok(Round { deploy: timed_deploy(server, app, &text)?, bare })
    }
}

/// From the edit to the first answer of the new version.
fn timed_deploy(server: &Server, app: &App, text: &str) -> Result<Duration> {
    app.edit(text)?;
    let began = Instant::now();
    app.deployed(server.cli(&app.folder).args(app::DEPLOY).output())?;
    wait_for(server, text)?;
    Ok(began.elapsed())
}

fn wait_for(server: &Server, text: &str) -> Result<()> {
    let host = format!("{}.localhost", app::NAME);
    let answered = signals::poll(ANSWER, Duration::from_millis(2), || {
        let answer = Request::get(&server.proxy, "/").header("Host", &host).send();
        Ok(answer.ok().filter(|answer| answer.status == 200 && answer.body.contains(text)))
    })?;
    answered.map(drop).ok_or_else(|| Error::new(format!("the version that says {text:?} never answered")))
}

/// A deployment whose events are followed: each names what begins, and its time is when it arrives here.
fn watched_deploy(server: &Server, app: &App, text: &str) -> Result<Vec<Part>> {
    let latest = || Ok::<_, Error>(server.api_json(&format!("/projects/{}", app::NAME))?["latest"]["id"].clone());
    let before = latest()?;
    app.edit(text)?;
    let began = Instant::now();
    let cli = server
        .cli(&app.folder)
        .args(app::DEPLOY)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn();
    let cli = cli.map_err(|error| Error::new(format!("cannot run cargo-shuttle: {error}")))?;
    let cli = thread::spawn(move || cli.wait_with_output());
    let id = signals::poll(ANSWER, Duration::from_millis(3), || Ok(Some(latest()?).filter(|id| *id != before && !id.is_null())))?;
    let Some(id) = id.as_ref().and_then(Value::as_str) else {
        return Err(Error::new("the server never told of the new deployment"));
    };
    let mut marks = vec![("pack and upload".to_owned(), Duration::ZERO), ("queue".to_owned(), began.elapsed())];
    server.api(&format!("/deployments/{id}/events")).lines(|line| {
        marks.extend(mark(line).map(|name| (name, began.elapsed())));
        Ok(())
    })?;
    app.deployed(cli.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that waits for it panicked"))))?;
    marks.push(("first answer of the new version".to_owned(), began.elapsed()));
    wait_for(server, text)?;
    Ok(report::parts(&marks, began.elapsed()))
}

/// What begins with this line of the event stream.
fn mark(line: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(line.strip_prefix(b"data:")?).ok()?;
    match event["type"].as_str()? {
        "stage" => event["stage"].as_str().map(str::to_owned),
        "finished" => Some("the CLI ends".to_owned()),
        _ => None,
    }
}

/// Replaces the one text that the edits change.
fn replace(file: &std::path::Path, source: &str, text: &str) -> Result<()> {
    fs::write(file, source.replace(app::TEXT, &format!("\"{text}\""))).at(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_marks() {
        assert_eq!(mark(br#"data: {"type":"stage","stage":"compile","message":"m"}"#), Some("compile".to_owned()));
        assert_eq!(mark(br#"data: {"type":"finished","outcome":{}}"#), Some("the CLI ends".to_owned()));
        for line in [&b"id: 4"[..], b": keep", b"", br#"data: {"type":"progress"}"#] {
            assert_eq!(mark(line), None);
        }
    }
}
