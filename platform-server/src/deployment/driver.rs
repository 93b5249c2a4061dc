//! The deployment driver: the only writer of a deployment's state.
//!
//! Each deployment is driven by one task at a time, from the state it is in to one where it rests. Every change is a
//! compare-and-swap in the database before anything of it can be seen; a change that comes too late (the project was
//! deleted meanwhile) is dropped, and what was started for it is ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

use platform_wire::{Event, Failure, FailureKind, Outcome, ProjectName, Resource, Stage, State};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Built, Deployed, Deployment, EventStore, Failed, Loaded, Meta, Optimised, Queued,
    idle::IdleWork,
    instances::Instances,
    launcher::{LaunchError, Launcher},
    policy,
    queue::{Queue, QueueTask},
    restore::Rebuilt,
    retention::Retention,
    taken_up::{self, MAX_ENDED, TakenUp},
    under_way::UnderWay,
};
use crate::{
    build::{BuildError, Builder},
    db::{Db, DbError, NewDeployment},
    locks::Locks,
    proxy::{Target, TargetState},
    reserve::Reserve,
};

/// Drives all deployments.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) db: Db,
    pub(crate) builder: Builder,
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) instances: Instances,
    pub(crate) events: EventStore,
    pub(crate) queue: Queue,
    pub(crate) retention: Arc<Retention>,
    pub(crate) under_way: UnderWay,
    pub(crate) taken_up: TakenUp,
    pub(crate) rebuilt: Rebuilt,
    /// How many deployments could not be read at the start.
    pub(crate) unreadable: AtomicUsize,
    pub(crate) reserve: Reserve,
    pub(crate) idle: IdleWork,
    /// What could not be stored in the database, for those who ask until the next start.
    pub(crate) not_stored: Mutex<HashMap<String, Failure>>,
    /// Starting and swapping happen one at a time for each project.
    pub(crate) swaps: Locks<i64>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Why an app was not restarted.
#[derive(Debug)]
pub(crate) enum NotRestarted {
    NothingServes,
    /// The server stops.
    Stopping,
    /// It does not start. The instance that served before still does.
    Failed(LaunchError),
    Db(DbError),
}

/// The deployment is no longer this task's: it was deleted, or the server stops.
struct Gone;

impl Driver {
    /// Takes up what an earlier server left, then builds what is queued, until the server stops.
    pub(crate) async fn run(self: Arc<Self>, task: QueueTask) {
        let builds = self.builder.limits.builds();
        let (builder, superseder, driver) = (Arc::clone(&self), Arc::clone(&self), Arc::clone(&self));
        let build = move |queued| Arc::clone(&builder).build(queued);
        let supersede = move |queued, by| Arc::clone(&superseder).supersede(queued, by);
        // It served until its artifact was lost, and is what the project has, should the newer one fail.
        let stays = move |queued: &Queued| driver.instances.is_routed(&queued.meta);
        task.run(builds, self.events.clone(), self.stop.clone(), build, supersede, stays).await;
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Takes up every deployment that is not at rest. Routes exist when this returns. `power_lost`: what was written last may
    /// be gone, the database and archives aside.
    pub(crate) async fn recover(self: &Arc<Self>, power_lost: bool) -> Result<(), DbError> {
        for found in self.db.unfinished().await? {
            let deployment = match found {
                Ok(deployment) => deployment,
                Err(unreadable) => {
                    self.leave(&unreadable);
                    continue;
                }
            };
            self.restore_files(deployment.meta(), power_lost).await;
            match deployment {
                Deployment::Queued(queued) => {
                    self.begin(&queued.meta.id);
                    self.queue.push(queued);
                }
                Deployment::Built(mut built) => {
                    if self.is_whole(&mut built, power_lost).await || !self.rebuild(State::Built, &built).await {
                        let cancel = self.begin(&built.meta.id);
                        self.spawn_activation(built, cancel);
                    }
                }
                Deployment::Loaded(loaded) => {
                    // Its process died with the server.
                    let built = loaded.unloaded();
                    let mut built = built;
                    match self.store(State::Loaded, Deployment::Built(built.clone())).await {
                        Ok(()) => {
                            if self.is_whole(&mut built, power_lost).await || !self.rebuild(State::Built, &built).await {
                                let cancel = self.begin(&built.meta.id);
                                self.spawn_activation(built, cancel);
                            }
                        }
                        Err(error) => self.not_stored(&built.meta, &error),
                    }
                }
                Deployment::Deployed(Deployed { mut built }) => {
                    self.instances.expect(&built);
                    if self.is_whole(&mut built, power_lost).await || !self.rebuild(State::Deployed, &built).await {
                        self.instances.wake(built);
                    }
                }
                Deployment::Error(_) | Deployment::Deleted(_) => {}
            }
        }
        Ok(())
    }

    /// Stores a change; if need be, in the room that is kept for that.
    async fn store(&self, from: State, to: Deployment) -> Result<(), DbError> {
        match self.db.swap(from, to.clone()).await {
            Err(error) if error.is_disk_full() && self.make_room().await => self.db.swap(from, to).await,
            stored => stored,
        }
    }

    /// How a deployment ended that nobody drives any more; `None` while somebody does, or where there is none.
    pub(crate) async fn at_rest(&self, id: &str) -> Result<Option<Outcome>, DbError> {
        if self.under_way.has(id) {
            return Ok(None);
        }
        if let Some(failure) = self.not_stored.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Some(Outcome::Failed { failure: failure.clone() }));
        }
        Ok(self.db.deployment(id.to_owned()).await?.and_then(|deployment| match deployment {
            Deployment::Deployed(Deployed { built }) => {
                Some(Outcome::Deployed { url: self.launcher.address.url(&built.meta.project) })
            }
            Deployment::Built(built) => built.superseded_by.map(|by| Outcome::Superseded { by }),
            Deployment::Error(failed) => Some(Outcome::Failed { failure: failed.failure }),
            Deployment::Deleted(_) => Some(Outcome::Deleted),
            Deployment::Queued(_) | Deployment::Loaded(_) => None,
        }))
    }

    /// Stores a deployment whose files are in place, and queues it.
    pub(crate) async fn submit(&self, new: NewDeployment) -> Result<Deployment, DbError> {
        let queued = self.db.create_deployment(new).await?;
        self.begin(&queued.meta.id);
        self.events.append(&queued.meta.id, &Event::State { state: State::Queued });
        self.queue.push(queued.clone());
        Ok(Deployment::Queued(queued))
    }

    /// A deployment is not at rest: its events are told from now on, and the token ends the work on it.
    pub(super) fn begin(&self, id: &str) -> CancellationToken {
        self.events.begin(id);
        self.under_way.begin(id)
    }

    /// Deletes a project: its deployments stop and answer no more; its data stays. `None` where there is none.
    pub(crate) async fn delete(self: &Arc<Self>, name: ProjectName) -> Result<Option<Vec<Resource>>, DbError> {
        let Some(project) = self.db.project(name.clone()).await? else { return Ok(None) };
        self.make_room().await;
        let Some((ids, kept)) = self.db.delete_project(name).await? else { return Ok(None) };
        for id in ids {
            if let Some(token) = self.under_way.end(&id) {
                token.cancel();
                self.events.append(&id, &Event::Finished { outcome: Outcome::Deleted });
            }
        }
        self.idle.end_of(project.id);
        // A start that was under way sees that it was deleted; after it, nothing sets the route again.
        let _alone = self.swaps.lock(project.id).await;
        self.instances.remove(project.id, &project.name).await;
        self.launcher.provisioner.redis.stop_project(project.id).await;
        self.launcher.logs.end(&project.name);
        self.sweep();
        Ok(Some(kept))
    }

    /// Starts an instance of what the project serves, from the best build that there is, and has it take the place of the
    /// one that serves now, once it has answered.
    pub(crate) async fn restart(&self, project_id: i64) -> Result<(), NotRestarted> {
        let _alone = self.swaps.lock(project_id).await;
        let serving = self.db.serving(project_id).await.map_err(NotRestarted::Db)?;
        let Some(Deployed { mut built }) = serving else { return Err(NotRestarted::NothingServes) };
        let (project, before) = (built.meta.project.clone(), built.optimised.clone());
        let (instance, upstream) = tokio::select! {
            launched = self.instances.launch(&mut built) => launched.map_err(|error| {
                tracing::info!(%project, %error, "a restart failed");
                NotRestarted::Failed(error)
            })?,
            () = self.stop.cancelled() => return Err(NotRestarted::Stopping),
        };
        if let Optimised::Failed(why) = &built.optimised
            && built.optimised != before
        {
            self.db.set_optimised(built.meta.seq, Err(why.clone())).await.map_err(NotRestarted::Db)?;
        }
        let target = Target::new(upstream.map_or(TargetState::Background, TargetState::Ready));
        self.instances.take_over(built, instance, target);
        Ok(())
    }

    /// Ends a deployment that has not come to rest. `false`: it has, or there is none.
    pub(crate) async fn cancel(&self, id: &str) -> Result<bool, DbError> {
        let failure = failure(FailureKind::Cancelled, "it was cancelled".to_owned(), None);
        let (from, failed) = match self.db.deployment(id.to_owned()).await? {
            Some(Deployment::Queued(queued)) => (State::Queued, queued.failed(failure.clone())),
            Some(Deployment::Built(built)) if built.superseded_by.is_none() => (State::Built, built.failed(failure.clone())),
            Some(Deployment::Loaded(loaded)) => (State::Loaded, loaded.unloaded().failed(failure.clone())),
            _ => return Ok(false),
        };
        let (token, meta) = (self.under_way.token(id), failed.meta.clone());
        // Only then is its work ended: should it come to rest meanwhile, it has not been cancelled.
        match self.store(from, Deployment::Error(failed)).await {
            Err(DbError::Changed) => return Ok(false),
            other => other?,
        }
        self.instances.is_down(&meta);
        self.events.append(id, &Event::State { state: State::Error });
        self.finish(id, Outcome::Failed { failure });
        if let Some(token) = token {
            token.cancel();
        }
        Ok(true)
    }

    /// A newer deployment waits to be built in this one's place.
    async fn supersede(self: Arc<Self>, queued: Queued, by: String) {
        let id = queued.meta.id.clone();
        let message = format!("the newer deployment {by} took its place before it was built");
        let failure = failure(FailureKind::Superseded, message, None);
        if self.change(State::Queued, Deployment::Error(queued.failed(failure))).await.is_ok() {
            self.finish(&id, Outcome::Superseded { by });
        }
    }

    async fn build(self: Arc<Self>, queued: Queued) {
        let Some(cancel) = self.under_way.token(&queued.meta.id) else { return };
        // It may work in this project's tree, and the machine is for those who wait.
        let _no_idle_work = self.idle.keep_off().await;
        if !self.takes_up(State::Queued, &queued.meta).await {
            return;
        }
        let (meta, files) = (queued.meta.clone(), self.launcher.files(&queued.meta.id));
        let (events, id) = (self.events.clone(), meta.id.clone());
        let tell = move |event: Event| events.append(&id, &event);
        let storing = self.retention.in_use.hold_to_store(&meta.id);
        match self.builder.build(&meta, &files, meta.build.first(), &tell, &cancel).await {
            Ok((artifact, manifest)) => {
                let built = queued.built(artifact, manifest);
                if self.change(State::Queued, Deployment::Built(built.clone())).await.is_ok() {
                    self.spawn_activation(built, cancel);
                }
            }
            // Deleted, which has been told; or the server stops, and it is built after its next start.
            Err(BuildError::Cancelled) => self.taken_up.put_back(queued.meta.seq).await,
            Err(error) => {
                let failure = failure(error.kind(), error.to_string(), error.hint());
                self.fail(State::Queued, Deployment::Error(queued.failed(failure))).await;
            }
        }
        drop(storing);
        self.sweep();
    }

    /// Notes that this server works on it. `false`: it does not, and that has been told.
    async fn takes_up(&self, from: State, meta: &Meta) -> bool {
        match self.taken_up.begin(meta.seq).await {
            Ok(taken_up::Next::Work) => true,
            Ok(taken_up::Next::GiveUp) => {
                let message = format!("{MAX_ENDED} servers ended while they worked on this deployment, so it is not tried again");
                let hint = "look for why in the server's log and the kernel's (journalctl -k): it may have run out of memory; to try it once more, deploy again";
                let failure = failure(FailureKind::Internal, message, Some(hint.to_owned()));
                self.fail(from, Deployment::Error(Failed { meta: meta.clone(), failure })).await;
                false
            }
            Err(error) => {
                self.not_stored(meta, &error);
                false
            }
        }
    }

    /// Removes what a deployment that has come to rest has made too old.
    pub(crate) fn sweep(self: &Arc<Self>) {
        let driver = Arc::clone(self);
        self.tasks.spawn(async move {
            driver.retention.sweep().await;
            driver.keep_room().await;
        });
    }

    fn spawn_activation(self: &Arc<Self>, built: Built, cancel: CancellationToken) {
        let driver = Arc::clone(self);
        self.tasks.spawn(async move {
            let _alone = driver.swaps.lock(built.meta.project_id).await;
            let seq = built.meta.seq;
            tokio::select! {
                _ = driver.activate(built) => {}
                () = cancel.cancelled() => driver.taken_up.put_back(seq).await,
            }
            driver.sweep();
        });
    }

    /// From `Built` to where it rests.
    async fn activate(&self, built: Built) -> Result<(), Gone> {
        let serving = self.db.serving_age(built.meta.project_id).await.map_err(|error| self.lost(&built, &error))?;
        if let Some((_, by)) =
            serving.filter(|(serving, _)| policy::after_build(built.meta.seq, Some(*serving)) == policy::Next::Rest)
        {
            let id = built.meta.id.clone();
            self.change(State::Built, Deployment::Built(built.superseded(by.clone()))).await?;
            self.finish(&id, Outcome::Superseded { by });
            return Ok(());
        }
        if !self.takes_up(State::Built, &built.meta).await {
            return Ok(());
        }
        let stage =
            |stage, message: &str| self.events.append(&built.meta.id, &Event::Stage { stage, message: message.to_owned() });
        if !built.manifest.resources.is_empty() {
            stage(Stage::Provision, "providing its resources");
        }
        let spec = match self.launcher.provide(&built).await {
            Ok(spec) => spec,
            Err(error) => return self.not_launched(State::Built, built, &error).await,
        };
        stage(Stage::Start, "starting");
        let instance = match self.launcher.start(spec).await {
            Ok(instance) => instance,
            Err(error) => return self.not_launched(State::Built, built, &error).await,
        };
        let loaded = built.clone().loaded();
        self.change(State::Built, Deployment::Loaded(loaded.clone())).await?;
        match &built.manifest.service.settings.health_path {
            Some(path) => stage(Stage::Probe, &format!("asking its health path {path}")),
            None => stage(Stage::Probe, "waiting until it takes connections"),
        }
        match self.launcher.answer(instance, &built).await {
            Ok((instance, upstream)) => {
                let target = Target::new(upstream.map_or(TargetState::Background, TargetState::Ready));
                self.go_live(loaded, instance, target).await
            }
            Err(error) => self.not_launched(State::Loaded, loaded.unloaded(), &error).await,
        }
    }

    async fn go_live(
        &self,
        loaded: Loaded,
        instance: Box<dyn crate::supervisor::Instance>,
        target: Arc<Target>,
    ) -> Result<(), Gone> {
        let built = loaded.built.clone();
        let deployed = self.db.go_live(loaded).await.map_err(|error| self.lost(&built, &error))?;
        let url = self.launcher.address.url(&built.meta.project);
        self.taken_up.end(built.meta.seq);
        self.instances.take_over(deployed.built, instance, target);
        self.events.append(&built.meta.id, &Event::State { state: State::Deployed });
        self.finish(&built.meta.id, Outcome::Deployed { url });
        Ok(())
    }

    async fn not_launched(&self, from: State, built: Built, error: &LaunchError) -> Result<(), Gone> {
        let failure = self.launcher.failure(&built, error).await;
        self.fail(from, Deployment::Error(built.failed(failure))).await;
        Ok(())
    }

    /// Stores a failure and tells it. What served before still serves.
    async fn fail(&self, from: State, to: Deployment) {
        let Deployment::Error(failed) = &to else { return };
        let (meta, failure) = (failed.meta.clone(), failed.failure.clone());
        tracing::info!(deployment = meta.id, reason = failure.message, "a deployment failed");
        self.taken_up.end(meta.seq);
        if self.change(from, to).await.is_ok() {
            // It may be what served, and was built again.
            self.instances.is_down(&meta);
            self.finish(&meta.id, Outcome::Failed { failure });
        }
    }

    /// Commits a change, then tells it.
    async fn change(&self, from: State, to: Deployment) -> Result<(), Gone> {
        let (meta, state) = (to.meta().clone(), to.state());
        match self.store(from, to).await {
            Ok(()) => {
                self.events.append(&meta.id, &Event::State { state });
                Ok(())
            }
            Err(DbError::Changed) => Err(Gone),
            Err(error) => {
                self.not_stored(&meta, &error);
                Err(Gone)
            }
        }
    }

    fn lost(&self, built: &Built, error: &DbError) -> Gone {
        if !matches!(error, DbError::Changed) {
            self.not_stored(&built.meta, error);
        }
        Gone
    }

    /// The database cannot be written. The deployment stays where it was and is taken up at the next start; a client
    /// that follows it must not wait until then.
    fn not_stored(&self, meta: &Meta, error: &DbError) {
        let id = &meta.id;
        tracing::error!(deployment = id, %error, "a change of state could not be stored");
        let hint = if error.is_disk_full() { "the server's disk is full: free some space" } else { "the server's log has more" };
        let message = format!("the server could not store the deployment's state: {error}");
        let hint = format!("{hint}; the deployment is taken up again when the server is restarted");
        let failure = failure(FailureKind::Internal, message, Some(hint));
        self.not_stored.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), failure.clone());
        self.instances.is_down(meta);
        self.finish(id, Outcome::Failed { failure });
    }

    fn finish(&self, id: &str, outcome: Outcome) {
        if self.under_way.end(id).is_some() {
            self.events.append(id, &Event::Finished { outcome });
        }
    }
}

/// A failure that no process of the app's had a part in.
fn failure(kind: FailureKind, message: String, hint: Option<String>) -> Failure {
    Failure { kind, message, hint, exit_status: None, log: Vec::new() }
}
