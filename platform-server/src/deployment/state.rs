//! The states of a deployment. Each owns what its stage knows; a transition takes the old state and returns the new one,
//! so that nobody can go on with a state that has passed.

use std::{fmt, path::PathBuf, str::FromStr};

use platform_wire::{ArchiveIndex, BuildKind, BuildMode, Failure, LaterBuild, ProjectName, State};
use shuttle_abi::{Kind, Manifest};

/// SHA-256 of a stored file, lower-case hexadecimal: its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    pub(crate) fn new(hash: &[u8]) -> Self {
        use fmt::Write;
        Self(hash.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        hex.then(|| Self(text.to_owned())).ok_or_else(|| format!("`{text}` is no digest"))
    }
}

/// What a deployment has from the beginning and never changes.
#[derive(Debug, Clone)]
pub(crate) struct Meta {
    /// Age among all deployments of the server.
    pub(crate) seq: i64,
    pub(crate) id: String,
    pub(crate) project_id: i64,
    pub(crate) project: ProjectName,
    pub(crate) archive: Digest,
    pub(crate) index: ArchiveIndex,
    /// Id of the set of secrets that it is started with.
    pub(crate) secrets: Option<String>,
    pub(crate) build: BuildMode,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
}

/// Received and stored; waits to be built, or is being built.
#[derive(Debug, Clone)]
pub(crate) struct Queued {
    pub(crate) meta: Meta,
}

/// Compiled. With `superseded_by` it rests: a newer deployment serves, the artifact is kept.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    pub(crate) meta: Meta,
    pub(crate) artifact: Digest,
    pub(crate) manifest: Manifest,
    pub(crate) optimised: Optimised,
    pub(crate) superseded_by: Option<String>,
}

/// The optimised build that follows a fast one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Optimised {
    NotWanted,
    Wanted,
    Ready(Digest),
    /// Why there is none.
    Failed(String),
}

/// Its process runs and has not answered yet.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) built: Built,
}

/// It answers requests.
#[derive(Debug, Clone)]
pub(crate) struct Deployed {
    pub(crate) built: Built,
}

/// It failed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) meta: Meta,
    pub(crate) failure: Failure,
}

/// Any state of a deployment.
#[derive(Debug, Clone)]
pub(crate) enum Deployment {
    Queued(Queued),
    Built(Built),
    Loaded(Loaded),
    Deployed(Deployed),
    Error(Failed),
    Deleted(Meta),
}

impl Queued {
    pub(crate) fn built(self, artifact: Digest, manifest: Manifest) -> Built {
        let optimised = if self.meta.build == BuildMode::Both { Optimised::Wanted } else { Optimised::NotWanted };
        Built { meta: self.meta, artifact, manifest, optimised, superseded_by: None }
    }

    pub(crate) fn failed(self, failure: Failure) -> Failed {
        Failed { meta: self.meta, failure }
    }
}

impl Built {
    /// Whether it is sent requests; a background service is not.
    pub(crate) fn serves_http(&self) -> bool {
        self.manifest.service.kind == Kind::Http
    }

    /// What its instances are started from: the optimised artifact, once there is one.
    pub(crate) fn best(&self) -> (&Digest, BuildKind) {
        match &self.optimised {
            Optimised::Ready(artifact) => (artifact, BuildKind::Optimised),
            Optimised::NotWanted | Optimised::Wanted | Optimised::Failed(_) => (&self.artifact, self.meta.build.first()),
        }
    }

    pub(crate) fn loaded(self) -> Loaded {
        Loaded { built: self }
    }

    pub(crate) fn failed(self, failure: Failure) -> Failed {
        Failed { meta: self.meta, failure }
    }

    pub(crate) fn superseded(self, by: String) -> Self {
        Self { superseded_by: Some(by), ..self }
    }
}

impl Optimised {
    /// As a client sees it.
    pub(crate) fn to_wire(&self) -> Option<LaterBuild> {
        match self {
            Self::NotWanted => None,
            Self::Wanted => Some(LaterBuild::Waiting),
            Self::Ready(_) => Some(LaterBuild::Ready),
            Self::Failed(why) => Some(LaterBuild::Failed { message: why.clone() }),
        }
    }
}

impl Loaded {
    pub(crate) fn deployed(self) -> Deployed {
        Deployed { built: self.built }
    }

    /// Back to where a start begins: the server that had started it is gone, or a newer deployment came first.
    pub(crate) fn unloaded(self) -> Built {
        self.built
    }
}

impl Deployment {
    pub(crate) fn meta(&self) -> &Meta {
        match self {
            Self::Queued(queued) => &queued.meta,
            Self::Built(built) | Self::Loaded(Loaded { built }) | Self::Deployed(Deployed { built }) => &built.meta,
            Self::Error(failed) => &failed.meta,
            Self::Deleted(meta) => meta,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self {
            Self::Queued(_) => State::Queued,
            Self::Built(_) => State::Built,
            Self::Loaded(_) => State::Loaded,
            Self::Deployed(_) => State::Deployed,
            Self::Error(_) => State::Error,
            Self::Deleted(_) => State::Deleted,
        }
    }

    /// As a client sees it.
    pub(crate) fn to_wire(&self, url: String) -> platform_wire::Deployment {
        let meta = self.meta();
        platform_wire::Deployment {
            id: meta.id.clone(),
            project: meta.project.clone(),
            state: self.state(),
            url,
            archive_digest: meta.archive.as_str().to_owned(),
            failure: match self {
                Self::Error(failed) => Some(failed.failure.clone()),
                Self::Queued(_) | Self::Built(_) | Self::Loaded(_) | Self::Deployed(_) | Self::Deleted(_) => None,
            },
            created_at_ms: meta.created_at_ms.unsigned_abs(),
            updated_at_ms: meta.updated_at_ms.unsigned_abs(),
        }
    }
}

impl Meta {
    /// Folder of the app's package below the deployment's files.
    pub(crate) fn package_folder(&self) -> PathBuf {
        PathBuf::from(&self.index.package_root)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use shuttle_abi::{Listen, ServiceManifest, Settings};

    use super::*;

    /// A deployment of this age, of the project `app` with this id.
    pub(crate) fn meta(seq: i64, project_id: i64) -> Meta {
        let index = r#"{"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
            "sdk_version": "0.1.0", "cli_version": "0.1.0"}"#;
        Meta {
            seq,
            id: format!("d{seq}"),
            project_id,
            project: "app".parse().unwrap(),
            archive: Digest::new(&[1; 32]),
            index: serde_json::from_str(index).unwrap(),
            secrets: None,
            build: BuildMode::Both,
            created_at_ms: 0,
            updated_at_ms: 0,
        }
    }

    /// The same, built.
    pub(crate) fn built(seq: i64, project_id: i64) -> Built {
        let settings = Settings::default();
        let service = ServiceManifest { framework: "axum".into(), kind: Kind::Http, listen: Listen::Unix, settings };
        let manifest = Manifest { manifest: 2, sdk: String::new(), crate_name: "app".into(), service, resources: Vec::new() };
        Queued { meta: meta(seq, project_id) }.built(Digest::new(&[2; 32]), manifest)
    }
}
