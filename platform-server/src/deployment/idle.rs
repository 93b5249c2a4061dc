//! What the server does while nobody waits for it: the optimised build of what went live from a fast one, and the warm-up.
//! One piece of work at a time, and a deployment that comes ends it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use platform_wire::BuildKind;
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;

use super::{Built, Driver, Optimised};
use crate::{
    build::BuildError,
    db::{Db, DbError},
};

/// The piece of work that is being done, if any.
#[derive(Debug, Default)]
pub(crate) struct IdleWork {
    current: Mutex<CancellationToken>,
    alone: tokio::sync::Mutex<()>,
}

impl IdleWork {
    /// Ends what is being done. When this returns, nothing of it runs.
    pub(super) async fn interrupt(&self) {
        self.current().cancel();
        let _none = self.alone.lock().await;
    }

    /// The turn to do something, and what says that it is over.
    async fn begin(&self, stop: &CancellationToken) -> (MutexGuard<'_, ()>, CancellationToken) {
        let alone = self.alone.lock().await;
        let cancel = stop.child_token();
        *self.current() = cancel.clone();
        (alone, cancel)
    }

    fn current(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    /// Makes the optimised builds that are wanted, each once nothing has been under way for so long.
    pub(crate) async fn optimise_when_idle(self: Arc<Self>, after: Option<Duration>) {
        let Some(after) = after else { return };
        loop {
            tokio::select! {
                () = self.under_way.quiet(after) => {}
                () = self.stop.cancelled() => return,
            }
            let wanted = self.db.to_optimise().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "optimised builds are not looked for until the next deployment");
                None
            });
            let more = match wanted {
                Some(built) => self.optimise(built).await,
                None => false,
            };
            if !more {
                tokio::select! {
                    () = self.under_way.changed() => {}
                    () = self.stop.cancelled() => return,
                }
            }
        }
    }

    /// `false`: what came of it could not be stored, and it would be done again at once.
    async fn optimise(&self, built: Built) -> bool {
        let (_alone, cancel) = self.idle.begin(&self.stop).await;
        // One that came before this had its turn has ended nothing.
        if !self.under_way.is_empty() {
            return true;
        }
        let (meta, files) = (&built.meta, self.launcher.files(&built.meta.id));
        let storing = self.retention.in_use.hold_to_store(&meta.id);
        tracing::info!(project = %meta.project, deployment = meta.id, "idle: making the optimised build");
        let ended = match self.builder.build(meta, &files, BuildKind::Optimised, &|_| {}, &cancel).await {
            Ok((artifact, manifest)) if manifest == built.manifest => Ok(artifact),
            // What was provided for the one might not be what the other asks for.
            Ok(_) => Err("optimised, the app asks for other things than the fast build does".to_owned()),
            Err(BuildError::Cancelled) => return true,
            Err(error) => Err(error.to_string()),
        };
        match &ended {
            Ok(_) => tracing::info!(project = %meta.project, deployment = meta.id, "the optimised build is ready"),
            Err(why) => tracing::info!(project = %meta.project, deployment = meta.id, why, "there is no optimised build"),
        }
        let stored = store(&self.db, meta.seq, &ended).await;
        if let Ok(true) = stored {
            let optimised = ended.map_or_else(Optimised::Failed, Optimised::Ready);
            self.instances.set_optimised(meta.project_id, &meta.id, optimised);
        }
        drop(storing);
        self.sweep();
        stored.inspect_err(|error| tracing::warn!(%error, "what came of an optimised build could not be stored")).is_ok()
    }

    /// Has common dependencies compiled, once nothing has been under way for so long.
    pub(crate) async fn warm_up_when_idle(self: Arc<Self>, after: Option<Duration>) {
        let Some(after) = after else { return };
        loop {
            tokio::select! {
                () = self.under_way.quiet(after) => {}
                () = self.stop.cancelled() => return,
            }
            let (_alone, cancel) = self.idle.begin(&self.stop).await;
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
async fn store(db: &Db, seq: i64, ended: &Result<super::Digest, String>) -> Result<bool, DbError> {
    match db.set_optimised(seq, ended.clone()).await {
        Ok(()) => Ok(true),
        Err(DbError::Changed) => Ok(false),
        Err(error) => Err(error),
    }
}
