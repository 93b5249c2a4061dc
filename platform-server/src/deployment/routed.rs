//! Which deployment each project's requests are for.
//!
//! What becomes of a deployment may be known late, when another one serves in its place or the project was deleted. So each
//! route belongs to one deployment, and only for that one its state is changed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use platform_wire::ProjectName;

use super::Meta;
use crate::proxy::{Routes, Target, TargetState};

/// The proxy's routes, each with the deployment that it belongs to.
#[derive(Debug)]
pub(super) struct Routed {
    routes: Arc<Routes>,
    /// Project to deployment. Locked for each change of a route.
    owners: Mutex<HashMap<i64, String>>,
}

impl Routed {
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        Self { routes, owners: Mutex::default() }
    }

    /// The project's requests are for this deployment from now on.
    pub(super) fn give(&self, meta: &Meta, target: Arc<Target>) {
        let mut owners = self.lock();
        owners.insert(meta.project_id, meta.id.clone());
        self.routes.set(&meta.project, target);
    }

    /// Whether the project's requests are for this deployment.
    pub(super) fn is_owner(&self, meta: &Meta) -> bool {
        is_owner(&self.lock(), meta)
    }

    /// Changes how the project's requests are answered, where they are for this deployment. `false`: they are not.
    pub(super) fn change(&self, meta: &Meta, state: TargetState) -> bool {
        let owners = self.lock();
        let changes = is_owner(&owners, meta);
        if changes {
            self.routes.set(&meta.project, Target::new(state));
        }
        changes
    }

    /// What the project serves cannot be read: not even which project, but for its name.
    pub(super) fn is_unreadable(&self, project: &ProjectName) {
        self.routes.set(project, Target::new(TargetState::Down));
    }

    /// Takes the project off the proxy.
    pub(super) fn remove(&self, project_id: i64, project: &ProjectName) {
        let mut owners = self.lock();
        owners.remove(&project_id);
        self.routes.remove(project);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, String>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_owner(owners: &HashMap<i64, String>, meta: &Meta) -> bool {
    owners.get(&meta.project_id) == Some(&meta.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::state::tests::meta;

    #[test]
    fn only_the_deployment_that_a_route_belongs_to_changes_it() {
        let routes = Arc::new(Routes::default());
        let routed = Routed::new(Arc::clone(&routes));
        let (older, newer) = (meta(1, 7), meta(2, 7));
        assert!(!routed.change(&older, TargetState::Down));
        assert!(routes.remove(&older.project).is_none(), "it never served");
        routed.give(&older, Target::new(TargetState::Starting));
        assert!(routed.change(&older, TargetState::Down));
        let serves = Target::new(TargetState::Starting);
        routed.give(&newer, Arc::clone(&serves));
        assert!(!routed.change(&older, TargetState::Down));
        assert_eq!([&older, &newer].map(|meta| routed.is_owner(meta)), [false, true]);
        assert!(
            routes.set(&newer.project, Arc::clone(&serves)).is_some_and(|now| Arc::ptr_eq(&now, &serves)),
            "the newer one serves"
        );
        routed.remove(7, &newer.project);
        assert!(!routed.change(&newer, TargetState::Starting));
        assert!(routes.remove(&newer.project).is_none(), "the project was deleted");
    }

    #[test]
    fn a_deleted_project_has_no_route_whoever_set_it() {
        let routes = Arc::new(Routes::default());
        let routed = Routed::new(Arc::clone(&routes));
        let meta = meta(1, 7);
        routed.is_unreadable(&meta.project);
        routed.remove(7, &meta.project);
        assert!(routes.remove(&meta.project).is_none());
    }
}
