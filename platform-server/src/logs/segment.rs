//! One segment: a file of JSON lines, named by the id of its first one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use platform_wire::LogLine;
use serde::Deserialize;

const EXTENSION: &str = "jsonl";

/// A line as it stands in the file.
#[derive(Deserialize)]
struct Stored {
    id: u64,
    #[serde(flatten)]
    line: LogLine,
}

/// Appends the bytes of a line, its newline included, to `to`.
pub(super) fn encode(id: u64, line: &LogLine, to: &mut Vec<u8>) -> io::Result<()> {
    to.extend_from_slice(format!(r#"{{"id":{id},"#).as_bytes());
    let at = to.len();
    serde_json::to_writer(&mut *to, line)?;
    // The line's own opening brace.
    to.remove(at);
    to.push(b'\n');
    Ok(())
}

/// The line in these bytes; `None` for what is none.
pub(super) fn decode(bytes: &[u8]) -> Option<(u64, LogLine)> {
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    Some((stored.id, stored.line))
}

/// The name has all digits that an id can have, so that names sort as ids do.
pub(super) fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.{EXTENSION}"))
}

/// The first ids of all segments in a folder, oldest first; none where there is no such folder yet.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(firsts),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let first = Path::new(&name).file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(first) = first
            && path(dir, first).file_name() == Some(&name)
        {
            firsts.push(first);
        }
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// A segment opened for writing at its end.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) bytes: u64,
    /// The id after the last one in it.
    pub(super) next_id: u64,
}

/// A new, empty segment.
pub(super) fn create(dir: &Path, first: u64) -> io::Result<Opened> {
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path(dir, first))?;
    Ok(Opened { file, bytes: 0, next_id: first })
}

/// Opens the newest segment to go on with it, and cuts off a last line without an end.
pub(super) fn reopen(dir: &Path, first: u64) -> io::Result<Opened> {
    let mut file = OpenOptions::new().read(true).append(true).open(path(dir, first))?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let whole = content.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < content.len() {
        tracing::warn!(bytes = content.len() - whole, "a log line that was cut off by a crash is dropped");
        file.set_len(whole as u64)?;
    }
    let last = content[..whole].rsplit(|b| *b == b'\n').find_map(decode);
    let next_id = last.map_or(first, |(id, _)| id.saturating_add(1).max(first));
    Ok(Opened { file, bytes: whole as u64, next_id })
}
