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
    artifact::ArtifactStore,
    build::blocking,
    db::{Db, DbError},
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
}

impl Driver {
    /// Makes sure that a deployment's files are there. `power_lost`: they may be there in part.
    pub(super) async fn restore_files(&self, meta: &Meta, power_lost: bool) {
        let (deployments, id, digest) = (self.launcher.deployments.clone(), meta.id.clone(), meta.archive.clone());
        let archives = self.retention.archives.clone();
        let restored = blocking(move || {
            let there = files(&deployments, &id).is_dir();
            if there && !power_lost {
                return Ok(false);
            }
            unpack_again(&archives, &digest, &deployments.join(&id)).map(|()| true)
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
        forget_damaged(&self.launcher.artifacts, &self.db, built, compare).await;
        self.launcher.artifacts.is_whole(&built.artifact, compare).await
    }

    /// Has a deployment built again whose artifact is gone or damaged. `false`: that was done already, or cannot be. Of one that
    /// is not in that state any more, somebody else has decided.
    pub(super) async fn rebuild(self: &Arc<Self>, from: State, built: &Built) -> bool {
        let meta = &built.meta;
        if !self.rebuilt.begin(meta.seq) {
            return false;
        }
        let queued = match self.db.requeue(meta.seq, from).await {
            Ok(queued) => queued,
            Err(DbError::Changed) => return true,
            Err(error) => {
                tracing::error!(deployment = meta.id, %error, "its artifact is gone or damaged, and it cannot be built again");
                return false;
            }
        };
        tracing::warn!(deployment = meta.id, project = %meta.project, "its artifact is gone or damaged: it is built again");
        self.instances.is_rebuilt(built);
        self.begin(&meta.id);
        self.events.append(&meta.id, &Event::State { state: State::Queued });
        self.queue.push(queued);
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
                self.instances.is_down(&built.meta);
            }
        }
    }
}

/// Forgets the optimised artifact if it is gone or, with `compare`, damaged: it is wanted once more. `false`: there is none, or it
/// is whole.
pub(super) async fn forget_damaged(artifacts: &ArtifactStore, db: &Db, built: &mut Built, compare: bool) -> bool {
    let Optimised::Ready(digest) = &built.optimised else { return false };
    if artifacts.is_whole(digest, compare).await {
        return false;
    }
    tracing::warn!(deployment = built.meta.id, project = %built.meta.project, "its optimised artifact is gone or damaged");
    built.optimised = Optimised::Wanted;
    if let Err(error) = db.forget_optimised(built.meta.seq).await {
        tracing::warn!(%error, "that could not be stored");
    }
    true
}

/// Puts the files of the archive in the place of those that are there. Where that fails, they stay.
fn unpack_again(archives: &Stored, digest: &Digest, folder: &Path) -> io::Result<()> {
    // It was within the limits when it was accepted, which may have been others.
    let limits = ArchiveLimits {
        entries: u64::MAX,
        folders: u64::MAX,
        unpacked_bytes: u64::MAX,
        file_bytes: u64::MAX,
        ..ArchiveLimits::default()
    };
    // Provided that it is that archive.
    if !archives.is_whole(digest, true)? {
        return Err(io::Error::other("its archive is gone or damaged"));
    }
    let archive = fs::File::open(archives.path(digest))?;
    if !folder.exists() {
        fs::create_dir(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    let (new, place) = (folder.join("files.new"), folder.join("files"));
    remove::all(&new)?;
    if let Err(error) = unpack(BufReader::new(archive), &new, &limits) {
        // The disk may be full.
        remove::all(&new)?;
        return Err(io::Error::other(error));
    }
    remove::all(&place)?;
    fs::rename(new, place)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use platform_wire::INDEX_NAME;
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn store(archives: &Stored, content: &[u8]) -> Digest {
        let mut file = archives.temporary().unwrap();
        file.write_all(content).unwrap();
        let digest = Digest::new(&Sha256::digest(content));
        archives.store(file, &digest).unwrap();
        digest
    }

    #[test]
    fn files_that_cannot_be_unpacked_again_stay() {
        let data = tempfile::tempdir().unwrap();
        let archives = Stored::new(data.path().to_path_buf(), "tar.gz");
        let folder = data.path().join("d");
        fs::create_dir_all(folder.join("files")).unwrap();
        fs::create_dir(folder.join("files.new")).unwrap();
        fs::write(folder.join("files/main.rs"), "fn main() {}").unwrap();
        let no_archive = store(&archives, b"no archive");
        let damaged = store(&archives, b"an archive");
        fs::write(archives.path(&damaged), "an archiv").unwrap();
        for digest in [no_archive, damaged, Digest::new(&[1; 32])] {
            unpack_again(&archives, &digest, &folder).unwrap_err();
            assert_eq!(fs::read_to_string(folder.join("files/main.rs")).unwrap(), "fn main() {}");
        }
        assert!(!folder.join("files.new").exists(), "what was unpacked in part takes no room");
    }

    #[test]
    fn an_archive_that_is_whole_takes_the_place_of_what_is_there() {
        let data = tempfile::tempdir().unwrap();
        let archives = Stored::new(data.path().to_path_buf(), "tar.gz");
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let index = r#"{"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
            "sdk_version": "0.1.0", "cli_version": "0.1.0"}"#;
        let mut add = |name: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_bytes()).unwrap();
        };
        for (name, content) in [(INDEX_NAME, index), ("Cargo.toml", "new"), ("Cargo.lock", "")] {
            add(name, content);
        }
        let digest = store(&archives, &tar.into_inner().unwrap().finish().unwrap());
        let folder = data.path().join("d");
        fs::create_dir_all(folder.join("files/old")).unwrap();
        unpack_again(&archives, &digest, &folder).unwrap();
        assert_eq!(fs::read_to_string(folder.join("files/Cargo.toml")).unwrap(), "new");
        assert!(!folder.join("files/old").exists() && !folder.join("files.new").exists());
    }
}
