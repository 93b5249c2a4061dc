//! How long files are kept: those of the newest deployments of each project, and the logs of deleted projects.
//!
//! A deployment's files are its folder, its archive and its artifact; the last two are named by their digests and may be
//! another one's as well. The row stays. What is under way, serves, or is still being drained is never touched.

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{
    artifact::ArtifactStore,
    build::blocking,
    db::{Db, DbError, now_ms},
    logs::LogStore,
    remove::Trash,
    stored::Stored,
};

/// Removes what is too old.
#[derive(Debug)]
pub(crate) struct Retention {
    pub(crate) db: Db,
    pub(crate) logs: LogStore,
    pub(crate) deployments: PathBuf,
    pub(crate) archives: Stored,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) trash: Trash,
    /// Deployments of each project beside the serving one.
    pub(crate) keep: u32,
    pub(crate) keep_deleted_logs: Duration,
    pub(crate) in_use: InUse,
    /// One sweep at a time.
    pub(crate) sweeping: tokio::sync::Mutex<()>,
}

/// Deployments whose files somebody works with, whatever their state; how many do, and since when the first.
#[derive(Debug, Clone, Default)]
pub(crate) struct InUse(Arc<Mutex<HashMap<String, Users>>>);

#[derive(Debug, Default)]
struct Users {
    count: usize,
    /// Since when files are being stored for it that no row refers to yet.
    storing: Option<SystemTime>,
}

/// Keeps a deployment's files while it exists.
#[derive(Debug)]
pub(crate) struct Hold {
    in_use: InUse,
    id: String,
    stores: bool,
}

impl InUse {
    /// For who reads its files.
    pub(crate) fn hold(&self, id: &str) -> Hold {
        self.enter(id, false)
    }

    /// For who also stores an archive or an artifact, before its row refers to it.
    pub(crate) fn hold_to_store(&self, id: &str) -> Hold {
        self.enter(id, true)
    }

    fn enter(&self, id: &str, stores: bool) -> Hold {
        let mut all = self.lock();
        let users = all.entry(id.to_owned()).or_default();
        users.count += 1;
        if stores {
            users.storing.get_or_insert_with(SystemTime::now);
        }
        Hold { in_use: self.clone(), id: id.to_owned(), stores }
    }

    fn ids(&self) -> HashSet<String> {
        self.lock().keys().cloned().collect()
    }

    /// Files that are older than this belong to nobody who is still storing.
    fn storing_since(&self) -> SystemTime {
        self.lock().values().filter_map(|users| users.storing).min().unwrap_or_else(SystemTime::now)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Users>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut all = self.in_use.lock();
        if let Some(users) = all.get_mut(&self.id) {
            users.count -= 1;
            if self.stores {
                users.storing = None;
            }
            if users.count == 0 {
                all.remove(&self.id);
            }
        }
    }
}

impl Retention {
    /// Removes what is too old. What cannot be removed is tried again at the next time.
    pub(crate) async fn sweep(&self) {
        let _alone = self.sweeping.lock().await;
        if let Err(error) = self.files().await {
            tracing::warn!(%error, "files of old deployments could not be removed");
        }
        if let Err(error) = self.deleted_logs().await {
            tracing::warn!(%error, "logs of deleted projects could not be removed");
        }
    }

    async fn files(&self) -> Result<(), SweepError> {
        let expired = self.db.expire(self.keep, self.in_use.ids()).await?;
        // Before the rows are read: what is stored from now on is newer than this.
        let before = self.in_use.storing_since();
        let kept = self.db.kept_files().await?;
        let (deployments, archives, artifacts) = (self.deployments.clone(), self.archives.clone(), self.artifacts.clone());
        let trash = self.trash.clone();
        blocking(move || {
            for id in &expired {
                trash.discard_or_tell(&deployments.join(id));
            }
            if !expired.is_empty() {
                tracing::info!(deployments = expired.len(), "removed the files of old deployments");
            }
            archives.remove_stale(&kept.archives, before)?;
            artifacts.remove_stale(&kept.artifacts, before)
        })
        .await?;
        Ok(())
    }

    async fn deleted_logs(&self) -> Result<(), SweepError> {
        let age = i64::try_from(self.keep_deleted_logs.as_millis()).unwrap_or(i64::MAX);
        for project in self.db.deleted_before(now_ms().saturating_sub(age)).await? {
            if let Err(error) = self.logs.remove(&project).await {
                tracing::warn!(%project, %error, "the log of a deleted project cannot be removed");
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Db(#[from] DbError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use platform_wire::{BuildMode, Failure, FailureKind, State};
    use shuttle_abi::{Kind, Listen, Manifest, ServiceManifest, Settings};

    use super::*;
    use crate::{
        db::NewDeployment,
        deployment::{Built, Deployment, Digest, Queued},
        logs::LogLimits,
    };

    struct Server {
        folder: tempfile::TempDir,
        retention: Retention,
    }

    const INDEX: &str = r#"{"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
        "sdk_version": "0.1.0", "cli_version": "0.1.0"}"#;

    fn digest(of: &str) -> Digest {
        Digest::new(&<sha2::Sha256 as sha2::Digest>::digest(of))
    }

    impl Server {
        fn new(keep: u32) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            for name in ["deployments", "archives", "artifacts"] {
                fs::create_dir(at(name)).unwrap();
            }
            let retention = Retention {
                db: Db::open(&at("platform.db")).unwrap(),
                logs: LogStore::open(at("logs"), LogLimits::default()).unwrap(),
                deployments: at("deployments"),
                archives: Stored::new(at("archives"), "tar.gz"),
                artifacts: ArtifactStore::new(at("artifacts")),
                trash: Trash::emptied_at_once(at("trash")),
                keep,
                keep_deleted_logs: Duration::from_secs(3600),
                in_use: InUse::default(),
                sweeping: tokio::sync::Mutex::default(),
            };
            Self { folder, retention }
        }

        /// A deployment that has just been received, with an archive of its own.
        async fn queued(&self, id: &str) -> Queued {
            self.file("archives", &format!("{}.tar.gz", digest(id).as_str()));
            fs::create_dir_all(self.folder.path().join("deployments").join(id).join("files")).unwrap();
            let new = NewDeployment {
                id: id.into(),
                project: "app".parse().unwrap(),
                archive: digest(id),
                index: serde_json::from_str(INDEX).unwrap(),
                secrets: None,
                build: BuildMode::Both,
                origin: platform_wire::Origin::default(),
            };
            self.retention.db.create_deployment(new).await.unwrap()
        }

        async fn failed(&self, id: &str) {
            let failure =
                Failure { kind: FailureKind::Build, message: "no".into(), hint: None, exit_status: None, log: Vec::new() };
            let failed = self.queued(id).await.failed(failure);
            self.retention.db.swap(State::Queued, Deployment::Error(failed)).await.unwrap();
        }

        /// A deployment that serves, made of this artifact.
        async fn live(&self, id: &str, artifact: &str) {
            self.file("artifacts", &format!("{}.so", digest(artifact).as_str()));
            let service = ServiceManifest {
                framework: "axum".into(),
                kind: Kind::Http,
                listen: Listen::Unix,
                settings: Settings::default(),
            };
            let manifest = Manifest { manifest: 2, sdk: String::new(), crate_name: "app".into(), service, resources: Vec::new() };
            let built: Built = self.queued(id).await.built(digest(artifact), manifest);
            let db = &self.retention.db;
            db.swap(State::Queued, Deployment::Built(built.clone())).await.unwrap();
            db.swap(State::Built, Deployment::Loaded(built.clone().loaded())).await.unwrap();
            db.go_live(built.loaded()).await.unwrap();
        }

        fn file(&self, folder: &str, name: &str) {
            let path = self.folder.path().join(folder).join(name);
            fs::write(&path, "").unwrap();
            let past = SystemTime::now() - Duration::from_secs(60);
            fs::File::options().write(true).open(path).unwrap().set_modified(past).unwrap();
        }

        fn left(&self, folder: &str) -> Vec<String> {
            let entries = fs::read_dir(self.folder.path().join(folder)).unwrap().flatten();
            let mut names: Vec<String> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }

        fn archives(&self, of: &[&str]) -> Vec<String> {
            let mut names: Vec<String> = of.iter().map(|id| format!("{}.tar.gz", digest(id).as_str())).collect();
            names.sort();
            names
        }
    }

    #[tokio::test]
    async fn the_serving_one_the_waiting_and_the_newest_others_are_kept() {
        let server = Server::new(2);
        server.live("a", "old").await;
        server.live("b", "shared").await;
        server.live("c", "shared").await;
        server.failed("d").await;
        server.failed("e").await;
        server.failed("f").await;
        server.queued("g").await;
        server.retention.sweep().await;
        assert_eq!(server.left("deployments"), ["c", "e", "f", "g"]);
        assert_eq!(server.left("archives"), server.archives(&["c", "e", "f", "g"]));
        assert_eq!(server.left("artifacts"), [format!("{}.so", digest("shared").as_str())]);
        // The rows tell what became of them, and a server that starts does not miss their files.
        assert_eq!(server.retention.db.deployments(1, 100).await.unwrap().len(), 7);
        assert_eq!(server.retention.db.deployment_ids().await.unwrap().len(), 4);
        // The one that served until now is the newest of those at rest.
        server.live("h", "new").await;
        server.retention.sweep().await;
        assert_eq!(server.left("deployments"), ["c", "f", "g", "h"]);
    }

    #[tokio::test]
    async fn what_somebody_holds_stays_until_nobody_does() {
        let server = Server::new(1);
        server.failed("a").await;
        server.failed("b").await;
        let (first, second) = (server.retention.in_use.hold("a"), server.retention.in_use.hold("a"));
        drop(first);
        server.retention.sweep().await;
        assert_eq!(server.left("deployments"), ["a", "b"]);
        drop(second);
        server.retention.sweep().await;
        assert_eq!(server.left("deployments"), ["b"]);
        assert!(server.retention.in_use.ids().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_is_stored_before_its_row_is_written_stays() {
        let server = Server::new(1);
        let storing = server.retention.in_use.hold_to_store("a");
        let name = server.archives(&["a"]).remove(0);
        server.file("archives", &name);
        // It was there already, and nobody's.
        let archives = &server.retention.archives;
        archives.store(archives.temporary().unwrap(), &digest("a")).unwrap();
        server.retention.sweep().await;
        assert_eq!(server.left("archives"), [name]);
        drop(storing);
        server.retention.sweep().await;
        assert!(server.left("archives").is_empty());
    }

    #[tokio::test]
    async fn a_deleted_project_keeps_no_files_and_its_log_for_a_while() {
        let mut server = Server::new(5);
        server.live("a", "artifact").await;
        let log = server.folder.path().join("logs/app");
        fs::create_dir(&log).unwrap();
        server.retention.db.delete_project("app".parse().unwrap()).await.unwrap();
        server.retention.sweep().await;
        assert!(
            server.left("deployments").is_empty() && server.left("archives").is_empty() && server.left("artifacts").is_empty()
        );
        assert!(log.exists());
        server.retention.keep_deleted_logs = Duration::ZERO;
        // The millisecond of the deletion itself is not yet past.
        while server.left("logs") == ["app"] {
            server.retention.sweep().await;
        }
        // Deployed again, its log is its own again.
        server.failed("b").await;
        fs::create_dir(&log).unwrap();
        server.retention.sweep().await;
        assert!(log.exists());
    }
}
