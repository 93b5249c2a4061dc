//! Which target serves which project. Derived from the deployments' states, never stored.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::AtomicUsize},
};

use platform_wire::ProjectName;
use tokio::sync::watch;

use super::target::{InFlight, Target};

/// The routing table.
#[derive(Debug, Default)]
pub struct Routes {
    table: RwLock<HashMap<String, Arc<Target>>>,
    /// Told at every change, for requests that are being held.
    changed: watch::Sender<()>,
    /// Requests that are being answered or held, and tunnels, of all targets.
    in_flight: Arc<AtomicUsize>,
}

impl Routes {
    /// Sends the project's requests to `target` from now on, and returns what served it before. Every request that the
    /// old target still has is counted in its [`Target::in_flight`] when this returns, so that
    /// [`Target::drained`] waits for all of them.
    pub fn set(&self, project: &ProjectName, target: Arc<Target>) -> Option<Arc<Target>> {
        let old = self.table.write().unwrap_or_else(PoisonError::into_inner).insert(project.as_str().to_owned(), target);
        self.changed.send_replace(());
        old
    }

    /// The project answers 404 from now on.
    pub fn remove(&self, project: &ProjectName) -> Option<Arc<Target>> {
        let old = self.table.write().unwrap_or_else(PoisonError::into_inner).remove(project.as_str());
        self.changed.send_replace(());
        old
    }

    /// Looks a target up and counts a request in it, as one step: between the two, a swap could take the target for
    /// drained.
    pub(super) fn enter(&self, project: &str) -> Option<InFlight> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(project).map(|target| target.enter(&self.in_flight))
    }

    pub(super) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
