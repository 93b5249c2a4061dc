//! Runs the binary with an environment of its own: no configuration, no registry, and a proxy that leads nowhere.

use std::{
    ffi::OsStr,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{KEY, Project, Server, Terminal};

pub(crate) struct Shuttle {
    command: Command,
    home: TempDir,
    stdin: String,
}

impl Shuttle {
    /// A command in the project's folder, with neither a server nor a key.
    pub(crate) fn bare(project: &Project, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-shuttle"));
        command.current_dir(project.app()).arg("shuttle").args(arguments).envs(isolated(home.path()));
        for name in ["SHUTTLE_API", "SHUTTLE_API_KEY", "NO_PROXY", "no_proxy", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
            command.env(name, "http://127.0.0.1:9");
        }
        Self { command, home, stdin: String::new() }
    }

    pub(crate) fn new(project: &Project, server: &Server, arguments: &[&str]) -> Self {
        Self::bare(project, arguments).env("SHUTTLE_API", &server.url).env("SHUTTLE_API_KEY", KEY)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.to_owned();
        self
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub(crate) fn run(mut self) -> Run {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // A command that does not read its stdin may be gone already.
        let _ = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        Run::new(child.wait_with_output().unwrap())
    }

    /// Permissions of files hold for it even where the test runs as root.
    pub(crate) fn without_override(mut self) -> Self {
        let drop = "-dac_override,-dac_read_search";
        let mut command = Command::new("setpriv");
        if !Path::new("/proc/self").metadata().is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
            return self;
        }
        command.args([format!("--bounding-set={drop}"), format!("--inh-caps={drop}")]);
        command.arg(self.command.get_program()).args(self.command.get_args());
        command.current_dir(self.command.get_current_dir().unwrap());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        self.command = command;
        self
    }

    /// Starts it on a terminal of its own.
    pub(crate) fn on_terminal(self) -> Terminal {
        Terminal::start(&self.command, self.home)
    }

    /// Starts it, to be interrupted.
    pub(crate) fn start(mut self) -> std::process::Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Variables that keep cargo from the user's own configuration and from the network.
pub(crate) fn isolated(home: &Path) -> Vec<(&'static str, PathBuf)> {
    let mut variables = vec![
        ("HOME", home.to_owned()),
        ("XDG_CONFIG_HOME", home.join("config")),
        ("XDG_DATA_HOME", home.join("data")),
        ("CARGO_HOME", home.join("cargo")),
        ("CARGO_NET_OFFLINE", "true".into()),
    ];
    // A toolchain behind rustup is found through the real home folder.
    if std::env::var_os("RUSTUP_HOME").is_none()
        && let Some(real) = std::env::var_os("HOME")
    {
        variables.push(("RUSTUP_HOME", Path::new(&real).join(".rustup")));
    }
    variables
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// stderr says all of this, however its lines are wrapped.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let text = words(&self.stderr);
        for part in parts {
            assert!(text.contains(&words(part)), "no `{part}` in:\n{}", self.stderr);
        }
        self
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in stdout:\n{}", self.stdout))
    }
}
