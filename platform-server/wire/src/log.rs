//! A line of an app's log.

use serde::{Deserialize, Serialize};

/// One line, or one record of `log` or `tracing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since the Unix epoch, UTC.
    pub time_ms: u64,
    pub level: LogLevel,
    pub source: LogSource,
    /// The deployment that wrote it.
    pub deployment: String,
    /// Module path of a record; empty for stdout, stderr and the platform.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
    pub message: String,
}

/// How grave a line is. What comes from stdout is `info`, from stderr `warn`, as the app said nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    Stdout,
    Stderr,
    /// The `log` or `tracing` crate.
    App,
    /// The platform itself: started, stopped, crashed.
    Platform,
}
