//! Runs instances of deployments. Nothing outside this module knows what a process is: the rest of the server sees an
//! [`Instance`] that becomes ready, ends, or is stopped.
//!
//! [`local`] is the one implementation: one `platform-runner` process an instance, on this machine.

mod control;
pub(crate) mod local;

use std::{collections::BTreeMap, io, path::PathBuf, time::Duration};

use futures_util::future::BoxFuture;
use platform_wire::{Env, ProjectName};
use shuttle_abi::{FailedStage, FilesAt, Listen, ResourceData};

use crate::proxy::Upstream;

/// What an instance is made of.
#[derive(Debug, Clone)]
pub(crate) struct InstanceSpec {
    pub(crate) project: ProjectName,
    pub(crate) deployment: String,
    pub(crate) crate_name: String,
    pub(crate) url: String,
    pub(crate) artifact: PathBuf,
    /// Whether that is a program, and not a library.
    pub(crate) executable: bool,
    /// The app's own files: its working directory.
    pub(crate) workdir: PathBuf,
    /// Where it sees all of its files as its build did.
    pub(crate) files: Option<FilesAt>,
    pub(crate) listen: Listen,
    /// User and group id, where the server is root.
    pub(crate) uid: Option<u32>,
    pub(crate) resources: BTreeMap<String, ResourceData>,
    /// Environment variables, beside the platform's own.
    pub(crate) env: Env,
}

/// Why an instance did not become ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("it failed while {}: {message}", .stage.describe())]
    Reported { stage: FailedStage, message: String, exit: Option<String> },
    #[error("its process ended before it was ready ({exit})")]
    Ended { exit: String },
    #[error("it said that it listens at {0}, which is not a loopback socket of its own")]
    NotItsOwn(std::net::SocketAddr),
    #[error("it sent the platform a message that is none: {0}")]
    Protocol(String),
    #[error("the platform could not start it: {0}")]
    Io(#[from] io::Error),
}

impl StartError {
    /// How the process ended, where it has.
    pub(crate) fn exit(&self) -> Option<String> {
        match self {
            Self::Reported { exit, .. } => exit.clone(),
            Self::Ended { exit } => Some(exit.clone()),
            Self::NotItsOwn(_) | Self::Protocol(_) | Self::Io(_) => None,
        }
    }
}

/// Starts instances.
pub(crate) trait Supervisor: Send + Sync + std::fmt::Debug {
    /// Starts one. It runs when this returns, and is not ready yet.
    fn start(&self, spec: InstanceSpec) -> BoxFuture<'_, io::Result<Box<dyn Instance>>>;
    /// Ends whatever still runs under the uid of instances that have ended: children that left their process group.
    fn sweep(&self, uid: u32) -> BoxFuture<'_, ()>;
}

/// One running instance. Dropping it ends it at once.
pub(crate) trait Instance: Send + std::fmt::Debug {
    /// Waits until it accepts connections, and says where; `None` for one that is to accept none. There is no time limit
    /// here.
    fn ready(&mut self) -> BoxFuture<'_, Result<Option<Upstream>, StartError>>;
    /// Waits until it has ended by itself; says how. Its last log lines are stored when this returns.
    fn ended(&mut self) -> BoxFuture<'_, String>;
    /// Asks it to finish what it does and end, and ends it after `grace`: by SIGTERM, if it handles that by itself at once, and then
    /// by SIGKILL.
    fn stop(self: Box<Self>, grace: Duration) -> BoxFuture<'static, String>;
}
