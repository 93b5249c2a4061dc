//! From a built deployment to an instance that answers: provision, start, wait until ready, ask it something.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use platform_wire::{Failure, FailureKind, LogLine};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::Built;
use crate::{
    address::AppAddress,
    artifact::ArtifactStore,
    logs::LogStore,
    provision::{ProvisionError, Provisioner},
    proxy::Upstream,
    supervisor::{Instance, InstanceSpec, StartError, Supervisor},
    uids::Uids,
};

/// Lines of the app's log that are told with a failure.
const LAST_LINES: usize = 20;
/// Pause before an instance that gave no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Why a deployment does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("the app did not start: {0}")]
    Start(#[from] StartError),
    #[error("the app did not start: it was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("the app did not start: it listens, but gave no HTTP answer within {} s", .0.as_secs())]
    NoAnswer(Duration),
}

impl LaunchError {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Provision(_) => FailureKind::Provision,
            Self::Start(StartError::Io(_)) => FailureKind::Internal,
            Self::Start(_) | Self::NotReady(_) | Self::NoAnswer(_) => FailureKind::Start,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Provision(error) => error.hint(),
            Self::Start(StartError::Io(_)) => "the server's log has more".into(),
            Self::Start(_) => "all of its log: cargo shuttle logs".into(),
            Self::NotReady(_) => {
                "the annotated function must return its service, not serve it itself; if it needs longer, raise the server's --start-timeout".into()
            }
            Self::NoAnswer(_) => "any answer to a request for / counts, an error too; if it needs longer, raise the server's --start-timeout".into(),
        }
    }
}

/// Starts instances of deployments.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) provisioner: Provisioner,
    pub(crate) supervisor: Arc<dyn Supervisor>,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) deployments: PathBuf,
    pub(crate) address: AppAddress,
    pub(crate) uids: Uids,
    pub(crate) logs: LogStore,
    pub(crate) start_timeout: Duration,
}

impl Launcher {
    /// Folder of a deployment's own files.
    pub(crate) fn files(&self, id: &str) -> PathBuf {
        files(&self.deployments, id)
    }

    /// Provisions, and describes the instance.
    pub(crate) async fn provide(&self, built: &Built) -> Result<InstanceSpec, LaunchError> {
        let meta = &built.meta;
        if let Some(gid) = self.uids.app(meta.project_id) {
            only_for(&self.deployments.join(&meta.id), gid).map_err(StartError::Io)?;
        }
        let resources = self.provisioner.provide(meta.project_id, &meta.project, &built.manifest.resources).await?;
        Ok(InstanceSpec {
            project: meta.project.clone(),
            deployment: meta.id.clone(),
            crate_name: built.manifest.crate_name.clone(),
            url: self.address.url(&meta.project),
            artifact: self.artifacts.path(&built.artifact),
            executable: meta.index.binary.is_some(),
            workdir: self.files(&meta.id).join(meta.package_folder()),
            listen: built.manifest.service.listen,
            uid: self.uids.app(meta.project_id),
            resources,
        })
    }

    /// Starts the process; it runs when this returns.
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Box<dyn Instance>, LaunchError> {
        Ok(self.supervisor.start(spec).await.map_err(StartError::Io)?)
    }

    /// Waits until the instance has answered a request. An instance that does not is dropped, which ends it.
    pub(crate) async fn answer(
        &self,
        mut instance: Box<dyn Instance>,
        built: &Built,
    ) -> Result<(Box<dyn Instance>, Upstream), LaunchError> {
        let limit = self.start_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let Ok(ready) = tokio::time::timeout_at(deadline, instance.ready()).await else {
            instance.stop(Duration::ZERO).await;
            return Err(LaunchError::NotReady(limit));
        };
        let upstream = ready?;
        let host = self.address.host(&built.meta.project);
        let ended = tokio::select! {
            asked = tokio::time::timeout_at(deadline, ask(&upstream, &host)) => match asked {
                Ok(()) => None,
                Err(_) => Some(LaunchError::NoAnswer(limit)),
            },
            exit = instance.ended() => Some(StartError::Ended { exit }.into()),
        };
        match ended {
            None => Ok((instance, upstream)),
            Some(error) => {
                instance.stop(Duration::ZERO).await;
                Err(error)
            }
        }
    }

    /// Ends what the project's instances started and left: they are gone.
    pub(crate) fn sweep(&self, project_id: i64) {
        if let Some(uid) = self.uids.app(project_id) {
            self.supervisor.sweep(uid);
        }
    }

    /// What a client is told of a failed launch.
    pub(crate) async fn failure(&self, built: &Built, error: &LaunchError) -> Failure {
        let exit_status = match error {
            LaunchError::Start(error) => error.exit(),
            LaunchError::Provision(_) | LaunchError::NotReady(_) | LaunchError::NoAnswer(_) => None,
        };
        let log: Vec<LogLine> = self
            .logs
            .tail(&built.meta.project, LAST_LINES * 5)
            .await
            .unwrap_or_default()
            .into_iter()
            .map(|(_, line)| line)
            .filter(|line| line.deployment == built.meta.id)
            .collect();
        let log = log[log.len().saturating_sub(LAST_LINES)..].to_vec();
        Failure { kind: error.kind(), message: error.to_string(), hint: Some(error.hint()), exit_status, log }
    }
}

/// An app may read its own files; other apps may not.
fn only_for(folder: &Path, gid: u32) -> std::io::Result<()> {
    std::os::unix::fs::chown(folder, None, Some(gid))?;
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o750))
}

/// Folder of a deployment's own files, below the folder of all deployments.
pub(crate) fn files(deployments: &Path, id: &str) -> PathBuf {
    deployments.join(id).join("files")
}

/// Asks until there is an answer.
async fn ask(upstream: &Upstream, host: &str) {
    while !ask_once(upstream, host).await.unwrap_or(false) {
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn ask_once(upstream: &Upstream, host: &str) -> std::io::Result<bool> {
    match upstream {
        Upstream::Unix(path) => exchange(tokio::net::UnixStream::connect(path).await?, host).await,
        Upstream::Tcp(address) => exchange(tokio::net::TcpStream::connect(address).await?, host).await,
    }
}

/// `OPTIONS`, because it is the one method that every server answers and that runs nobody's handler.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> std::io::Result<bool> {
    let request = format!("OPTIONS / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: platform-server\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 7];
    stream.read_exact(&mut start).await?;
    Ok(&start == b"HTTP/1.")
}
