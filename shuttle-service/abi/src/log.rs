//! Records on the log pipe: one JSON object a line.

use serde::{Deserialize, Serialize};

/// Longest line on the log pipe, in bytes, its newline included. The SDK cuts longer messages; the server drops the
/// rest of a longer line.
pub const MAX_RECORD: usize = 32 * 1024;

/// How grave a record is. Ordered from the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// One record of `log` or `tracing`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Microseconds since the Unix epoch, by the app's clock.
    pub time_us: u64,
    pub level: Level,
    /// Module path, or whatever the record names as its target.
    pub target: String,
    /// The message; fields of a tracing event follow it as `key=value`.
    pub message: String,
}
