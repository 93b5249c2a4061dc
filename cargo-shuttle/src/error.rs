//! Every way to fail, and the one place that decides how it is rendered and which exit code it has. The stages' own error
//! types know nothing of exit codes.
//!
//! | Code | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | another error |
//! | 2 | wrong usage |
//! | 3 | the project cannot be deployed (found before the upload) |
//! | 4 | the server cannot be reached |
//! | 5 | the key is missing or was refused |
//! | 6 | the server refused the request |
//! | 7 | the build failed |
//! | 8 | the app did not start |
//! | 9 | the connection was lost while following; the deployment goes on |
//! | 10 | the deployment was cancelled, or a newer one took its place |
//! | 130 | interrupted (a deployment that was uploaded goes on, unless it was cancelled) |

use std::fmt;

use platform_wire::{ErrorCode, Failure, FailureKind, Project, ProjectName, Serving};
use serde_json::{Value, json};

use crate::{
    client::ClientError,
    config::ConfigError,
    pack::PackError,
    project::{ProjectError, SecretsError, SettingsError},
};

const OTHER: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const PROJECT: u8 = 3;
const UNREACHABLE: u8 = 4;
const KEY: u8 = 5;
const REFUSED: u8 = 6;
const BUILD: u8 = 7;
const START: u8 = 8;
const LOST: u8 = 9;
const GIVEN_UP: u8 = 10;
const INTERRUPTED: u8 = 130;

#[cfg(test)]
pub(crate) const ALL_EXIT_CODES: [u8; 12] =
    [0, OTHER, USAGE, PROJECT, UNREACHABLE, KEY, REFUSED, BUILD, START, LOST, GIVEN_UP, INTERRUPTED];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    #[error(transparent)]
    Pack(#[from] PackError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Some of several deployments are live, one failed, and the rest was not begun.
    #[error("{error}")]
    Partly { error: Box<Self>, done: Vec<Value>, left: Vec<String> },
    #[error("{}", failure.message)]
    Failed { deployment: String, failure: Box<Failure> },
    #[error("a newer deployment took the place of this one before it was live")]
    Superseded { deployment: String, by: Option<String> },
    /// By this very command after a Ctrl-C, or by another one.
    #[error("the deployment {deployment} was cancelled")]
    Cancelled { deployment: String, by_interrupt: bool },
    /// A new version did not come to serve, and what does instead.
    #[error("{error}")]
    Instead { error: Box<Self>, serves: Serves },
    #[error(transparent)]
    OtherOrigin(#[from] OtherOrigin),
    #[error("no deployment of {project} is under way")]
    NothingUnderWay { project: ProjectName },
    #[error("the project was deleted while this was deployed")]
    DeletedMeanwhile { deployment: String },
    #[error("the connection to the server was lost: {why}")]
    Lost { what: Following, why: String },
    #[error("interrupted")]
    Interrupted { what: Following },
    #[error("{0}")]
    Aborted(String),
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
}

/// The project was last deployed from somewhere else.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{project}` was last deployed from {was}, and this is {is}")]
pub(crate) struct OtherOrigin {
    pub(crate) project: ProjectName,
    pub(crate) was: String,
    pub(crate) is: String,
}

/// What serves when a new version does not.
#[derive(Debug, Clone)]
pub(crate) enum Serves {
    Nothing { project: ProjectName },
    Deployment { id: String, instance: String, url: String },
}

/// As the server says of an instance that is as it should be.
const RUNNING: &str = "running";

impl Serves {
    pub(crate) fn of(project: &Project) -> Self {
        match &project.serving {
            None => Self::Nothing { project: project.name.clone() },
            Some(Serving { deployment, instance, .. }) => {
                Self::Deployment { id: deployment.clone(), instance: instance.clone(), url: project.url.clone() }
            }
        }
    }
}

impl fmt::Display for Serves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { project } => write!(f, "no version of {project} serves"),
            Self::Deployment { id, instance, url } if instance == RUNNING => write!(f, "deployment {id} still serves at {url}"),
            Self::Deployment { id, instance, url } => {
                write!(f, "deployment {id} is still the one at {url}; its process is in state `{instance}`")
            }
        }
    }
}

/// What went on when the connection or the user's patience ended.
#[derive(Debug, Clone)]
pub(crate) enum Following {
    /// An upload, of which the server keeps nothing.
    Upload,
    Deployment(String),
    Restart,
    Logs,
}

impl Error {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => USAGE,
            // The machine's fault, not the project's.
            Self::Pack(PackError::Temp { .. }) => OTHER,
            Self::Project(_) | Self::Settings(_) | Self::Secrets(_) | Self::Pack(_) => PROJECT,
            Self::Config(error) => match error {
                ConfigError::NoKey { .. } | ConfigError::BadKey => KEY,
                ConfigError::BadUrl { .. } | ConfigError::PlainHttp { .. } => USAGE,
                ConfigError::File { .. } | ConfigError::NoFolder => OTHER,
            },
            Self::Client(error) => match error {
                ClientError::Unreachable { .. } => UNREACHABLE,
                ClientError::KeyRefused { .. } => KEY,
                ClientError::Refused { error, .. } if error.code == ErrorCode::NotStarted => START,
                ClientError::Refused { .. } | ClientError::NoSecrets { .. } | ClientError::Unexpected { .. } => REFUSED,
                ClientError::Setup { .. } => OTHER,
            },
            Self::Failed { failure, .. } => match failure.kind {
                FailureKind::Fetch | FailureKind::Build => BUILD,
                FailureKind::Provision | FailureKind::Start => START,
                FailureKind::Cancelled | FailureKind::Superseded => GIVEN_UP,
                FailureKind::Internal | FailureKind::Other => OTHER,
            },
            Self::Superseded { .. } | Self::Cancelled { by_interrupt: false, .. } => GIVEN_UP,
            Self::Cancelled { by_interrupt: true, .. } => INTERRUPTED,
            Self::NothingUnderWay { .. } | Self::DeletedMeanwhile { .. } | Self::Aborted(_) | Self::Io { .. } => OTHER,
            Self::Lost { .. } => LOST,
            Self::Interrupted { .. } => INTERRUPTED,
            Self::OtherOrigin(_) => REFUSED,
            Self::Partly { error, .. } | Self::Instead { error, .. } => error.exit_code(),
        }
    }

    /// The kind of the error, in a form to match on: the server's code where the server spoke.
    fn code(&self) -> String {
        if let Self::Partly { error, .. } | Self::Instead { error, .. } = self {
            return error.code();
        }
        if let Self::Client(ClientError::Refused { error, .. } | ClientError::KeyRefused { error }) = self
            && let Ok(Value::String(code)) = serde_json::to_value(error.code)
        {
            return code;
        }
        match self {
            Self::Cancelled { .. } => return "cancelled".to_owned(),
            // As the server calls it.
            Self::OtherOrigin(_) => return "other_origin".to_owned(),
            _ => {}
        }
        match self.exit_code() {
            USAGE => "usage",
            PROJECT => "project",
            UNREACHABLE => "unreachable",
            KEY => "no_key",
            REFUSED => "refused",
            BUILD => "build_failed",
            START => "start_failed",
            LOST => "connection_lost",
            GIVEN_UP => "superseded",
            INTERRUPTED => "interrupted",
            _ => match self {
                Self::NothingUnderWay { .. } => "nothing_under_way",
                Self::DeletedMeanwhile { .. } => "deleted",
                _ => "other",
            },
        }
        .to_owned()
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => hint.clone(),
            Self::Project(error) => error.hint(),
            Self::Settings(error) => error.hint(),
            Self::Secrets(error) => error.hint(),
            Self::Pack(error) => error.hint(),
            Self::Config(error) => error.hint(),
            Self::Client(error) => error.hint(),
            Self::Failed { failure, .. } => failure.hint.clone(),
            Self::Superseded { by: Some(by), .. } => Some(format!("the newer one is {by}; see it with `cargo shuttle status`")),
            Self::Superseded { by: None, .. } => Some("see the newer one with `cargo shuttle status`".to_owned()),
            Self::Cancelled { .. } => Some("`cargo shuttle deploy` begins anew".to_owned()),
            Self::OtherOrigin(OtherOrigin { project, .. }) => Some(format!(
                "if it is meant to replace that, deploy it with --yes, or with `--name {project}`; \
                 if it is an app of its own, give it another name: `cargo shuttle deploy --name NAME`"
            )),
            Self::Instead { error, .. } => error.hint(),
            Self::NothingUnderWay { .. } => Some(
                "`cargo shuttle deployment list` shows what became of them; what serves is ended by `cargo shuttle delete`, \
                 or replaced by the next deployment"
                    .to_owned(),
            ),
            Self::Lost { what, .. } | Self::Interrupted { what } => what.hint(),
            Self::DeletedMeanwhile { .. } | Self::Aborted(_) | Self::Io { .. } => None,
            Self::Partly { error, left, .. } if left.is_empty() => error.hint(),
            Self::Partly { error, left, .. } => {
                let left = format!("not deployed for that reason: {}", left.join(", "));
                Some(error.hint().map_or(left.clone(), |hint| format!("{hint}\n{left}")))
            }
        }
    }

    /// What is so in spite of the error: the last thing that is said.
    pub(crate) fn note(&self) -> Option<String> {
        match self {
            Self::Instead { serves, .. } => Some(serves.to_string()),
            Self::Partly { error, .. } => error.note(),
            _ => None,
        }
    }

    /// Lines between the message and the hint: how the app ended, and what it said last.
    pub(crate) fn details(&self) -> Vec<String> {
        let failure = match self {
            Self::Failed { failure, .. } => failure,
            Self::Partly { error, .. } | Self::Instead { error, .. } => return error.details(),
            _ => return Vec::new(),
        };
        let mut lines = Vec::new();
        if let Some(status) = &failure.exit_status {
            lines.push(format!("the app ended with {status}"));
        }
        if !failure.log.is_empty() {
            lines.push("last lines of its log:".to_owned());
            lines.extend(failure.log.iter().map(|line| format!("  {}", crate::ui::log_line(line))));
        }
        lines
    }

    /// The document that `--output json` prints.
    pub(crate) fn to_json(&self) -> Value {
        if let Self::Partly { error, done, left } = self {
            let mut document = error.to_json();
            document["error"]["hint"] = json!(self.hint());
            document["deployed"] = json!(done);
            document["not_deployed"] = json!(left);
            return document;
        }
        if let Self::Instead { error, serves } = self {
            let mut document = error.to_json();
            document["error"]["serving"] = match serves {
                Serves::Nothing { .. } => Value::Null,
                Serves::Deployment { id, instance, url } => json!({ "deployment": id, "instance": instance, "url": url }),
            };
            return document;
        }
        let mut error = json!({ "code": self.code(), "message": self.to_string(), "hint": self.hint() });
        match self {
            Self::Failed { deployment, failure } => {
                error["deployment"] = json!(deployment);
                error["failure"] = json!(failure);
            }
            Self::Superseded { deployment, .. }
            | Self::Cancelled { deployment, .. }
            | Self::DeletedMeanwhile { deployment }
            | Self::Lost { what: Following::Deployment(deployment), .. }
            | Self::Interrupted { what: Following::Deployment(deployment) } => error["deployment"] = json!(deployment),
            Self::Client(
                ClientError::Refused { error: inner, .. }
                | ClientError::NoSecrets { error: inner }
                | ClientError::KeyRefused { error: inner },
            ) => {
                error["request_id"] = json!(inner.request_id);
            }
            _ => {}
        }
        json!({ "error": error })
    }
}

impl Following {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Upload => Some("nothing was deployed: what the server had of it is gone".to_owned()),
            Self::Deployment(id) => Some(format!(
                "the deployment {id} goes on: see it with `cargo shuttle status`, \
                 end it with `cargo shuttle deployment cancel {id}`"
            )),
            Self::Restart => Some("the restart goes on: see it with `cargo shuttle status`".to_owned()),
            Self::Logs => Some("the app goes on; run the command again to follow its log".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_names_the_exit_and_has_its_own_code() {
        let failure = Failure {
            kind: FailureKind::Start,
            message: "the app ended before it was ready".into(),
            hint: None,
            exit_status: Some("exit status 3".into()),
            log: vec![],
        };
        let error = Error::Failed { deployment: "d1".into(), failure: Box::new(failure) };
        assert_eq!(error.exit_code(), 8);
        assert_eq!(error.details(), ["the app ended with exit status 3"]);
        assert_eq!(error.to_json()["error"]["code"], "start_failed");
        assert_eq!(error.to_json()["error"]["deployment"], "d1");
    }

    #[test]
    fn an_interrupted_deployment_is_said_to_go_on() {
        let error = Error::Interrupted { what: Following::Deployment("d7".into()) };
        assert!(error.hint().unwrap().contains("d7 goes on"));
        assert_eq!(error.exit_code(), 130);
    }
}
