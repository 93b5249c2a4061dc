//! What is deployed, kept running.
//!
//! For each project that serves there is one *keeper*: a task that owns the instance, starts it again when it ends by
//! itself (later each time), and stops it when a newer deployment has taken its place, after what is in flight has
//! finished. It changes no deployment's state: a deployed app that crashes is still the deployed one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use platform_wire::{BuildKind, LaterBuild, LogLevel, ProjectName, ServiceKind, Serving};
use shuttle_abi::Kind;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    Built, Meta, Optimised,
    launcher::{LaunchError, Launcher},
    policy,
    retention::{Hold, InUse},
    routed::Routed,
};
use crate::{
    proxy::{Routes, Target, TargetState, Upstream},
    supervisor::Instance,
};

/// Instances that are started at the same time after a restart of the server.
const STARTS_AT_ONCE: usize = 8;

/// Instances of one project that finish what they are at, after others have taken their place. With one more, the oldest is
/// ended: each keeps what it has, its connections to a database for example.
const DRAINING: usize = 2;
/// Instances of one project that run at the same time at most: one that serves, one that is being started, and those.
pub(crate) const AT_ONCE: u32 = 2 + DRAINING as u32;

/// The time that an instance has when it is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grace {
    /// For its requests in flight, and then, of what is left of it, for ending.
    pub(crate) requests: Duration,
    /// For ending, from when it is told, at the least.
    pub(crate) end: Duration,
}

/// What is told of an instance that is as it should be.
const RUNNING: &str = "running";

/// All keepers.
#[derive(Debug)]
pub(crate) struct Instances {
    launcher: Arc<Launcher>,
    routed: Routed,
    in_use: InUse,
    grace: Grace,
    max_restart_delay_ms: u64,
    /// Whether optimised builds are made.
    optimises: bool,
    starts: Arc<Semaphore>,
    live: Mutex<HashMap<i64, Keeper>>,
    /// Those that were replaced and have not ended, the oldest first.
    draining: Mutex<HashMap<i64, Vec<Keeper>>>,
    /// What does not start because its artifact is gone or damaged.
    damaged: (mpsc::UnboundedSender<Built>, tokio::sync::Mutex<mpsc::UnboundedReceiver<Built>>),
}

/// A handle on a keeper's task.
#[derive(Debug)]
struct Keeper {
    deployment: String,
    kind: Kind,
    status: Arc<Mutex<Status>>,
    retire: CancellationToken,
    /// Ends what is retiring at once.
    cut: CancellationToken,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone)]
struct Status {
    instance: &'static str,
    restarts: u32,
    /// What the instance was started from.
    build: BuildKind,
    /// As the deployment's, and newer.
    optimised: Optimised,
}

impl Instances {
    pub(crate) fn new(
        launcher: Arc<Launcher>,
        routes: Arc<Routes>,
        in_use: InUse,
        grace: Grace,
        max_restart_delay: Duration,
        optimises: bool,
    ) -> Self {
        Self {
            launcher,
            routed: Routed::new(routes),
            in_use,
            grace,
            max_restart_delay_ms: u64::try_from(max_restart_delay.as_millis()).unwrap_or(u64::MAX),
            optimises,
            starts: Arc::new(Semaphore::new(STARTS_AT_ONCE)),
            live: Mutex::default(),
            draining: Mutex::default(),
            damaged: {
                let (sender, receiver) = mpsc::unbounded_channel();
                (sender, tokio::sync::Mutex::new(receiver))
            },
        }
    }

    /// Makes an instance that has answered what the project serves. What served before finishes and ends meanwhile.
    pub(crate) fn take_over(&self, built: Built, instance: Box<dyn Instance>, target: Arc<Target>) {
        self.install(built, Some(instance), target);
    }

    /// Starts what the database says is deployed. Requests wait for it.
    pub(crate) fn wake(&self, built: Built) {
        let target = Target::new(before_start(&built));
        self.install(built, None, target);
    }

    /// The project serves this deployment, says the database. Requests wait until it is known whether it can be started.
    pub(super) fn expect(&self, built: &Built) {
        self.routed.give(&built.meta, Target::new(before_start(built)));
    }

    /// Whether the project's requests are for this deployment.
    pub(super) fn is_routed(&self, meta: &Meta) -> bool {
        self.routed.is_owner(meta)
    }

    /// Nothing is started of a deployment. Where it is what the project serves, the project is down.
    pub(super) fn is_down(&self, meta: &Meta) {
        self.routed.change(meta, TargetState::Down);
    }

    /// The project has something that serves, and that cannot be read.
    pub(super) fn is_unreadable(&self, project: &ProjectName) {
        self.routed.is_unreadable(project);
    }

    /// A deployment is being made again. Where it is what the project serves, requests wait for it.
    pub(super) fn is_rebuilt(&self, built: &Built) {
        let meta = &built.meta;
        self.routed.change(meta, before_start(built));
        // With the fast build, the optimised one was given up.
        if let Some(keeper) = self.lock().get(&meta.project_id).filter(|keeper| keeper.deployment == meta.id) {
            let mut status = keeper.status();
            if status.optimised != Optimised::NotWanted {
                status.optimised = Optimised::Wanted;
            }
        }
    }

    /// The next deployment that does not start because its artifact is gone or damaged. Its keeper has ended.
    pub(super) async fn next_damaged(&self) -> Built {
        match self.damaged.1.lock().await.recv().await {
            Some(built) => built,
            // The sender is here as long as `self` is.
            None => std::future::pending().await,
        }
    }

    fn install(&self, built: Built, instance: Option<Box<dyn Instance>>, target: Arc<Target>) {
        let status = Status { instance: "starting", restarts: 0, build: built.best().1, optimised: built.optimised.clone() };
        let status = Arc::new(Mutex::new(status));
        let (retire, cut) = (CancellationToken::new(), CancellationToken::new());
        let (project_id, deployment) = (built.meta.project_id, built.meta.id.clone());
        let kind = built.manifest.service.kind;
        self.routed.give(&built.meta, Arc::clone(&target));
        let keep = Keep {
            launcher: Arc::clone(&self.launcher),
            _files: self.in_use.hold(&built.meta.id),
            starts: Arc::clone(&self.starts),
            damaged: self.damaged.0.clone(),
            built,
            target,
            status: Arc::clone(&status),
            retire: retire.clone(),
            cut: cut.clone(),
            grace: self.grace,
            max_restart_delay_ms: self.max_restart_delay_ms,
        };
        let keeper = Keeper { deployment, kind, status, retire, cut, task: tokio::spawn(keep.run(instance)) };
        let mut live = self.lock();
        if let Some(old) = live.get(&project_id) {
            let (old_status, mut status) = (old.status().clone(), keeper.status());
            // What became known while the new instance was started.
            if old.deployment == keeper.deployment && status.optimised == Optimised::Wanted {
                status.optimised = old_status.optimised;
            }
            drop(status);
        }
        if let Some(old) = live.insert(project_id, keeper) {
            self.let_finish(project_id, old);
        }
    }

    fn let_finish(&self, project_id: i64, old: Keeper) {
        old.retire.cancel();
        let mut all = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, those| {
            those.retain(|keeper| !keeper.task.is_finished());
            !those.is_empty()
        });
        let those = all.entry(project_id).or_default();
        those.push(old);
        let too_many = those.len().saturating_sub(DRAINING);
        for keeper in those.drain(..too_many) {
            keeper.cut.cancel();
        }
    }

    fn take_draining(&self, project_id: i64) -> Vec<Keeper> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner).remove(&project_id).unwrap_or_default()
    }

    /// Starts an instance beside the one that serves.
    pub(crate) async fn launch(&self, built: &mut Built) -> Result<(Box<dyn Instance>, Option<Upstream>), LaunchError> {
        let before = built.optimised.clone();
        let launched = self.launcher.launch(built, &self.starts).await;
        if let Some(keeper) = self.lock().get(&built.meta.project_id).filter(|keeper| keeper.deployment == built.meta.id) {
            keeper.status().learn(&before, &built.optimised);
        }
        launched
    }

    /// Takes the project off the proxy, and waits until its instance has ended.
    pub(crate) async fn remove(&self, project_id: i64, project: &ProjectName) {
        // It may have a route and no instance: one that is being made again, or that is down.
        self.routed.remove(project_id, project);
        let keeper = self.lock().remove(&project_id);
        let Some(keeper) = keeper else { return };
        keeper.retire.cancel();
        for keeper in self.take_draining(project_id).into_iter().chain([keeper]) {
            let _ = keeper.task.await;
        }
        self.launcher.sweep(project_id).await;
    }

    /// Ends all instances, each within its grace.
    pub(crate) async fn stop(&self) {
        let keepers: Vec<(i64, Keeper)> = self.lock().drain().collect();
        for (_, keeper) in &keepers {
            keeper.retire.cancel();
        }
        for (project_id, keeper) in keepers {
            for keeper in self.take_draining(project_id).into_iter().chain([keeper]) {
                let _ = keeper.task.await;
            }
            self.launcher.sweep(project_id).await;
        }
    }

    /// What has become of the optimised build of what serves. The app's next start is from it, if it is ready.
    pub(crate) fn set_optimised(&self, project_id: i64, deployment: &str, optimised: Optimised) {
        if let Some(keeper) = self.lock().get(&project_id).filter(|keeper| keeper.deployment == deployment) {
            keeper.status().optimised = optimised;
        }
    }

    /// Whether the project's instance answers requests, or would.
    pub(crate) fn runs(&self, project_id: i64) -> bool {
        self.lock().get(&project_id).is_some_and(|keeper| keeper.status().instance == RUNNING)
    }

    /// How the project's instance is.
    pub(crate) fn serving(&self, project_id: i64) -> Option<Serving> {
        let live = self.lock();
        let keeper = live.get(&project_id)?;
        let status = keeper.status().clone();
        Some(Serving {
            deployment: keeper.deployment.clone(),
            instance: status.instance.to_owned(),
            restarts: status.restarts,
            kind: match keeper.kind {
                Kind::Http => ServiceKind::Http,
                Kind::Background => ServiceKind::Background,
            },
            build: status.build,
            // One that is wanted and never made is none that follows.
            optimised: status.optimised.to_wire().filter(|later| self.optimises || *later != LaterBuild::Waiting),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Keeper>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What becomes of requests for a deployment that is to be started.
fn before_start(built: &Built) -> TargetState {
    if built.serves_http() { TargetState::Starting } else { TargetState::Background }
}

impl Status {
    /// A start that began with `before` has shown something of the optimised build. What has become known meanwhile is newer.
    fn learn(&mut self, before: &Optimised, after: &Optimised) {
        if self.optimised == *before {
            self.optimised = after.clone();
        }
    }
}

impl Keeper {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a keeper's task owns.
struct Keep {
    launcher: Arc<Launcher>,
    /// It works in them until it has ended, also after a newer deployment has taken its place.
    _files: Hold,
    starts: Arc<Semaphore>,
    damaged: mpsc::UnboundedSender<Built>,
    built: Built,
    target: Arc<Target>,
    status: Arc<Mutex<Status>>,
    retire: CancellationToken,
    cut: CancellationToken,
    grace: Grace,
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
                    self.set(RUNNING);
                    tokio::select! {
                        exit = instance.ended() => format!("the app ended by itself ({exit})"),
                        () = self.retire.cancelled() => return self.retire(instance).await,
                    }
                }
                Err(why) => {
                    // What is not there will not start the next time either.
                    if !self.launcher.artifacts.is_whole(&self.built.artifact, true).await {
                        self.set("crashed");
                        let _ = self.damaged.send(self.built);
                        return;
                    }
                    why
                }
            };
            let lived = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            failures = policy::failures_after(failures, lived);
            let delay = Duration::from_millis(policy::restart_delay_ms(failures, self.max_restart_delay_ms));
            self.crashed(&ended, delay).await;
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.retire.cancelled() => return,
            }
        }
    }

    async fn launch(&self) -> Result<Box<dyn Instance>, String> {
        self.set("starting");
        self.route(TargetState::Starting);
        let mut built = self.built.clone();
        built.optimised = self.status().optimised.clone();
        let before = built.optimised.clone();
        let launched = self.launcher.launch(&mut built, &self.starts).await;
        // An optimised build that has become ready meanwhile is for the next start.
        self.status().learn(&before, &built.optimised);
        let (instance, upstream) = launched.map_err(|error| error.to_string())?;
        self.status().build = built.best().1;
        self.route(upstream.map_or(TargetState::Background, TargetState::Ready));
        Ok(instance)
    }

    /// Tells the proxy how the instance is. How a background service is makes no difference to it.
    fn route(&self, state: TargetState) {
        if self.built.serves_http() {
            self.target.set(state);
        }
    }

    async fn crashed(&self, why: &str, delay: Duration) {
        // For a pause that a request can wait out, it does.
        self.route(if delay < Duration::from_secs(1) { TargetState::Starting } else { TargetState::Down });
        self.set("crashed");
        self.status().restarts += 1;
        let when = if delay.is_zero() { "at once".to_owned() } else { format!("in {:.1} s", delay.as_secs_f32()) };
        tracing::info!(project = %self.built.meta.project, deployment = self.built.meta.id, why, "started again {when}");
        self.launcher.log(&self.built, LogLevel::Error, format!("{why}; it is started again {when}")).await;
    }

    /// A newer deployment has the route: lets what is in flight finish, then ends the instance.
    async fn retire(&self, instance: Box<dyn Instance>) {
        let started = tokio::time::Instant::now();
        let finished = async {
            let _ = tokio::time::timeout(self.grace.requests, self.target.drained()).await;
            instance.stop(self.grace.requests.saturating_sub(started.elapsed()).max(self.grace.end)).await
        };
        tokio::select! {
            exit = finished => tracing::debug!(deployment = self.built.meta.id, exit, "an instance was stopped"),
            () = self.cut.cancelled() => self.launcher.log(
                &self.built,
                LogLevel::Warn,
                format!("an instance that was replaced was ended in the middle of its requests: {DRAINING} newer ones are finishing theirs"),
            ).await,
        }
    }

    fn set(&self, instance: &'static str) {
        self.status().instance = instance;
    }

    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Digest;

    #[test]
    fn what_a_start_shows_of_the_optimised_build_does_not_hide_what_is_newer() {
        let (lost, new) = (Optimised::Ready(Digest::new(&[1; 32])), Optimised::Ready(Digest::new(&[2; 32])));
        for (now, after, expected) in [
            (&lost, Optimised::Wanted, Optimised::Wanted),
            (&lost, Optimised::Failed("it ends".into()), Optimised::Failed("it ends".into())),
            (&new, Optimised::Wanted, new.clone()),
        ] {
            let mut status = Status { instance: RUNNING, restarts: 0, build: BuildKind::Fast, optimised: now.clone() };
            status.learn(&lost, &after);
            assert_eq!(status.optimised, expected);
        }
    }
}
