//! Deployments that are watched from inside, by their events: each names what begins, and its time is when it arrives here.
//!
//! Watching costs a little, so the deployments that are compared with bare builds are others.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    app::Project,
    deploy::{Bench, DEPLOY},
    report::{self, Part},
};
use crate::{
    cmd,
    error::{Error, Result},
    signals,
};

/// How long the server may take to tell of an upload.
const UPLOAD: Duration = Duration::from_secs(60);
/// The one part that is cargo's.
const COMPILE: &str = "compile";

/// Where one deployment's time goes.
pub(super) fn deploy(bench: &Bench<'_>, project: &Project, text: &str) -> Result<Vec<Part>> {
    let server = bench.server;
    let latest = || Ok::<_, Error>(server.api_json(&format!("/projects/{}", project.name))?["latest"]["id"].clone());
    let before = latest()?;
    project.edit(text)?;
    let began = Instant::now();
    let mut command = server.cli(&project.folder);
    command.args(DEPLOY).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let cli = command.spawn().map_err(|error| Error::new(format!("cannot run cargo-shuttle: {error}")))?;
    cmd::end_when_stopped(&cli);
    let cli = thread::spawn(move || cli.wait_with_output());
    let id = signals::poll(UPLOAD, Duration::from_millis(3), || {
        // A CLI that has ended without a new deployment will bring none.
        let ended = cli.is_finished();
        let id = Some(latest()?).filter(|id| *id != before && !id.is_null());
        Ok(if id.is_none() && ended { Some(Value::Null) } else { id })
    })?;
    let mut marks = vec![("pack and upload".to_owned(), Duration::ZERO), ("queue".to_owned(), began.elapsed())];
    if let Some(id) = id.as_ref().and_then(Value::as_str) {
        // Asked between the deployment's row and its first event, the server has nothing to tell yet.
        while marks.len() == 2 && began.elapsed() < UPLOAD {
            server.api(&format!("/deployments/{id}/events")).lines(|line| {
                marks.extend(mark(line).map(|name| (name, began.elapsed())));
                Ok(())
            })?;
        }
    }
    let output = cli.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that waits for it panicked")));
    cmd::checked(&command, &output.map_err(|error| Error::new(format!("cannot wait for cargo-shuttle: {error}")))?)?;
    marks.push(("first answer of the new version".to_owned(), began.elapsed()));
    bench.wait_for(project, text)?;
    let parts = report::parts(&marks, began.elapsed());
    if parts.iter().any(|part| part.name == COMPILE) {
        return Ok(parts);
    }
    Err(Error::new(format!("the server's events told of no compilation of {}", project.name)))
}

/// All but the compilation.
pub(super) fn overhead(parts: &[Part]) -> Duration {
    parts.iter().filter(|part| part.name != COMPILE).map(|part| part.time).sum()
}

/// What begins with this line of the event stream.
fn mark(line: &[u8]) -> Option<String> {
    let event: Value = serde_json::from_slice(line.strip_prefix(b"data:")?).ok()?;
    match event["type"].as_str()? {
        "stage" => event["stage"].as_str().map(str::to_owned),
        // The server says it when cargo has ended.
        "output" if event["text"].as_str()?.contains(" of the project, ") => Some("store the artifact".to_owned()),
        "finished" => Some("the CLI ends".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_marks() {
        assert_eq!(mark(br#"data: {"type":"stage","stage":"compile","message":"m"}"#), Some("compile".to_owned()));
        assert_eq!(mark(br#"data: {"type":"finished","outcome":{}}"#), Some("the CLI ends".to_owned()));
        let summary = br#"data: {"type":"output","text":"    Compiled 1 of 2 crates of the project, 0 of 62 dependencies\n"}"#;
        assert_eq!(mark(summary), Some("store the artifact".to_owned()));
        for line in [
            &b"id: 4"[..],
            b": keep",
            b"",
            br#"data: {"type":"progress"}"#,
            br#"data: {"type":"output","text":"warning: unused"}"#,
        ] {
            assert_eq!(mark(line), None);
        }
    }

    #[test]
    fn only_the_compilation_is_cargos() {
        let part = |name: &str, time| Part { name: name.to_owned(), time: Duration::from_millis(time) };
        assert_eq!(overhead(&[part("fetch", 7), part("compile", 100), part("start", 2)]), Duration::from_millis(9));
    }
}
