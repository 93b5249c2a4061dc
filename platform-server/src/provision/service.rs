//! A server program that the platform runs for its apps: started when it is first asked for, started again when it
//! dies, stopped with the platform.

use std::{
    fs::OpenOptions,
    io::{self, Read, Seek},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
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

/// Bytes of a service's log, beyond which it is moved aside at the next start.
const MAX_LOG: u64 = 16 * 1024 * 1024;
/// Bytes at the end of a log in which its last line is looked for.
const LAST_BYTES: u64 = 8 * 1024;
/// How long those who ask wait for a service to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(60);
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

    /// Waits until it answers.
    pub(super) async fn ready(&self) -> Result<(), String> {
        let mut health = self.health.clone();
        let settled = health.wait_for(|health| !matches!(health, Health::Starting)).await;
        match settled.as_deref() {
            Ok(Health::Running) => Ok(()),
            Ok(Health::Failed(why)) => Err(why.clone()),
            Ok(Health::Starting) | Err(_) => Err("the platform is stopping".into()),
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
    let log = open_log(&definition.log).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut process = sandbox.spawn(&definition.spec, log.into(), Stdio::from(errors)).await.map_err(failed)?;
    tokio::select! {
        () = stop.cancelled() => {}
        ended = process.wait() => return Err(ended_early(definition, ended)),
        () = answering(definition, health) => {
            health.send_replace(Health::Running);
            tracing::info!(service = definition.name, "running");
            tokio::select! {
                () = stop.cancelled() => {}
                ended = process.wait() => return Err(ended_early(definition, ended)),
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
    while !(definition.answers)().await {
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

/// The log of a service, for its owner's eyes. One that has grown is moved aside; the last one moved aside is kept.
fn open_log(path: &std::path::Path) -> io::Result<std::fs::File> {
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_LOG) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The last line of a file, read from its end.
fn last_line(path: &std::path::Path) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
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

fn ended_early(definition: &Definition, ended: io::Result<std::process::ExitStatus>) -> String {
    let how = ended.map_or_else(|error| error.to_string(), describe);
    let last = last_line(&definition.log).map(|line| format!("; its last line: {line}")).unwrap_or_default();
    format!("{} ended with {how}{last} (its log: {})", definition.name, definition.log.display())
}
