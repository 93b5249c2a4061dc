//! A server program that the platform runs for its apps: started when it is first asked for, started again when it
//! dies, stopped with the platform.

use std::{
    convert::Infallible,
    fs::{File, OpenOptions},
    io::{self, Read, Seek},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use futures_util::future::BoxFuture;
use rustix::process::Signal;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    process::{Process, describe},
    sandbox::{Sandbox, Spec},
};

/// Bytes of a service's log, beyond which it is moved aside; the last part that was is kept.
const MAX_LOG: u64 = 16 * 1024 * 1024;
/// How often the size of the log is looked at while the service runs.
const LOOK_AT_LOG: Duration = Duration::from_secs(10);
/// Bytes at the end of a log in which its last line is looked for.
const LAST_BYTES: u64 = 8 * 1024;
/// How long those who ask wait for a service to answer after its start.
pub(super) const START_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for one answer; one that hangs gives none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at whether it answers already.
const POLL: Duration = Duration::from_millis(20);
/// Longest wait for it to save its data and end.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Longest pause before it is started again.
const MAX_RESTART_DELAY_MS: u64 = 30_000;

/// What a service is.
pub(super) struct Definition {
    /// For messages: `Postgres`.
    pub(super) name: String,
    pub(super) spec: Spec,
    /// Where its stdout and stderr go.
    pub(super) log: PathBuf,
    /// Whether it answers.
    pub(super) answers: Box<dyn Fn() -> BoxFuture<'static, bool> + Send + Sync>,
    pub(super) stop_signal: Signal,
    /// The uid that only this service has, where the server is root: whatever runs under it is ended before each start.
    pub(super) own_uid: Option<u32>,
}

#[derive(Debug, Clone)]
enum Health {
    Starting,
    Running,
    /// Why the last start failed; it is tried again.
    Failed(String),
}

/// How long a service that has failed is waited for.
const MENDED_WITHIN: Duration = Duration::from_secs(5);

/// A running service. Dropping it without [`Service::stop`] kills it.
#[derive(Debug)]
pub(super) struct Service {
    health: watch::Receiver<Health>,
    stop: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Service {
    pub(super) fn start(sandbox: Sandbox, definition: Definition) -> Self {
        let (sender, health) = watch::channel(Health::Starting);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_running(sandbox, definition, sender, stop.clone()));
        Self { health, stop, task: tokio::sync::Mutex::new(Some(task)) }
    }

    /// Waits until it answers. A failure is only one if it is not mended within a moment: after a crash of the server the
    /// predecessor may still be ending.
    pub(super) async fn ready(&self) -> Result<(), String> {
        // Its task says so itself after that time, unless it cannot even be started.
        let limit = START_LIMIT + 2 * ANSWER_LIMIT + MENDED_WITHIN;
        let late = || Err(format!("it is still starting after {} s", limit.as_secs()));
        tokio::time::timeout(limit, self.healthy()).await.unwrap_or_else(|_| late())
    }

    async fn healthy(&self) -> Result<(), String> {
        let mut health = self.health.clone();
        let deadline = tokio::time::Instant::now() + MENDED_WITHIN;
        let stopping = || "the platform is stopping".to_owned();
        loop {
            let failed = match &*health.wait_for(|health| !matches!(health, Health::Starting)).await.map_err(|_| stopping())? {
                Health::Failed(why) => Some(why.clone()),
                Health::Running | Health::Starting => None,
            };
            let Some(why) = failed else { return Ok(()) };
            match tokio::time::timeout_at(deadline, health.changed()).await {
                Ok(changed) => changed.map_err(|_| stopping())?,
                Err(_) => return Err(why),
            }
        }
    }

    /// Ends it, and waits for that.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn keep_running(sandbox: Sandbox, definition: Definition, health: watch::Sender<Health>, stop: CancellationToken) {
    let name = definition.name.clone();
    let mut failures = 0;
    while !stop.is_cancelled() {
        let started = tokio::time::Instant::now();
        let why = tokio::select! {
            outcome = run_once(&sandbox, &definition, &health, &stop) => match outcome {
                Ok(()) => return,
                Err(why) => why,
            },
        };
        tracing::warn!(service = name, why, "a service ended; it is started again");
        health.send_replace(Health::Failed(why));
        let lived = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        failures = crate::deployment::policy::failures_after(failures, lived);
        let delay = Duration::from_millis(crate::deployment::policy::restart_delay_ms(failures, MAX_RESTART_DELAY_MS));
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => return,
        }
        health.send_replace(Health::Starting);
    }
}

/// Starts it and waits for its end. `Ok` when it was stopped on purpose.
async fn run_once(
    sandbox: &Sandbox,
    definition: &Definition,
    health: &watch::Sender<Health>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("{} could not be started: {error}", definition.name);
    if let Some(uid) = definition.own_uid {
        // Postgres' backends outlive it for a while, in sessions of their own.
        let sandbox = sandbox.clone();
        crate::build::blocking(move || sandbox.kill_user(uid)).await.map_err(failed)?;
    }
    let path = definition.log.clone();
    let log = crate::build::blocking(move || open_log(&path)).await.map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut process = sandbox.spawn(&definition.spec, log.into(), Stdio::from(errors)).await.map_err(failed)?;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = process.wait() => return Err(ended_early(definition, ended).await),
        () = answering(definition, health) => {
            health.send_replace(Health::Running);
            tracing::info!(service = definition.name, "running");
            tokio::select! {
                () = stop.cancelled() => {}
                ended = process.wait() => return Err(ended_early(definition, ended).await),
                never = bound_log(definition) => match never {},
            }
        }
    }
    end(process, definition).await;
    Ok(())
}

/// Waits for its first answer. One that takes long is not ended: it may be reading back much data after a crash, and
/// would begin anew.
async fn answering(definition: &Definition, health: &watch::Sender<Health>) {
    let begun = tokio::time::Instant::now();
    while !tokio::time::timeout(ANSWER_LIMIT, (definition.answers)()).await.unwrap_or(false) {
        if begun.elapsed() > START_LIMIT && matches!(*health.borrow(), Health::Starting) {
            health.send_replace(Health::Failed(format!(
                "{} is still starting after {} s",
                definition.name,
                START_LIMIT.as_secs()
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The log of a service, for its owner's eyes.
fn open_log(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Keeps the log of a running service small. It has its file open and appends to it, so what was moved aside is cut off
/// here: it goes on at the beginning.
async fn bound_log(definition: &Definition) -> Infallible {
    let mut looks = tokio::time::interval(LOOK_AT_LOG);
    loop {
        looks.tick().await;
        let path = definition.log.clone();
        if let Err(error) = crate::build::blocking(move || cut_log(&path, MAX_LOG)).await {
            tracing::warn!(service = definition.name, %error, "its log could not be cut");
        }
    }
}

/// Lines that are written meanwhile are lost.
fn cut_log(path: &Path, most: u64) -> io::Result<()> {
    let log = File::options().write(true).open(path)?;
    if log.metadata()?.len() <= most {
        return Ok(());
    }
    let old = path.with_extension("log.old");
    let aside = std::fs::copy(path, &old);
    // On a full disk it is cut all the same.
    log.set_len(0)?;
    aside.map(|_| ())
}

/// The last line of a file, read from its end.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(io::SeekFrom::Start(length.saturating_sub(LAST_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes).ok()?;
    String::from_utf8_lossy(&bytes).lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

async fn end(mut process: Process, definition: &Definition) {
    process.signal(definition.stop_signal);
    match process.wait_or_kill(STOP_LIMIT).await {
        Ok(status) => tracing::info!(service = definition.name, status = describe(status), "stopped"),
        Err(error) => tracing::warn!(service = definition.name, %error, "its end could not be seen"),
    }
}

async fn ended_early(definition: &Definition, ended: io::Result<std::process::ExitStatus>) -> String {
    let how = ended.map_or_else(|error| error.to_string(), describe);
    let path = definition.log.clone();
    let last = crate::build::blocking(move || Ok(last_line(&path))).await.ok().flatten();
    let last = last.map(|line| format!("; its last line: {line}")).unwrap_or_default();
    format!("{} ended with {how}{last} (its log: {})", definition.name, definition.log.display())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    #[test]
    fn a_log_that_has_grown_is_cut_under_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("service.log");
        let mut writer = open_log(&path).unwrap();
        writer.write_all(b"first\n").unwrap();
        cut_log(&path, 6).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\n", "not over the limit");
        writer.write_all(b"second\n").unwrap();
        cut_log(&path, 6).unwrap();
        writer.write_all(b"third\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        assert_eq!(fs::read_to_string(folder.path().join("service.log.old")).unwrap(), "first\nsecond\n");
        assert_eq!(last_line(&path).unwrap(), "third");
    }
}
