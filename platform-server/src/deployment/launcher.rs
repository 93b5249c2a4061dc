//! From a built deployment to an instance that serves: provision, start, wait until ready, try a connection or its health path.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use platform_wire::{Env, Failure, FailureKind, LogLevel, LogLine, LogSource};
use shuttle_abi::FilesAt;
use tokio::sync::Semaphore;

use super::{
    Built, Optimised,
    probe::Probe,
    restore::forget_damaged,
    settings::{self, Refused},
};
use crate::{
    address::AppAddress,
    artifact::ArtifactStore,
    build::blocking,
    db::{Db, now_ms},
    logs::LogStore,
    provision::{Provided, ProvisionError, Provisioner},
    proxy::Upstream,
    supervisor::{Instance, InstanceSpec, StartError, Supervisor},
    uids::Uids,
};

/// Variables that an app has unless it sets the first of them. A panic says where it came from; errors that record a backtrace each
/// time that one is made, as those of anyhow do, would make an app slower.
const BACKTRACES: [(&str, &str); 2] = [("RUST_BACKTRACE", "1"), ("RUST_LIB_BACKTRACE", "0")];
/// Lines of the app's log that are told with a failure.
const LAST_LINES: usize = 20;

/// Why a deployment does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LaunchError {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("the app did not start: {0}")]
    Start(#[from] StartError),
    #[error("the app was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    #[error("the app said that it is ready, but took no connection within {} s", .0.as_secs())]
    NotTaken(Duration),
    #[error("the app is not healthy: its health path {path} gave no HTTP answer within {} s", .limit.as_secs())]
    NoAnswer { path: String, limit: Duration },
    #[error("the app is not healthy: at its health path {path} it answered with status {status}")]
    Unhealthy { path: String, status: u16 },
    #[error(transparent)]
    Setting(#[from] Refused),
}

impl LaunchError {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Provision(_) => FailureKind::Provision,
            Self::Start(StartError::Io(_)) => FailureKind::Internal,
            Self::Start(_) | Self::NotReady(_) | Self::NotTaken(_) | Self::NoAnswer { .. } | Self::Unhealthy { .. } => {
                FailureKind::Start
            }
            // As what else a manifest says wrong.
            Self::Setting(_) => FailureKind::Build,
        }
    }

    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Provision(error) => error.hint(),
            Self::Start(StartError::Io(_)) => "the server's log has more".into(),
            Self::Start(_) => "`cargo shuttle logs` prints all of its log".into(),
            Self::NotReady(_) => {
                "the annotated function must return its service, not serve it itself; if it needs longer, raise the server's --start-timeout".into()
            }
            Self::Unhealthy { path, .. } => {
                format!("{path} has to answer GET with a status of 2xx or 3xx once the app can serve, with 503 until then")
            }
            Self::Setting(refused) => refused.hint.clone(),
            Self::NotTaken(_) => {
                "the service must accept connections on the listener that it was given, and close those that are at their end; if it needs longer, raise the server's --start-timeout".into()
            }
            Self::NoAnswer { path, .. } => {
                format!("{path} has to answer GET, with 503 until the app can serve; if it needs longer, raise the server's --start-timeout")
            }
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
    /// Where builds see an app's files, if it is at a fixed path: so does the app.
    pub(crate) seen_at: Option<PathBuf>,
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

    /// Provisions, and describes an instance of the best build.
    pub(crate) async fn provide(&self, built: &Built) -> Result<InstanceSpec, LaunchError> {
        let meta = &built.meta;
        settings::check(&built.manifest.service)?;
        if let Some(gid) = self.uids.app(meta.project_id) {
            let folder = self.deployments.join(&meta.id);
            blocking(move || only_for(&folder, gid)).await.map_err(StartError::Io)?;
        }
        let files = self
            .seen_at
            .as_ref()
            .map(|at| FilesAt { from: self.files(&meta.id).display().to_string(), at: at.display().to_string() });
        let Provided { resources, notes } = self.provisioner.provide(meta, &built.manifest.resources).await?;
        for note in notes {
            self.log(built, LogLevel::Warn, note).await;
        }
        // Those of the project may have been changed since the deployment, and are meant for it as it is now.
        let own = self.provisioner.db.env(meta.project_id).await.map_err(ProvisionError::from)?;
        let env = with_backtraces(meta.index.env.clone().into_iter().chain(own).collect());
        Ok(InstanceSpec {
            project: meta.project.clone(),
            deployment: meta.id.clone(),
            crate_name: built.manifest.crate_name.clone(),
            url: self.address.url(&meta.project),
            artifact: self.artifacts.path(built.best().0),
            executable: meta.index.binary.is_some(),
            workdir: self.files(&meta.id).join(meta.package_folder()),
            files,
            listen: built.manifest.service.listen,
            uid: self.uids.app(meta.project_id),
            resources,
            env,
        })
    }

    /// Starts an instance from the best build that there is. Where the optimised one is gone or does not start, and the fast one does,
    /// it is that, and `built` has no optimised one any more. At most so many start at a time as `starts` has permits.
    pub(crate) async fn launch(
        &self,
        built: &mut Built,
        starts: &Semaphore,
    ) -> Result<(Box<dyn Instance>, Option<Upstream>), LaunchError> {
        let error = match self.launch_one(built, starts).await {
            Err(error) => error,
            launched => return launched,
        };
        let Some(fast) = fall_back(&self.artifacts, &self.provisioner.db, built, &error).await else { return Err(error) };
        if fast.optimised == Optimised::Wanted {
            *built = fast;
            let launched = self.launch_one(built, starts).await?;
            let told = "the optimised build is gone or damaged, so the fast one serves until it is made again";
            self.log(built, LogLevel::Warn, told.to_owned()).await;
            return Ok(launched);
        }
        // Of the same sources: where this one starts, the fault is the other one's.
        let Ok(launched) = self.launch_one(&fast, starts).await else { return Err(error) };
        let told = format!("the optimised build does not start, so the fast one serves: {error}");
        self.log(built, LogLevel::Error, told).await;
        *built = fast;
        Ok(launched)
    }

    async fn launch_one(&self, built: &Built, starts: &Semaphore) -> Result<(Box<dyn Instance>, Option<Upstream>), LaunchError> {
        let spec = self.provide(built).await?;
        // After what it needs is there: waiting for a database must not keep others from starting.
        let _permit = starts.acquire().await;
        let instance = self.start(spec).await?;
        self.answer(instance, built).await
    }

    /// Adds a line of the platform's to the app's log.
    pub(crate) async fn log(&self, built: &Built, level: LogLevel, message: String) {
        let line = LogLine {
            time_ms: now_ms().unsigned_abs(),
            level,
            source: LogSource::Platform,
            deployment: built.meta.id.clone(),
            target: String::new(),
            message,
        };
        let (logs, project) = (self.logs.clone(), built.meta.project.clone());
        if let Err(error) = blocking(move || logs.append(&project, line)).await {
            tracing::warn!(%error, "a line could not be added to the app's log");
        }
    }

    /// Starts the process; it runs when this returns.
    pub(crate) async fn start(&self, spec: InstanceSpec) -> Result<Box<dyn Instance>, LaunchError> {
        Ok(self.supervisor.start(spec).await.map_err(StartError::Io)?)
    }

    /// Waits until the instance takes connections, or answers well at its health path; where it serves nobody, until it says that
    /// it is ready. One that does not is ended.
    pub(crate) async fn answer(
        &self,
        mut instance: Box<dyn Instance>,
        built: &Built,
    ) -> Result<(Box<dyn Instance>, Option<Upstream>), LaunchError> {
        let limit = self.start_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        let Ok(ready) = tokio::time::timeout_at(deadline, instance.ready()).await else {
            instance.stop(Duration::ZERO).await;
            return Err(LaunchError::NotReady(limit));
        };
        let Some(upstream) = ready? else { return Ok((instance, None)) };
        let probed = tokio::select! {
            probed = self.probe(&upstream, built, deadline) => probed,
            exit = instance.ended() => Err(StartError::Ended { exit }.into()),
        };
        match probed {
            Ok(()) => Ok((instance, Some(upstream))),
            Err(error) => {
                instance.stop(Duration::ZERO).await;
                Err(error)
            }
        }
    }

    async fn probe(&self, upstream: &Upstream, built: &Built, deadline: tokio::time::Instant) -> Result<(), LaunchError> {
        let path = built.manifest.service.settings.health_path.as_deref();
        let (probe, host) = (path.map_or(Probe::Connection, Probe::Health), self.address.host(&built.meta.project));
        let mut last = None;
        let asked = tokio::time::timeout_at(deadline, probe.ask(upstream, &host, |status| last = Some(status))).await;
        let unhealthy = |status| LaunchError::Unhealthy { path: path.unwrap_or("/").to_owned(), status };
        let limit = self.start_timeout;
        match (asked, last, path) {
            (Ok(answered), ..) => answered.map_err(unhealthy),
            (Err(_), Some(status), _) => Err(unhealthy(status)),
            (Err(_), None, Some(path)) => Err(LaunchError::NoAnswer { path: path.to_owned(), limit }),
            (Err(_), None, None) => Err(LaunchError::NotTaken(limit)),
        }
    }

    /// Ends what the project's instances started and left: they are gone.
    pub(crate) async fn sweep(&self, project_id: i64) {
        if let Some(uid) = self.uids.app(project_id) {
            self.supervisor.sweep(uid).await;
        }
    }

    /// What a client is told of a failed launch.
    pub(crate) async fn failure(&self, built: &Built, error: &LaunchError) -> Failure {
        let exit_status = match error {
            LaunchError::Start(error) => error.exit(),
            LaunchError::Provision(_)
            | LaunchError::NotReady(_)
            | LaunchError::NotTaken(_)
            | LaunchError::NoAnswer { .. }
            | LaunchError::Unhealthy { .. }
            | LaunchError::Setting(_) => None,
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

/// What to start instead of an optimised build that does not start: the fast one, where the optimised one may be at fault.
async fn fall_back(artifacts: &ArtifactStore, db: &Db, built: &Built, error: &LaunchError) -> Option<Built> {
    let opened = !matches!(error, LaunchError::Start(StartError::Io(_)));
    if !matches!(built.optimised, Optimised::Ready(_)) || (opened && error.kind() != FailureKind::Start) {
        return None;
    }
    let mut fast = built.clone();
    if !forget_damaged(artifacts, db, &mut fast, true).await {
        // It is whole: that it could not be started at all is not its fault.
        if !opened {
            return None;
        }
        fast.optimised = Optimised::Failed(format!("it does not start: {error}"));
    }
    Some(fast)
}

fn with_backtraces(mut env: Env) -> Env {
    if !env.contains_key(BACKTRACES[0].0) {
        for (name, value) in BACKTRACES {
            env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    env
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

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;
    use crate::deployment::{Digest, state::tests::built};

    #[tokio::test]
    async fn the_fast_build_is_started_where_the_optimised_one_is_gone_or_damaged_or_at_fault() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("platform.db")).unwrap();
        let store = ArtifactStore::new(folder.path().to_path_buf());
        fs::create_dir(folder.path().join("target")).unwrap();
        fs::write(folder.path().join("target/a.so"), "content").unwrap();
        let digest = store.store(&folder.path().join("target"), Path::new("a.so"), 100).await.unwrap();
        let built = Built { optimised: Optimised::Ready(digest.clone()), ..built(1, 7) };
        let missing = || LaunchError::Start(StartError::Io(io::ErrorKind::NotFound.into()));
        let ended = || LaunchError::Start(StartError::Ended { exit: "signal 11".into() });
        let next = async |built: &Built, error| fall_back(&store, &db, built, &error).await.map(|fast| fast.optimised);
        assert_eq!(next(&built, missing()).await, None, "it is there");
        assert!(matches!(next(&built, ended()).await, Some(Optimised::Failed(why)) if why.contains("signal 11")));
        fs::write(store.path(&digest), "c0ntent").unwrap();
        assert_eq!(next(&built, ended()).await, Some(Optimised::Wanted), "damaged");
        fs::remove_file(store.path(&digest)).unwrap();
        assert_eq!(next(&built, missing()).await, Some(Optimised::Wanted), "gone");
        let unhealthy = LaunchError::Provision(ProvisionError::Io(io::ErrorKind::TimedOut.into()));
        assert_eq!(next(&built, unhealthy).await, None, "the same would happen to the fast one");
        let only_fast = Built { optimised: Optimised::Failed(String::new()), artifact: Digest::new(&[3; 32]), ..built };
        assert_eq!(next(&only_fast, missing()).await, None);
    }

    #[test]
    fn backtraces_are_on_unless_an_app_says_otherwise() {
        let with = |variables: &[(&str, &str)]| {
            let env = with_backtraces(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
            env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(with(&[("A", "1")]), "A=1 RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=0");
        assert_eq!(with(&[("RUST_BACKTRACE", "full")]), "RUST_BACKTRACE=full");
        assert_eq!(with(&[("RUST_LIB_BACKTRACE", "1")]), "RUST_BACKTRACE=1 RUST_LIB_BACKTRACE=1");
    }
}
