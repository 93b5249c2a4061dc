//! What the apps printed: every app's log on disk, in bounded segments, to be read back and followed.
//!
//! Each project has a folder of segment files, each a sequence of JSON lines. Every line has an id, which grows within
//! the project for ever, across restarts. Writers write and never wait for readers; readers read from disk, however slow
//! they are, and are only woken. A line that was cut off by a crash is dropped when the log is opened.
//!
//! The output of an app is hostile: long lines are cut, old segments are removed, and nothing is held in memory beyond
//! one line a pipe. This module never interprets what is in a line, and never talks to a client.
//!
//! | File | Owns |
//! |---|---|
//! | this one | the store: one log a project |
//! | `project` | one project's writer: ids, rotation |
//! | `segment` | one file: its name, its lines, its repair |
//! | `read` | reading back and following |
//! | `lines` | from an app's pipe to lines |
//! | `pump` | from an app's pipes to the store |

mod lines;
mod project;
mod pump;
mod read;
mod segment;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::Stream;
use platform_wire::{LogLine, ProjectName};

use self::project::ProjectLog;
pub use self::{
    lines::{LineReader, TooLong},
    pump::{pump_output, pump_records},
};

/// How much of each project's log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of one segment file; a new one is begun before a line that would go over. Default: 4 MiB.
    pub segment_bytes: u64,
    /// Segment files a project; the oldest is removed when there is one more. Default: 8.
    pub segments: usize,
    /// Bytes of one message; the rest is cut off and the cut is marked. Default: 16 KiB.
    pub max_line: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { segment_bytes: 4 << 20, segments: 8, max_line: 16 << 10 }
    }
}

/// The logs of all projects. A clone is another handle to the same ones.
#[derive(Debug, Clone)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    limits: LogLimits,
    projects: Mutex<HashMap<ProjectName, Arc<ProjectLog>>>,
}

impl LogStore {
    /// Opens the logs in `dir`, which is made where it is missing. Only one store may have a folder open.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>, limits: LogLimits) -> io::Result<Self> {
        let dir = dir.into();
        make_folder(&dir)?;
        Ok(Self { inner: Arc::new(Inner { dir, limits, projects: Mutex::default() }) })
    }

    /// Adds a line and returns its id. Like everything here that is not `async`, it may wait for the disk.
    ///
    /// # Errors
    /// Those of the file system. The line is not in the log then, and no part of it.
    pub fn append(&self, project: &ProjectName, line: LogLine) -> io::Result<u64> {
        self.append_all(project, [line])
    }

    /// Adds lines with one write and returns the id of the last one.
    ///
    /// # Errors
    /// As [`LogStore::append`]; lines before the one that failed may be in the log.
    pub fn append_all(&self, project: &ProjectName, lines: impl IntoIterator<Item = LogLine>) -> io::Result<u64> {
        self.log_of(project)?.append(lines)
    }

    /// The last `n` lines, oldest first, each with its id.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn tail(&self, project: &ProjectName, n: usize) -> io::Result<Vec<(u64, LogLine)>> {
        self.tail_of(project, n, None).await
    }

    /// As [`LogStore::tail`]; with `deployment`, of the lines of the one of whose id that is the end.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn tail_of(&self, project: &ProjectName, n: usize, deployment: Option<String>) -> io::Result<Vec<(u64, LogLine)>> {
        let (store, project) = (self.clone(), project.clone());
        blocking(move || read::tail(&*store.log_of(&project)?, n, deployment.as_deref())).await
    }

    /// Every line with an id above `after`, those to come included; with `None`, only those to come. No line is lost or
    /// doubled on the way from the past to the present. A reader that is slower than the log is rotated misses what was
    /// removed, which shows in the ids.
    ///
    /// The stream ends when the log cannot be read, and after the last line that was there at [`LogStore::end`].
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn follow(
        &self,
        project: &ProjectName,
        after: Option<u64>,
    ) -> io::Result<impl Stream<Item = (u64, LogLine)> + Send + use<>> {
        let (store, project) = (self.clone(), project.clone());
        let log = blocking(move || store.log_of(&project)).await?;
        Ok(read::follow(log, after))
    }

    /// Ends all that follow the project's log: its project is deleted. What is appended later is for later followers.
    pub fn end(&self, project: &ProjectName) {
        let log = self.lock().get(project).cloned();
        if let Some(log) = log {
            log.end_followers();
        }
    }

    /// Removes the project's log with all that is in it. Nothing may be appended to it meanwhile.
    ///
    /// # Errors
    /// Those of the file system.
    pub async fn remove(&self, project: &ProjectName) -> io::Result<()> {
        self.end(project);
        self.lock().remove(project);
        let dir = self.inner.dir.join(project.as_str());
        blocking(move || crate::remove::all(&dir)).await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectName, Arc<ProjectLog>>> {
        self.inner.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_of(&self, project: &ProjectName) -> io::Result<Arc<ProjectLog>> {
        let mut projects = self.lock();
        if let Some(log) = projects.get(project) {
            return Ok(log.clone());
        }
        let log = Arc::new(ProjectLog::open(self.inner.dir.join(project.as_str()), self.inner.limits)?);
        projects.insert(project.clone(), log.clone());
        Ok(log)
    }
}

/// Logs can hold secrets: they are for the server alone.
fn make_folder(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
