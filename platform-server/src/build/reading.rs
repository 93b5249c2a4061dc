//! What the platform has to know of a project's manifests, lockfile, configuration and toolchain file before cargo runs.
//!
//! All of them were uploaded, and a parser can be made to take many times the memory of what it parses. So they are read
//! in a process of its own: the server's executable, started again and confined as a build is, with a limit on memory and
//! on time. It answers with [`Facts`]; the server parses none of the files before this process has found them small.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use platform_wire::ArchiveIndex;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;
use toml::Value;

use super::{
    BuildError, Builder, config,
    folders::BuildFolder,
    profile::{self, Chosen},
    sources::{self, SourceError},
    toolchain::{self, ToolchainError, Wanted},
};
use crate::{
    deployment::Meta,
    process::{Process, describe},
    sandbox::{DeathSignal, Limits, Mount, Share, Spec},
};

/// What the sandbox is told to run for this.
pub(crate) const READER: &str = "__read";

/// Seconds of processor time that the reading of one project may take.
const CPU: u64 = 30;
/// Longest reading of one project.
const TIME: Duration = Duration::from_secs(60);
/// Most values in one file. A lockfile has some fifteen for each package.
const VALUES: usize = 200_000;
/// Most values in all files that are parsed: what the server itself then knows of a project.
const ALL_VALUES: usize = 2 * VALUES;
/// Files of the largest size that may be read in all.
const FULL_FILES: u64 = 16;
/// Longest line of the reader's, in bytes.
const ANSWER: usize = 8 * 1024 * 1024;

/// What to read.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    tree: PathBuf,
    index: ArchiveIndex,
    file_bytes: u64,
}

/// What was found.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    /// The toolchain that the project asks for.
    pub(super) toolchain: Option<Wanted>,
    pub(super) profile: Chosen,
    /// What the fetch is told of the project's configuration.
    pub(super) fetch_config: String,
    /// The packages of the lockfile that are fetched.
    pub(super) packages: Vec<Locked>,
}

/// A package as the lockfile names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Locked {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) source: String,
}

#[derive(Debug, Serialize, Deserialize)]
enum ReadError {
    Sources(SourceError),
    Toolchain(ToolchainError),
}

/// One line of what the process says.
#[derive(Debug, Serialize, Deserialize)]
enum Line {
    /// The file that is read next: should that be the end of the process, it is told.
    Reading(String),
    Done(Result<Facts, ReadError>),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self::Sources(error)
    }
}

impl From<ReadError> for BuildError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sources(error) => error.into(),
            ReadError::Toolchain(error) => error.into(),
        }
    }
}

/// The process itself, confined by now: reads, and says what it found on stdout. Returns its exit status.
pub(crate) fn run(args: &[String]) -> i32 {
    let Some(request) = args.first().and_then(|request| serde_json::from_str::<Request>(request).ok()) else { return 2 };
    let mut stdout = io::stdout().lock();
    let mut say = |line: &Line| {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        stdout.write_all(&text)
    };
    let found = facts(&request, &mut |file| {
        // The server is gone, and so is this in a moment.
        let _ = say(&Line::Reading(file.to_owned()));
    });
    i32::from(say(&Line::Done(found)).and_then(|()| stdout.flush()).is_err())
}

fn facts(request: &Request, reading: &mut dyn FnMut(&str)) -> Result<Facts, ReadError> {
    let Request { tree, index, file_bytes } = request;
    let lockfile = tree.join(&index.workspace_root).join("Cargo.lock");
    Measure { tree, lockfile: &lockfile, limit: *file_bytes, total: 0, values: 0, reading }.walk()?;
    reading("the project as a whole");
    let lock = sources::read(&lockfile, &shown(tree, &lockfile))?;
    sources::check(tree, &lock, &shown(tree, &lockfile))?;
    Ok(Facts {
        toolchain: toolchain::wanted(tree, &index.package_root).map_err(ReadError::Toolchain)?,
        profile: profile::chosen(tree, index),
        fetch_config: config::for_fetch(tree, tree, &index.package_root)?.to_string(),
        packages: locked(&lock),
    })
}

fn locked(lock: &toml::Table) -> Vec<Locked> {
    let text = |package: &Value, key: &str| package.get(key).and_then(Value::as_str).map(str::to_owned);
    let packages = lock.get("package").and_then(Value::as_array).into_iter().flatten();
    packages
        .filter_map(|p| Some(Locked { name: text(p, "name")?, version: text(p, "version")?, source: text(p, "source")? }))
        .collect()
}

fn shown(tree: &Path, path: &Path) -> String {
    path.strip_prefix(tree).unwrap_or(path).display().to_string()
}

/// Looks at every file that cargo or the platform may parse: is it small, and does it stay so once it is parsed?
struct Measure<'a> {
    tree: &'a Path,
    lockfile: &'a Path,
    limit: u64,
    /// Bytes so far.
    total: u64,
    /// Values so far.
    values: usize,
    reading: &'a mut dyn FnMut(&str),
}

impl Measure<'_> {
    fn walk(&mut self) -> Result<(), SourceError> {
        let mut folders = vec![self.tree.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let inside = folder.file_name().is_some_and(|name| name == ".cargo");
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                    continue;
                }
                match name.to_str() {
                    Some("Cargo.toml") => self.file(&path, true)?,
                    Some("Cargo.lock") => self.file(&path, path == self.lockfile)?,
                    Some("rust-toolchain" | "rust-toolchain.toml") => self.file(&path, true)?,
                    Some("config" | "config.toml") if inside => self.file(&path, true)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, parsed: bool) -> Result<(), SourceError> {
        let file = shown(self.tree, path);
        (self.reading)(&file);
        let size = fs::symlink_metadata(path).map_or(0, |metadata| metadata.len());
        if size > self.limit {
            return Err(SourceError::TooLarge { file, size, limit: self.limit });
        }
        self.total += size;
        let most = self.limit.saturating_mul(FULL_FILES);
        if self.total > most {
            return Err(SourceError::TooMuch { limit: most });
        }
        // Of another workspace's lockfile only the size is of interest.
        if !parsed {
            return Ok(());
        }
        // What is no TOML is for others to complain of, where it has to be.
        let Ok(table) = sources::read(path, &file) else { return Ok(()) };
        let count: usize = table.values().map(values).sum();
        if count > VALUES {
            return Err(SourceError::TooManyValues { file, limit: VALUES });
        }
        self.values += count;
        if self.values > ALL_VALUES {
            return Err(SourceError::TooManyValuesInAll { limit: ALL_VALUES });
        }
        Ok(())
    }
}

/// How many values there are in a value. The parser limits their depth.
fn values(value: &Value) -> usize {
    1 + match value {
        Value::Array(array) => array.iter().map(values).sum(),
        Value::Table(table) => table.values().map(values).sum(),
        _ => 0,
    }
}

impl Builder {
    /// Has the project's files read.
    pub(super) async fn read(&self, folder: &BuildFolder, meta: &Meta, cancel: &CancellationToken) -> Result<Facts, BuildError> {
        let (limits, uid) = (&self.limits, self.uids.build(meta.project_id));
        let tree = if self.sandbox.has_view() { self.seen_at.clone() } else { folder.tree.clone() };
        let request = Request { tree, index: meta.index.clone(), file_bytes: limits.max_manifest_bytes };
        let mounts = vec![Mount { from: folder.tree.clone(), to: self.seen_at.clone(), write: false, upon: None }];
        let spec = Spec {
            program: READER.into(),
            args: vec![serde_json::to_string(&request).map_err(io::Error::from)?],
            env: Vec::new(),
            cwd: "/".into(),
            uid,
            // It starts nothing that would have to be ended with it.
            view: self.sandbox.view(mounts, Share { pids: true, ..Share::default() }, uid),
            limits: Limits {
                memory: Some(limits.max_manifest_memory_bytes),
                cpu: Some(CPU),
                file_size: Some(0),
                ..Limits::default()
            },
            death_signal: DeathSignal::Kill,
            nice: 5,
        };
        let mut process = self.sandbox.spawn(&spec, Stdio::piped(), Stdio::piped()).await?;
        let mut reading = String::new();
        let said = tokio::select! {
            said = tokio::time::timeout(TIME, converse(&mut process, &mut reading)) => said,
            () = cancel.cancelled() => {
                process.kill().await?;
                return Err(BuildError::Cancelled);
            }
        };
        let too_long = |file| SourceError::TooLong { file, limit: TIME.as_secs() };
        let Ok(said) = said else {
            process.kill().await?;
            return Err(too_long(reading).into());
        };
        match said? {
            (Some(Ok(facts)), _) => Ok(facts),
            (Some(Err(error)), _) => Err(error.into()),
            (None, status) => Err(self.broken_off(&mut process, status, reading).into()),
        }
    }

    /// Why there is no answer.
    fn broken_off(&self, process: &mut Process, status: ExitStatus, file: String) -> SourceError {
        use std::os::unix::process::ExitStatusExt;
        let said = process.take_stderr().map(|stderr| {
            let mut text = String::new();
            let _ = stderr.take(4096).read_to_string(&mut text);
            text
        });
        let said = said.unwrap_or_default();
        tracing::info!(file, said = said.trim(), "reading a project's files ended with {}", describe(status));
        match status.signal() {
            // An allocation that failed.
            Some(6) if said.contains("memory allocation") => {
                SourceError::TooMuchMemory { file, limit: self.limits.max_manifest_memory_bytes }
            }
            Some(24) => SourceError::TooLong { file, limit: CPU },
            _ => SourceError::Unreadable { file, why: format!("its reader ended with {}: {}", describe(status), said.trim()) },
        }
    }
}

/// What the process says, until it has ended. `reading` is what it said last that it reads.
async fn converse(process: &mut Process, reading: &mut String) -> io::Result<(Option<Result<Facts, ReadError>>, ExitStatus)> {
    let mut answer = None;
    if let Some(stdout) = process.take_stdout() {
        let mut stdout = tokio::process::ChildStdout::from_std(stdout)?;
        let (mut buffer, mut line) = (vec![0; 64 * 1024], Vec::new());
        loop {
            let length = stdout.read(&mut buffer).await?;
            if length == 0 {
                break;
            }
            for piece in buffer[..length].split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if line.len() > ANSWER {
                    return Err(io::Error::other("the reader's answer is too long"));
                }
                if line.ends_with(b"\n") {
                    match serde_json::from_slice(&line)? {
                        Line::Reading(file) => *reading = file,
                        Line::Done(done) => answer = Some(done),
                    }
                    line.clear();
                }
            }
        }
    }
    Ok((answer, process.wait().await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a project of these files, and the file that is named last.
    fn read(files: &[(&str, &str)], file_bytes: u64) -> (Result<Facts, ReadError>, String) {
        let tree = tempfile::tempdir().unwrap();
        let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\n";
        for (path, text) in [("Cargo.toml", manifest), ("Cargo.lock", "version = 4\n")].iter().chain(files) {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let index = serde_json::json!({"format": 1, "package": "app", "crate_name": "app", "workspace_root": "",
            "package_root": "", "sdk_version": "0.1.0", "cli_version": "0.1.0"});
        let index = serde_json::from_value(index).unwrap();
        let mut last = String::new();
        let request = Request { tree: tree.path().to_path_buf(), index, file_bytes };
        (facts(&request, &mut |file| last = file.to_owned()), last)
    }

    #[test]
    fn every_file_that_is_parsed_has_a_limit_and_is_named() {
        let long = format!("# {}\n", "x".repeat(2000));
        for name in [
            "a/Cargo.toml",
            "Cargo.lock",
            "test/Cargo.lock",
            "rust-toolchain",
            "rust-toolchain.toml",
            "a/.cargo/config",
            ".cargo/config.toml",
        ] {
            let (found, last) = read(&[(name, &long)], 1000);
            assert!(
                matches!(&found, Err(ReadError::Sources(SourceError::TooLarge { file, limit: 1000, .. })) if file == name && *file == last),
                "{name}: {found:?}"
            );
        }
        // No file of cargo's.
        assert!(read(&[("config.toml", &long), ("src/lib.rs", &long)], 1000).0.is_ok());
    }

    #[test]
    fn all_together_have_a_limit_too() {
        let names: Vec<String> = (0..17).map(|n| format!("{n}/Cargo.toml")).collect();
        let text = "#".repeat(1000);
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
        let (found, _) = read(&files, 1000);
        assert!(matches!(found, Err(ReadError::Sources(SourceError::TooMuch { limit: 16_000 }))), "{found:?}");
    }

    #[test]
    fn what_would_take_much_memory_is_refused_though_it_is_short() {
        let ones = format!("x = [{}]", "1,".repeat(VALUES));
        let tables = "[[x]]\n".repeat(VALUES);
        let deep = format!("x = {}1", "[".repeat(100_000));
        for (name, text) in [("Cargo.lock", &ones), ("a/Cargo.toml", &tables), (".cargo/config.toml", &ones)] {
            let (found, _) = read(&[(name, text)], 4_000_000);
            let error = found.unwrap_err();
            assert!(matches!(&error, ReadError::Sources(SourceError::TooManyValues { file, .. }) if file == name), "{error:?}");
        }
        let (found, _) = read(&[("Cargo.lock", &deep)], 4_000_000);
        assert!(matches!(found, Err(ReadError::Sources(SourceError::Unreadable { .. }))), "{found:?}");
        // As long as it can be.
        assert!(read(&[("a/Cargo.toml", &deep)], 4_000_000).0.is_ok(), "it may be no manifest");
    }

    #[test]
    fn many_files_that_are_small_each_have_a_limit_on_their_values_in_all() {
        let names: Vec<String> = (0..4).map(|n| format!("d{n}/Cargo.toml")).collect();
        let text = format!("[workspace]\nmetadata.x = [{}]", "{a=1},".repeat(VALUES / 2 - 10));
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
        assert!(read(&files[..2], 4_000_000).0.is_ok(), "they are as many as there may be");
        let (found, _) = read(&files, 4_000_000);
        let error = found.unwrap_err();
        assert!(matches!(error, ReadError::Sources(SourceError::TooManyValuesInAll { limit: ALL_VALUES })), "{error:?}");
        // Neither cargo nor the platform parses those.
        let names: Vec<String> = (0..4).map(|n| format!("d{n}/Cargo.lock")).collect();
        let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), text.as_str())).collect();
        assert!(read(&files, 4_000_000).0.is_ok());
    }

    #[test]
    fn what_is_found_is_what_the_build_needs() {
        let lock =
            "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\n
            [[package]]\nname = \"app\"\nversion = \"0.1.0\"\n";
        let config = "[registries]\nmine.index = \"https://example.com/index\"\n[build]\nrustc = \"/evil\"";
        let files = [("Cargo.lock", lock), (".cargo/config.toml", config), ("rust-toolchain", "1.2.3")];
        let facts = read(&files, 1000).0.unwrap();
        let (name, source) = ("a".to_owned(), "registry+https://example.com/index".to_owned());
        assert_eq!(facts.packages, [Locked { name, version: "1.0.0".to_owned(), source }]);
        assert!(facts.fetch_config.contains("example.com/index") && !facts.fetch_config.contains("evil"));
        assert!(facts.toolchain.is_some());
    }
}
