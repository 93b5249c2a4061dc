//! What is deployed, kept running.
//!
//! For each project that serves there is one *keeper*: a task that owns the instance, starts it again when it ends by
//! itself (later each time), and stops it when a newer deployment has taken its place, after what is in flight has
//! finished. It changes no deployment's state: a deployed app that crashes is still the deployed one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use platform_wire::{LogLevel, LogLine, LogSource, ProjectName, ServiceKind, Serving};
use shuttle_abi::Kind;
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    Built,
    launcher::{LaunchError, Launcher},
    policy,
    retention::{Hold, InUse},
};
use crate::{
    db::now_ms,
    proxy::{Routes, Target, TargetState},
    supervisor::Instance,
};

/// Instances that are started at the same time after a restart of the server.
const STARTS_AT_ONCE: usize = 8;

/// All keepers.
#[derive(Debug)]
pub(crate) struct Instances {
    launcher: Arc<Launcher>,
    routes: Arc<Routes>,
    in_use: InUse,
    grace: Duration,
    max_restart_delay_ms: u64,
    starts: Arc<Semaphore>,
    live: Mutex<HashMap<i64, Keeper>>,
}

/// A handle on a keeper's task.
#[derive(Debug)]
struct Keeper {
    deployment: String,
    project: ProjectName,
    kind: Kind,
    status: Arc<Mutex<Status>>,
    retire: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Copy)]
struct Status {
    instance: &'static str,
    restarts: u32,
}

impl Instances {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        routes: Arc<Routes>,
        in_use: InUse,
        grace: Duration,
        max_restart_delay: Duration,
    ) -> Self {
        Self {
            launcher,
            routes,
            in_use,
            grace,
            max_restart_delay_ms: u64::try_from(max_restart_delay.as_millis()).unwrap_or(u64::MAX),
            starts: Arc::new(Semaphore::new(STARTS_AT_ONCE)),
            live: Mutex::default(),
        }
    }

    /// Makes an instance that has answered what the project serves. What served before finishes and ends meanwhile.
    pub(crate) fn take_over(&self, built: Built, instance: Box<dyn Instance>, target: Arc<Target>) {
        self.install(built, Some(instance), target);
    }

    /// Starts what the database says is deployed. Requests wait for it.
    pub(crate) fn wake(&self, built: Built) {
        let state = if built.serves_http() { TargetState::Starting } else { TargetState::Background };
        self.install(built, None, Target::new(state));
    }

    fn install(&self, built: Built, instance: Option<Box<dyn Instance>>, target: Arc<Target>) {
        let status = Arc::new(Mutex::new(Status { instance: "starting", restarts: 0 }));
        let retire = CancellationToken::new();
        let (project_id, project, deployment) = (built.meta.project_id, built.meta.project.clone(), built.meta.id.clone());
        let kind = built.manifest.service.kind;
        self.routes.set(&project, Arc::clone(&target));
        let keep = Keep {
            launcher: Arc::clone(&self.launcher),
            _files: self.in_use.hold(&built.meta.id),
            starts: Arc::clone(&self.starts),
            built,
            target,
            status: Arc::clone(&status),
            retire: retire.clone(),
            grace: self.grace,
            max_restart_delay_ms: self.max_restart_delay_ms,
        };
        let keeper = Keeper { deployment, project, kind, status, retire, task: tokio::spawn(keep.run(instance)) };
        if let Some(old) = self.lock().insert(project_id, keeper) {
            old.retire.cancel();
        }
    }

    /// Takes the project off the proxy, and waits until its instance has ended.
    pub(crate) async fn remove(&self, project_id: i64) {
        let Some(keeper) = self.lock().remove(&project_id) else { return };
        self.routes.remove(&keeper.project);
        keeper.retire.cancel();
        let _ = keeper.task.await;
        self.launcher.sweep(project_id);
    }

    /// Ends all instances, each within its grace.
    pub(crate) async fn stop(&self) {
        let keepers: Vec<(i64, Keeper)> = self.lock().drain().collect();
        for (_, keeper) in &keepers {
            keeper.retire.cancel();
        }
        for (project_id, keeper) in keepers {
            let _ = keeper.task.await;
            self.launcher.sweep(project_id);
        }
    }

    /// How the project's instance is.
    pub(crate) fn serving(&self, project_id: i64) -> Option<Serving> {
        let live = self.lock();
        let keeper = live.get(&project_id)?;
        let status = *keeper.status.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Serving {
            deployment: keeper.deployment.clone(),
            instance: status.instance.to_owned(),
            restarts: status.restarts,
            kind: match keeper.kind {
                Kind::Http => ServiceKind::Http,
                Kind::Background => ServiceKind::Background,
            },
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Keeper>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a keeper's task owns.
struct Keep {
    launcher: Arc<Launcher>,
    /// It works in them until it has ended, also after a newer deployment has taken its place.
    _files: Hold,
    starts: Arc<Semaphore>,
    built: Built,
    target: Arc<Target>,
    status: Arc<Mutex<Status>>,
    retire: CancellationToken,
    grace: Duration,
    max_restart_delay_ms: u64,
}

impl Keep {
    async fn run(self, first: Option<Box<dyn Instance>>) {
        let mut next = first;
        let mut failures = 0;
        while !self.retire.is_cancelled() {
            let started = tokio::time::Instant::now();
            let instance = match next.take() {
                Some(instance) => Ok(instance),
                None => tokio::select! {
                    launched = self.launch() => launched,
                    () = self.retire.cancelled() => return,
                },
            };
            let ended = match instance {
                Ok(mut instance) => {
                    self.set("running");
                    tokio::select! {
                        exit = instance.ended() => format!("the app ended by itself ({exit})"),
                        () = self.retire.cancelled() => return self.retire(instance).await,
                    }
                }
                Err(why) => why,
            };
            let lived = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            failures = policy::failures_after(failures, lived);
            let delay = Duration::from_millis(policy::restart_delay_ms(failures, self.max_restart_delay_ms));
            self.crashed(&ended, delay);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.retire.cancelled() => return,
            }
        }
    }

    async fn launch(&self) -> Result<Box<dyn Instance>, String> {
        self.set("starting");
        self.route(TargetState::Starting);
        let told = |error: LaunchError| error.to_string();
        let spec = self.launcher.provide(&self.built).await.map_err(told)?;
        // After what it needs is there: waiting for a database must not keep others from starting.
        let _permit = self.starts.acquire().await;
        let instance = self.launcher.start(spec).await.map_err(told)?;
        let (instance, upstream) = self.launcher.answer(instance, &self.built).await.map_err(told)?;
        self.route(upstream.map_or(TargetState::Background, TargetState::Ready));
        Ok(instance)
    }

    /// Tells the proxy how the instance is. How a background service is makes no difference to it.
    fn route(&self, state: TargetState) {
        if self.built.serves_http() {
            self.target.set(state);
        }
    }

    fn crashed(&self, why: &str, delay: Duration) {
        // For a pause that a request can wait out, it does.
        self.route(if delay < Duration::from_secs(1) { TargetState::Starting } else { TargetState::Down });
        self.set("crashed");
        self.status.lock().unwrap_or_else(PoisonError::into_inner).restarts += 1;
        let when = if delay.is_zero() { "at once".to_owned() } else { format!("in {:.1} s", delay.as_secs_f32()) };
        tracing::info!(project = %self.built.meta.project, deployment = self.built.meta.id, why, "started again {when}");
        let line = LogLine {
            time_ms: now_ms().unsigned_abs(),
            level: LogLevel::Error,
            source: LogSource::Platform,
            deployment: self.built.meta.id.clone(),
            target: String::new(),
            message: format!("{why}; it is started again {when}"),
        };
        if let Err(error) = self.launcher.logs.append(&self.built.meta.project, line) {
            tracing::warn!(%error, "a line could not be added to the app's log");
        }
    }

    /// A newer deployment has the route: lets what is in flight finish, then ends the instance.
    async fn retire(&self, instance: Box<dyn Instance>) {
        let started = tokio::time::Instant::now();
        let _ = tokio::time::timeout(self.grace, self.target.drained()).await;
        let exit = instance.stop(self.grace.saturating_sub(started.elapsed())).await;
        tracing::debug!(deployment = self.built.meta.id, exit, "an instance was stopped");
    }

    fn set(&self, instance: &'static str) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).instance = instance;
    }
}
