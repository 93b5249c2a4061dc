//! What a deployment needs on the disk, made again where it is gone or damaged: by a loss of power, or by somebody.
//!
//! The archive is what was acknowledged to the client, and is on the disk before that. Everything else can be made from
//! it: the files are unpacked again, the artifact is built again.

use std::{
    collections::HashSet,
    fs,
    io::{self, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use platform_wire::{Event, State};

use super::{Built, Digest, Driver, Meta, Optimised, launcher::files};
use crate::{
    archive::{ArchiveLimits, unpack},
    build::blocking,
    db::DbError,
    remove,
    stored::Stored,
};

/// What this server has built again. Once each: an artifact that is damaged time after time is no case for more builds.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt(Mutex<HashSet<i64>>);

impl Rebuilt {
    fn begin(&self, seq: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seq)
    }

    pub(super) fn has(&self, seq: i64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&seq)
    }
}

impl Driver {
    /// Makes sure that a deployment's files are there. `power_lost`: they may be there in part.
    pub(super) async fn restore_files(&self, meta: &Meta, power_lost: bool) {
        let (deployments, id, digest) = (self.launcher.deployments.clone(), meta.id.clone(), meta.archive.clone());
        let (archives, limits) = (self.retention.archives.clone(), self.archive_limits.clone());
        let restored = blocking(move || {
            let there = files(&deployments, &id).is_dir();
            if there && !power_lost {
                return Ok(false);
            }
            unpack_again(&archives, &digest, &deployments.join(&id), &limits).map(|()| true)
        })
        .await;
        match restored {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!(deployment = meta.id, project = %meta.project, "its files were unpacked again from its archive")
            }
            Err(error) => {
                tracing::error!(deployment = meta.id, project = %meta.project, %error, hint = "deploy it again", "its files cannot be unpacked again");
            }
        }
    }

    /// Whether what it is started from is there; after a loss of power, or where it does not start, also whether that is
    /// what was built. An optimised artifact that is not is forgotten: it is built again when the server is idle.
    pub(super) async fn is_whole(&self, built: &mut Built, compare: bool) -> bool {
        if let Optimised::Ready(digest) = &built.optimised
            && !self.launcher.artifacts.is_whole(digest, compare).await
        {
            tracing::warn!(deployment = built.meta.id, project = %built.meta.project, "its optimised artifact is gone or damaged");
            built.optimised = Optimised::Wanted;
            if let Err(error) = self.db.forget_optimised(built.meta.seq).await {
                tracing::warn!(%error, "that could not be stored");
            }
        }
        self.launcher.artifacts.is_whole(&built.artifact, compare).await
    }

    /// Has a deployment built again whose artifact is gone or damaged. `false`: that was done already, or cannot be.
    pub(super) async fn rebuild(self: &Arc<Self>, from: State, built: &Built) -> bool {
        let meta = &built.meta;
        if !self.rebuilt.begin(meta.seq) {
            return false;
        }
        let queued = match self.db.requeue(meta.seq, from).await {
            Ok(queued) => queued,
            Err(DbError::Changed) => return false,
            Err(error) => {
                tracing::error!(deployment = meta.id, %error, "its artifact is gone or damaged, and it cannot be built again");
                return false;
            }
        };
        tracing::warn!(deployment = meta.id, project = %meta.project, "its artifact is gone or damaged: it is built again");
        if built.serves_http() {
            self.instances.hold(&meta.project);
        }
        self.events.append(&meta.id, &Event::State { state: State::Queued });
        self.enqueue(queued);
        true
    }

    /// Looks after what keepers found damaged, until the server stops.
    pub(crate) async fn rebuild_damaged(self: Arc<Self>) {
        loop {
            let built = tokio::select! {
                built = self.instances.next_damaged() => built,
                () = self.stop.cancelled() => return,
            };
            self.restore_files(&built.meta, false).await;
            if !self.rebuild(State::Deployed, &built).await {
                let hint = "deploy it again";
                tracing::error!(deployment = built.meta.id, project = %built.meta.project, hint, "its artifact is gone or damaged");
                self.instances.is_down(&built.meta.project);
            }
        }
    }
}

/// Puts the files of the archive in the place of those that are there.
fn unpack_again(archives: &Stored, digest: &Digest, folder: &Path, limits: &ArchiveLimits) -> io::Result<()> {
    let archive = fs::File::open(archives.path(digest))?;
    if !folder.exists() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let (new, place) = (folder.join("files.new"), folder.join("files"));
    for old in [&new, &place] {
        remove::all(old)?;
    }
    unpack(BufReader::new(archive), &new, limits).map_err(io::Error::other)?;
    fs::rename(new, place)
}
