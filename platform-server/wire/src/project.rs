//! Projects and deployments, as a client sees them. The server keeps types of its own and converts.

use serde::{Deserialize, Serialize};

use crate::{BuildKind, LaterBuild, LogLine, Origin, ProjectName};

/// A project: a name, at most one serving deployment, and the resources that its deployments asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    pub name: ProjectName,
    /// The public address, without a trailing slash.
    pub url: String,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    /// What answers requests now.
    pub serving: Option<Serving>,
    /// The newest deployment, whatever became of it.
    pub latest: Option<Deployment>,
    pub resources: Vec<Resource>,
    /// Names of the environment variables that the next instance gets, but for the platform's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Where what serves is from, and the newest deployment.
    #[serde(default, skip_serializing_if = "Origin::is_unknown")]
    pub origin: Origin,
}

/// The deployment that answers requests, and how its process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    pub deployment: String,
    /// `running`, `starting`, or `crashed` (it is started again, later each time).
    pub instance: String,
    /// How often it was started again after it had ended by itself.
    pub restarts: u32,
    /// What the platform does with it.
    #[serde(default)]
    pub kind: ServiceKind,
    /// The build that the process runs.
    #[serde(default)]
    pub build: BuildKind,
    /// What has become of the optimised build, where one follows the fast one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimised: Option<LaterBuild>,
}

/// What the platform does with a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServiceKind {
    /// It is sent requests.
    #[default]
    Http,
    /// It always runs and is sent none.
    Background,
    #[serde(other)]
    Other,
}

/// A resource of a project. Its credentials are never told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// The `name` that the parameter's attribute asks for; else the parameter's own where the resource was first asked for.
    pub name: String,
    /// `postgres`, `redis` or `persist`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// One deployment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Opaque, unique on the server, sorts by age.
    pub id: String,
    pub project: ProjectName,
    pub state: State,
    /// Where it answers, once it is deployed.
    pub url: String,
    /// SHA-256 of the archive, lower-case hexadecimal.
    pub archive_digest: String,
    /// Why it failed, in state `error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Milliseconds since the Unix epoch.
    pub created_at_ms: u64,
    pub updated_at_ms: u64,
}

/// The states of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Received, waiting to be built or being built.
    Queued,
    /// Compiled. Also where a deployment rests after a newer one has taken its place: its artifact is kept.
    Built,
    /// Its process runs, and has not answered yet.
    Loaded,
    /// It answers requests.
    Deployed,
    /// It failed.
    Error,
    /// Its project was deleted.
    Deleted,
}

impl State {
    /// The state's name, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Built => "built",
            Self::Loaded => "loaded",
            Self::Deployed => "deployed",
            Self::Error => "error",
            Self::Deleted => "deleted",
        }
    }
}

/// Why a deployment failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How the process ended, where one had been started: `exit status 1`, `signal 11 (SIGSEGV)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<String>,
    /// Last lines of the app's log, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<LogLine>,
}

/// At which point a deployment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Dependencies could not be fetched.
    Fetch,
    /// It does not compile, or what was compiled is no service.
    Build,
    /// A resource could not be provided.
    Provision,
    /// It did not start: it panicked, ended, returned an error, or gave no answer in time.
    Start,
    /// It was cancelled by request.
    Cancelled,
    /// A newer deployment of its project took its place before it was built.
    Superseded,
    /// A fault of the platform.
    Internal,
    #[serde(other)]
    Other,
}

/// Answer to `DELETE /projects/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub project: ProjectName,
    /// What was kept, and comes back with the next deployment of that name.
    pub kept: Vec<Resource>,
}

/// Answer to `GET /healthz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The server's version.
    pub version: String,
    /// What protects the server from the code that it runs, in words.
    pub protections: Vec<String>,
    /// What is wrong with the server as a whole, each in one sentence: its disk is full, for instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
