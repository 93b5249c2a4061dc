//! The messages of one launch, in the order in which they are sent.
//!
//! ```text
//! server ── Launch + LAUNCH_FDS descriptors ──► runner         (control socket, the runner's stdin)
//! runner: confines itself, dlopens, checks the header
//! runner ── AppLaunch (a pointer and a length) ──► SDK         (RunFn's argument; for a program: LAUNCH_FD_VARIABLE)
//! SDK    ── RunnerMessage::Ready or ::Failed ──► server        (control socket)
//! server ── ServerMessage::Stop ──► SDK                        (control socket; its end means: the server is gone)
//! ```
//!
//! The server trusts nothing that it reads here: a runner holds a user's code.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Deserialize, Serialize};

/// The descriptor on which a runner finds the control socket: its stdin.
pub const CONTROL_FD: i32 = 0;

/// How many descriptors come with a [`Launch`] (as `SCM_RIGHTS`), in the order of the `FD_` constants.
pub const LAUNCH_FDS: usize = 3;
/// Index of the artifact, opened for reading.
pub const FD_ARTIFACT: usize = 0;
/// Index of the listening socket, bound by the server.
pub const FD_LISTENER: usize = 1;
/// Index of the log pipe's writing end, for [`LogRecord`](crate::LogRecord)s.
pub const FD_LOG: usize = 2;

/// First message of the server to a runner. The field `abi_version` is in every version; a runner that does not know
/// the version says so and reads nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The server's [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi_version: u32,
    /// Which crate's entry to call: the library's crate name, underscores for hyphens.
    pub crate_name: String,
    /// Project's name, for messages and the app's metadata.
    pub project: String,
    /// Id of the deployment.
    pub deployment: String,
    /// The public URL of the app.
    pub url: String,
    /// Working directory: the deployed files.
    pub workdir: String,
    /// Where the app sees its deployed files as well: the path at which its build saw them, which may be compiled into it.
    #[serde(default)]
    pub files: Option<FilesAt>,
    /// The user id to become before the artifact is opened by the loader, where the server is root.
    pub uid: Option<u32>,
    /// Where it runs: `production` on a server.
    #[serde(default)]
    pub environment: String,
    /// Whether the artifact is a program, which the runner becomes, and not a library, which it loads.
    #[serde(default)]
    pub executable: bool,
    /// What each parameter gets, by the name in the manifest's `resources`.
    pub resources: BTreeMap<String, ResourceData>,
    /// Environment variables, which the runner sets once it has confined itself: so that none of them can have a say in how
    /// the runner is loaded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

/// A folder that a process sees at another path too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesAt {
    /// The folder.
    pub from: String,
    /// The other path: of a folder that exists and is empty.
    pub at: String,
}

/// The variable that tells a program where its [`AppLaunch`] is: the number of a descriptor, at whose beginning it stands.
pub const LAUNCH_FD_VARIABLE: &str = "SHUTTLE_LAUNCH_FD";

/// Connection data of one resource. The client is made inside the app, from the app's own version of the client crate.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceData {
    /// Type, as in the manifest: `postgres`, `redis`, `secrets`, `persist`, `metadata`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it is, credentials included; empty where it is nowhere. Postgres:
    /// `postgres://user:password@%2Fsocket%2Ffolder/database`; Redis: `redis+unix:///path/to.sock`; a persistent folder: its
    /// absolute path.
    #[serde(default)]
    pub url: String,
    /// Secrets: each by its name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, String>,
}

/// Without what is secret in it.
impl std::fmt::Debug for ResourceData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceData").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What the runner hands to the SDK, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppLaunch {
    /// See [`Launch::project`].
    pub project: String,
    /// See [`Launch::deployment`].
    pub deployment: String,
    /// See [`Launch::url`].
    pub url: String,
    /// See [`Launch::environment`].
    #[serde(default)]
    pub environment: String,
    /// See [`Launch::resources`].
    pub resources: BTreeMap<String, ResourceData>,
    /// The control socket.
    pub control_fd: i32,
    /// The listening socket: a Unix or a TCP one, as the manifest's `listen` asked; `/dev/null` where it asked for none.
    pub listener_fd: i32,
    /// The log pipe.
    pub log_fd: i32,
}

/// What the server says after [`Launch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Take no new connections, finish what is in flight within `grace_ms` milliseconds, then return. An app that handles SIGTERM
    /// itself is sent that as well, at the same time.
    Stop { grace_ms: u64 },
}

/// Whether a process has a handler for SIGTERM, by its `/proc/PID/status`. The SDK installs none, so it is the app's own, and the
/// signal is not the end of the process.
#[must_use]
pub fn handles_sigterm(status: &str) -> bool {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask >> (SIGTERM - 1) & 1 == 1)
}

/// On Linux, whatever the architecture.
const SIGTERM: u32 = 15;

/// What a runner (its own code, or the SDK in the artifact) says to the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RunnerMessage {
    /// The service accepts connections: on the inherited listener, or, where a framework insists on binding by itself,
    /// on the loopback address in `listen`.
    Ready { listen: Option<SocketAddr> },
    /// It will not serve; the process ends after this.
    Failed { stage: FailedStage, message: String },
}

/// How far a launch had come when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailedStage {
    /// The runner could not confine itself.
    Confine,
    /// The artifact could not be loaded (`dlopen`), or has no entry.
    Load,
    /// The artifact's ABI is not the platform's.
    Abi,
    /// A resource could not be made from its connection data.
    Resource,
    /// The annotated function returned an error or panicked.
    Start,
    /// The service ended with an error after it had been made.
    Serve,
}

impl FailedStage {
    /// The stage as part of a sentence: "failed while …".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Confine => "confining its process",
            Self::Load => "loading the artifact",
            Self::Abi => "checking the artifact's ABI",
            Self::Resource => "connecting its resources",
            Self::Start => "running the annotated function",
            Self::Serve => "serving",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_of_sigterm_is_seen_among_others() {
        let status = |mask: &str| format!("Name:\tapp\nSigIgn:\t0000000000004000\nSigCgt:\t{mask}\nCapInh:\t0\n");
        assert!(handles_sigterm(&status("0000000000004000")));
        assert!(handles_sigterm(&status("fffffffffffbfeff")));
        assert!(!handles_sigterm(&status("0000000100000440")));
        assert!(!handles_sigterm(&status("rubbish")) && !handles_sigterm(""));
    }
}
