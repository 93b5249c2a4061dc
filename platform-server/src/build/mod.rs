//! From a deployment's files to an artifact.
//!
//! 1. bring the project's build tree up to date ([`tree`]),
//! 2. have manifests, lockfile and configuration read in a process of its own ([`reading`]): where dependencies come from is
//!    checked ([`sources`]), the toolchain is chosen ([`toolchain`]),
//! 3. `cargo fetch`, unless nothing of what it reads has changed ([`fetched`]): with the network, under a uid of its own, from an empty folder, so that no uploaded configuration
//!    is read; what it needs of one is checked and passed on ([`config`]),
//! 4. a project's first build takes its dependencies from those that are compiled already, or compiles them apart from
//!    its own code, for others to take ([`dependencies`], [`skeleton`], [`shared`]),
//! 5. `cargo rustc`: without the network, under the project's build uid, seeing the toolchain and the registry
//!    read-only and the project's own tree ([`cargo`]),
//! 6. store the artifact by its digest and read the manifest out of it ([`crate::artifact`]).
//!
//! A build never changes a deployment's state; it returns, and the driver decides.

mod cargo;
mod cause;
mod config;
mod dependencies;
mod embedded;
mod fetched;
mod folders;
mod messages;
mod profile;
pub(crate) mod reading;
mod registry;
mod relay;
mod scratch;
mod shared;
mod skeleton;
mod sources;
pub(crate) mod toolchain;
mod tree;
mod warm;
mod written;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use platform_wire::{BuildKind, Event, FailureKind, Stage};
use shuttle_abi::Manifest;
use tokio_util::sync::CancellationToken;

use crate::{
    artifact::{self, ArtifactStore},
    config::Limits,
    deployment::{Digest, Meta},
    sandbox::Sandbox,
    uids::Uids,
};
use cargo::{CargoError, CargoRun};
use folders::BuildFolder;
pub(crate) use folders::{BuildFolders, Kept};
use profile::Profile;
use registry::InUse;
pub(crate) use registry::Registry;
pub(crate) use relay::{AllowedHost, AllowedHosts, Upstreams};
use sources::SourceError;
use toolchain::{Toolchain, ToolchainError, Toolchains};

/// Why there is no artifact.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("the build was cancelled")]
    Cancelled,
    #[error("the dependencies could not be fetched: {0}")]
    Fetch(String),
    #[error(
        "the dependencies could not be fetched: {0} is, or leads to, an address of this server or of its network, and the platform fetches from the public internet only"
    )]
    RefusedHost(String),
    #[error(
        "the dependencies could not be fetched: the server is set to use a proxy of a kind that the platform cannot fetch through"
    )]
    UnusableProxy,
    #[error("{message}")]
    Compile { message: String, hint: String },
    #[error("{what} took longer than the limit of {} s", .limit.as_secs())]
    Timeout { what: &'static str, limit: Duration },
    #[error(transparent)]
    Sources(#[from] SourceError),
    #[error(transparent)]
    Toolchain(#[from] ToolchainError),
    #[error(transparent)]
    Artifact(#[from] artifact::ArtifactError),
    #[error("the platform could not build: {0}")]
    Io(#[from] io::Error),
}

impl BuildError {
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            Self::Fetch(_) | Self::RefusedHost(_) | Self::Sources(_) | Self::Timeout { what: "fetching dependencies", .. } => {
                FailureKind::Fetch
            }
            Self::Compile { .. } | Self::Toolchain(_) | Self::Timeout { .. } => FailureKind::Build,
            Self::Artifact(error) if error.is_the_apps() => FailureKind::Build,
            Self::Artifact(_) | Self::Io(_) | Self::UnusableProxy | Self::Cancelled => FailureKind::Internal,
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch(_) => Some(
                "check that `cargo fetch --locked` works on your machine, and that the server can reach the registries".into(),
            ),
            Self::RefusedHost(host) => {
                Some(format!("the owner of the server can allow this host: platform-server serve --allow-fetch-from {host}"))
            }
            Self::UnusableProxy => {
                Some("tell the owner of the server: its log says at the start which variable to change, and how".into())
            }
            Self::Compile { hint, .. } => Some(hint.clone()),
            Self::Timeout { what: "compiling", .. } => Some("raise the server's --build-timeout".into()),
            Self::Timeout { .. } => Some("raise the server's --fetch-timeout".into()),
            Self::Sources(error) => Some(error.hint().into()),
            Self::Toolchain(error) => Some(error.hint()),
            Self::Artifact(error) => error.hint(),
            Self::Io(error) if is_disk_full(error) => {
                Some("the server's disk is full: free some space, then deploy again".into())
            }
            Self::Io(_) => Some("the server's log has more".into()),
            Self::Cancelled => None,
        }
    }
}

/// Whether an error means that the disk, or the user's share of it, is full.
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Builds deployments. One build at a time for each project; the queue sees to that.
#[derive(Debug)]
pub(crate) struct Builder {
    pub(crate) sandbox: Sandbox,
    /// Where a sandboxed build sees the files that it compiles.
    pub(crate) seen_at: PathBuf,
    pub(crate) uids: Uids,
    pub(crate) folders: BuildFolders,
    /// Hosts that fetches may reach whatever their addresses are.
    pub(crate) fetch_from: AllowedHosts,
    /// The proxies that fetches go through; `None`: they are of a kind that cannot be used.
    pub(crate) upstreams: Option<Upstreams>,
    pub(crate) registry: Registry,
    pub(crate) toolchains: Toolchains,
    pub(crate) artifacts: ArtifactStore,
    pub(crate) limits: Limits,
}

impl Builder {
    /// Builds the files at `files`, telling `event` how it goes. An optimised build that follows a fast one is made when
    /// nobody waits, and at a priority as low.
    pub(crate) async fn build(
        &self,
        meta: &Meta,
        files: &Path,
        kind: BuildKind,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(Digest, Manifest), BuildError> {
        let built = self.try_build(meta, files, kind, event, cancel).await;
        // Whatever came of it, it has left something.
        self.evict();
        built
    }

    async fn try_build(
        &self,
        meta: &Meta,
        files: &Path,
        kind: BuildKind,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(Digest, Manifest), BuildError> {
        let stage = |stage, message: &str| event(Event::Stage { stage, message: message.to_owned() });
        let prepared = self.prepare(meta, files, kind, event, cancel).await?;
        let run = prepared.run(self, meta);
        let (folder, profile) = (Arc::clone(&prepared.folder), prepared.profile.folder.clone());
        if self.sandbox.has_view() && run.can_share() && blocking(move || folder.is_new(&profile)).await? {
            stage(Stage::Compile, "compiling dependencies");
            run.take_dependencies(event, cancel).await?;
        }
        stage(Stage::Compile, if kind == BuildKind::Fast { "compiling" } else { "compiling, optimised" });
        let built = run.compile(event, cancel).await;
        prepared.folder.written.close();
        let built = built?;
        let stored = self.artifacts.store(&prepared.folder.target, &built, self.limits.max_artifact_bytes).await?;
        let manifest = self.artifacts.manifest(&stored, &meta.index.crate_name).await?;
        Ok((stored, manifest))
    }

    /// Removes what is over the limits. Nobody waits for it.
    fn evict(&self) {
        let (folders, registry) = (self.folders.clone(), self.registry.clone());
        tokio::task::spawn_blocking(move || {
            // Where one cannot be done, the others are needed all the more.
            if let Err(error) = folders.sweep() {
                tracing::warn!(%error, "what earlier builds left could not be removed");
            }
            if let Err(error) = folders.evict() {
                tracing::warn!(%error, "build folders over the limit could not be removed");
            }
            if let Err(error) = registry.evict(&folders) {
                tracing::warn!(%error, "downloaded crates over the limit could not be removed");
            }
        });
    }

    /// Brings the build tree up to date, and fetches what it depends on.
    async fn prepare(
        &self,
        meta: &Meta,
        files: &Path,
        kind: BuildKind,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<Prepared, BuildError> {
        let stage = |stage, message: &str| event(Event::Stage { stage, message: message.to_owned() });
        stage(Stage::Prepare, "preparing the build tree");
        let folder = self.folders.open(meta.project_id, self.uids.build(meta.project_id)).await?;
        let registry = self.registry.clone();
        let in_use = blocking(move || registry.hold()).await?;
        let (from, to) = (files.to_path_buf(), folder.tree.clone());
        let (written, owner) = (folder.written.clone(), self.uids.build(meta.project_id));
        let tree = to.clone();
        blocking(move || tree::synchronise(&from, &to, owner)).await?;
        let facts = self.read(&folder, meta, cancel).await?;
        blocking(move || written.clear(&tree, owner)).await?;
        let (toolchains, wanted) = (self.toolchains.clone(), facts.toolchain);
        let toolchain = blocking(move || Ok(toolchains.choose(wanted))).await??;
        let profile = Profile::of(&meta.index, facts.profile, kind);
        let prepared = Prepared { folder: Arc::new(folder), toolchain, profile, _registry: in_use };
        stage(Stage::Fetch, "fetching dependencies");
        prepared.run(self, meta).fetch(&facts.fetch_config, event, cancel).await?;
        let (registry, others) = (self.registry.clone(), self.uids.fetch().is_some());
        blocking(move || {
            if others {
                registry.open_for_reading()?;
            }
            // By this only what is evicted first is decided.
            if let Err(error) = registry.used(&facts.packages) {
                tracing::warn!(%error, "it cannot be noted which crates are used");
            }
            Ok(())
        })
        .await?;
        Ok(prepared)
    }
}

/// A build tree with all that it depends on.
struct Prepared {
    folder: Arc<BuildFolder>,
    toolchain: Toolchain,
    profile: Profile,
    _registry: InUse,
}

impl Prepared {
    fn run<'a>(&'a self, builder: &'a Builder, meta: &'a Meta) -> CargoRun<'a> {
        let apart = Mutex::default();
        CargoRun { builder, folder: &self.folder, toolchain: &self.toolchain, profile: &self.profile, meta, apart }
    }
}

impl From<CargoError> for BuildError {
    fn from(error: CargoError) -> Self {
        match error {
            CargoError::Cancelled => Self::Cancelled,
            CargoError::Timeout { what, limit } => Self::Timeout { what, limit },
            CargoError::Io(error) => Self::Io(error),
        }
    }
}

/// Runs blocking file work on a thread made for it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
