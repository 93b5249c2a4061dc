//! What the server does while nobody waits for it: the optimised build of what went live from a fast one, and the warm-up.
//! One piece of work at a time, never beside a deployment's build, and a deployment that comes ends it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use platform_wire::{BuildKind, FailureKind};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio_util::sync::CancellationToken;

use super::{
    Built, Digest, Driver, Optimised,
    taken_up::{self, MAX_ENDED},
};
use crate::{
    build::BuildError,
    db::{Db, DbError},
};

/// Keeps idle work and builds that somebody waits for apart: both may work in the same tree.
#[derive(Debug, Default)]
pub(crate) struct IdleWork {
    /// Builds read; idle work writes.
    working: RwLock<()>,
    current: Mutex<Current>,
}

/// The idle work that was begun last.
#[derive(Debug, Default)]
struct Current {
    project_id: Option<i64>,
    cancel: CancellationToken,
}

impl IdleWork {
    /// Ends idle work. When this returns, nothing of it runs, and none begins while the guard is held.
    pub(super) async fn keep_off(&self) -> RwLockReadGuard<'_, ()> {
        self.current().cancel.cancel();
        self.working.read().await
    }

    /// Ends idle work that is this project's.
    pub(super) fn end_of(&self, project_id: i64) {
        let current = self.current();
        if current.project_id == Some(project_id) {
            current.cancel.cancel();
        }
    }

    /// The turn to do something for a project, or for none, and what says that it is over. `None`: something is being done.
    fn begin(&self, project_id: Option<i64>, stop: &CancellationToken) -> Option<(RwLockWriteGuard<'_, ()>, CancellationToken)> {
        let alone = self.working.try_write().ok()?;
        let cancel = stop.child_token();
        *self.current() = Current { project_id, cancel: cancel.clone() };
        Some((alone, cancel))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more to do.
    Again,
    /// The same would only happen again.
    AfterTheNextDeployment,
}

impl Driver {
    /// Waits until nothing has been under way for so long. `false`: the server stops.
    async fn becomes_idle(&self, after: Duration) -> bool {
        tokio::select! {
            () = self.under_way.quiet(after) => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Makes the optimised builds that are wanted, each once nothing has been under way for so long.
    pub(crate) async fn optimise_when_idle(self: Arc<Self>, after: Option<Duration>) {
        let Some(after) = after else { return };
        while self.becomes_idle(after).await {
            let wanted = self.db.to_optimise().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "optimised builds are not looked for until the next deployment");
                None
            });
            let next = match wanted {
                Some(built) => self.optimise(built).await,
                None => Next::AfterTheNextDeployment,
            };
            if next == Next::AfterTheNextDeployment {
                tokio::select! {
                    () = self.under_way.changed() => {}
                    () = self.stop.cancelled() => return,
                }
            }
        }
    }

    async fn optimise(self: &Arc<Self>, built: Built) -> Next {
        let meta = &built.meta;
        let Some((_alone, cancel)) = self.idle.begin(Some(meta.project_id), &self.stop) else { return Next::Again };
        // One that came before this had its turn has ended nothing.
        if !self.under_way.is_empty() {
            return Next::Again;
        }
        let storing = self.retention.in_use.hold_to_store(&meta.id);
        tracing::info!(project = %meta.project, deployment = meta.id, "idle: making the optimised build");
        let files = self.launcher.files(&meta.id);
        let taken_up = match self.taken_up.begin(meta.seq).await {
            Ok(next) => next,
            Err(error) => {
                tracing::warn!(%error, "the optimised build is tried again after the next deployment");
                return Next::AfterTheNextDeployment;
            }
        };
        let ended = if taken_up == taken_up::Next::GiveUp {
            Err(format!("{MAX_ENDED} servers ended while they made it, so it is not tried again"))
        } else {
            match self.try_optimise(&built, &files, &cancel).await {
                Ok(ended) => ended,
                Err(next) => {
                    self.taken_up.put_back(meta.seq).await;
                    return next;
                }
            }
        };
        match &ended {
            Ok(_) => tracing::info!(project = %meta.project, deployment = meta.id, "the optimised build is ready"),
            Err(why) => tracing::info!(project = %meta.project, deployment = meta.id, why, "there is no optimised build"),
        }
        let stored = store(&self.db, meta.seq, &ended).await;
        if let Ok(true) = stored {
            self.taken_up.end(meta.seq);
            let optimised = ended.map_or_else(Optimised::Failed, Optimised::Ready);
            self.instances.set_optimised(meta.project_id, &meta.id, optimised);
        }
        drop(storing);
        self.sweep();
        match stored {
            Ok(_) => Next::Again,
            Err(error) => {
                tracing::warn!(%error, "what came of an optimised build could not be stored");
                Next::AfterTheNextDeployment
            }
        }
    }

    /// The optimised build, or why there is none; or when to try once more.
    async fn try_optimise(
        &self,
        built: &Built,
        files: &Path,
        cancel: &CancellationToken,
    ) -> Result<Result<Digest, String>, Next> {
        let meta = &built.meta;
        Ok(match self.builder.build(meta, files, BuildKind::Optimised, &|_| {}, cancel).await {
            Ok((artifact, manifest)) if manifest == built.manifest => Ok(artifact),
            // What was provided for the one might not be what the other asks for.
            Ok(_) => Err("optimised, the app asks for other things than the fast build does".to_owned()),
            Err(BuildError::Cancelled) => return Err(Next::Again),
            Err(error) if [FailureKind::Internal, FailureKind::Fetch].contains(&error.kind()) => {
                tracing::warn!(project = %meta.project, %error, "the optimised build is tried again after the next deployment");
                return Err(Next::AfterTheNextDeployment);
            }
            Err(error) => Err(format!("{error}; to see the compiler's output: cargo shuttle deploy --build optimised")),
        })
    }

    /// Has common dependencies compiled, once nothing has been under way for so long.
    pub(crate) async fn warm_up_when_idle(self: Arc<Self>, after: Option<Duration>) {
        let Some(after) = after else { return };
        while self.becomes_idle(after).await {
            let Some((_alone, cancel)) = self.idle.begin(None, &self.stop) else { continue };
            if !self.under_way.is_empty() {
                continue;
            }
            match self.builder.warm_up(&cancel).await {
                // A deployment came.
                Err(BuildError::Cancelled) => {}
                Ok(()) => return,
                Err(error) => {
                    tracing::info!(%error, "common dependencies were not compiled; first deployments will compile them");
                    return;
                }
            }
        }
    }
}

/// `false`: it serves no more.
async fn store(db: &Db, seq: i64, ended: &Result<Digest, String>) -> Result<bool, DbError> {
    match db.set_optimised(seq, ended.clone()).await {
        Ok(()) => Ok(true),
        Err(DbError::Changed) => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_build_ends_idle_work_waits_for_its_end_and_keeps_it_off() {
        let (idle, stop) = (IdleWork::default(), CancellationToken::new());
        let (alone, cancel) = idle.begin(Some(1), &stop).unwrap();
        // Another piece of work does not wait for its turn: a build would have to wait for it as well.
        assert!(idle.begin(None, &stop).is_none());
        idle.end_of(2);
        assert!(!cancel.is_cancelled());
        let mut build = std::pin::pin!(idle.keep_off());
        assert!(poll!(&mut build).is_pending() && cancel.is_cancelled());
        drop(alone);
        let building = build.await;
        let _another = idle.keep_off().await;
        assert!(idle.begin(None, &stop).is_none());
        drop((building, _another));
        let (_alone, cancel) = idle.begin(Some(1), &stop).unwrap();
        idle.end_of(1);
        assert!(cancel.is_cancelled());
    }
}
