//! What is wrong with the server as a whole: rows that it cannot read, a full disk. It goes on all the same, and says so.

use std::sync::atomic::Ordering;

use platform_wire::State;

use super::Driver;
use crate::{build::blocking, db::Unreadable};

impl Driver {
    /// One that cannot be read is told and left, so that the others run.
    pub(super) fn leave(&self, unreadable: &Unreadable) {
        let Unreadable { id, project, state, why, .. } = unreadable;
        tracing::error!(
            deployment = id,
            project,
            state,
            why,
            hint = "deploy the project again; or run the platform-server that stored it, if that was a newer one",
            "a deployment cannot be read and is left as it is"
        );
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        if state == State::Deployed.as_str()
            && let Ok(project) = project.parse()
        {
            self.instances.is_unreadable(&project);
        }
    }

    /// What is wrong with the server as a whole, each in one sentence.
    pub(crate) async fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let reserve = self.reserve.clone();
        match blocking(move || reserve.low()).await {
            Ok(Some(free)) => warnings.push(format!("the disk is full: {free} bytes are free; delete projects, or clear the build folders (platform-server cache --clear)")),
            Ok(None) => {}
            Err(error) => warnings.push(format!("it cannot be seen how full the disk is: {error}")),
        }
        match self.unreadable.load(Ordering::Relaxed) {
            0 => {}
            number => warnings.push(format!(
                "deployments that cannot be read and were left at the start: {number}; the server's log names them"
            )),
        }
        warnings
    }

    /// Gives up the room that is kept for a full disk, where it is one.
    pub(super) async fn make_room(&self) -> bool {
        let reserve = self.reserve.clone();
        blocking(move || reserve.give_up_if_low()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the room that is kept on the disk cannot be given up");
            false
        })
    }

    /// Takes that room back.
    pub(crate) async fn keep_room(&self) {
        let reserve = self.reserve.clone();
        if let Err(error) = blocking(move || reserve.take()).await {
            tracing::warn!(%error, "there is no room on the disk to keep for when it is full");
        }
    }
}
