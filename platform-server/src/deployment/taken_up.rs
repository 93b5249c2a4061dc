//! Work that a server did not live to end.
//!
//! Something about a deployment may end the server: the kernel, for instance, when memory runs out. A server that starts
//! takes up what its predecessor left, so it would end again, and so on. Hence each server counts, in the database and
//! before it begins, what it works on; when it stops as it should, it takes that back.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use crate::db::{Db, DbError};

/// So many servers may end while they work on a deployment.
pub(crate) const MAX_ENDED: u32 = 2;

/// What this server works on.
#[derive(Debug)]
pub(crate) struct TakenUp {
    db: Db,
    counted: Mutex<HashSet<i64>>,
}

/// What to do with a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Work,
    /// Too many servers have ended at it.
    GiveUp,
}

impl TakenUp {
    pub(crate) fn new(db: Db) -> Self {
        Self { db, counted: Mutex::default() }
    }

    /// Counts, once for this server, that it works on the deployment of this age.
    pub(super) async fn begin(&self, seq: i64) -> Result<Next, DbError> {
        if !self.lock().insert(seq) {
            return Ok(Next::Work);
        }
        let begun = self.db.take_up(seq).await.inspect_err(|_| {
            self.lock().remove(&seq);
        })?;
        Ok(if begun > MAX_ENDED { Next::GiveUp } else { Next::Work })
    }

    /// The work was left, and the server has not ended.
    pub(super) async fn put_back(&self, seq: i64) {
        if self.lock().remove(&seq)
            && let Err(error) = self.db.put_back(seq).await
        {
            tracing::warn!(%error, "a deployment that is left for the next start counts as one that ended this server");
        }
    }

    /// The work is done, and the database says so.
    pub(super) fn end(&self, seq: i64) {
        self.lock().remove(&seq);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
