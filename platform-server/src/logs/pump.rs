//! From an app's pipes to the store: stdout and stderr as lines, the log pipe as records.
//!
//! A pipe is read as fast as its lines are written, no faster: an app that prints more has to wait in its own `write`.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use platform_wire::{LogLevel, LogLine, LogSource, ProjectName};
use shuttle_abi::{Level, LogRecord, log::MAX_RECORD};
use tokio::io::AsyncRead;

use super::{LineReader, LogStore, TooLong, blocking};

/// Lines that are written at a time.
const BATCH: usize = 256;
/// How far the time of a record may be from the server's. An app is free to lie about it.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// Writes what comes from an app's stdout or stderr to its log, until the pipe ends.
///
/// # Errors
/// Those of the pipe. What cannot be written to the store is dropped, and the app goes on.
pub async fn pump_output(
    store: LogStore,
    project: ProjectName,
    deployment: String,
    source: LogSource,
    pipe: impl AsyncRead + Unpin,
) -> io::Result<()> {
    let level = if source == LogSource::Stderr { LogLevel::Warn } else { LogLevel::Info };
    let reader = LineReader::new(pipe, store.inner.limits.max_line, TooLong::Split);
    pump(store, project, reader, |message| plain(level, source, &deployment, message)).await
}

/// Writes the records of an app's log pipe to its log, until the pipe ends. A line that is no record is kept as it is.
///
/// # Errors
/// As [`pump_output`].
pub async fn pump_records(
    store: LogStore,
    project: ProjectName,
    deployment: String,
    pipe: impl AsyncRead + Unpin,
) -> io::Result<()> {
    let reader = LineReader::new(pipe, MAX_RECORD, TooLong::Drop);
    pump(store, project, reader, |text| match serde_json::from_str::<LogRecord>(&text) {
        Ok(record) => of_record(record, &deployment),
        Err(_) => plain(LogLevel::Info, LogSource::App, &deployment, text),
    })
    .await
}

async fn pump<R: AsyncRead + Unpin>(
    store: LogStore,
    project: ProjectName,
    mut reader: LineReader<R>,
    to_line: impl Fn(String) -> LogLine,
) -> io::Result<()> {
    let mut failing = false;
    while let Some(first) = reader.next_line().await? {
        let mut lines = vec![to_line(first)];
        while lines.len() < BATCH
            && let Some(line) = reader.buffered_line()
        {
            lines.push(to_line(line));
        }
        // A slow disk makes this app wait, and nobody else.
        let (to, of) = (store.clone(), project.clone());
        let written = blocking(move || to.append_all(&of, lines)).await;
        // Said once: a full disk would otherwise fill the server's own log as well.
        if let Err(error) = &written
            && !failing
        {
            tracing::warn!(%project, %error, "lines of an app's log are lost");
        }
        failing = written.is_err();
    }
    Ok(())
}

fn plain(level: LogLevel, source: LogSource, deployment: &str, message: String) -> LogLine {
    LogLine { time_ms: now_ms(), level, source, deployment: deployment.to_owned(), target: String::new(), message }
}

fn of_record(record: LogRecord, deployment: &str) -> LogLine {
    let now = now_ms();
    let said = record.time_us / 1000;
    LogLine {
        time_ms: if u128::from(said.abs_diff(now)) <= CLOCK_SLACK.as_millis() { said } else { now },
        level: match record.level {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug => LogLevel::Debug,
            Level::Trace => LogLevel::Trace,
        },
        source: LogSource::App,
        deployment: deployment.to_owned(),
        target: record.target,
        message: record.message,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
