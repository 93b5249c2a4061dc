//! The warm-up: while the server is idle it compiles what a newcomer's first app depends on, the SDK's own dependencies and
//! axum, so that their first deployment compiles little more than its own code.
//!
//! What is compiled is a template of the platform's own (`warm/`). Its lockfile is that of `examples/hello-axum`, as far as
//! the two have the same packages.

use std::{fs, sync::Arc};

use platform_wire::{ARCHIVE_FORMAT, ArchiveIndex, BuildKind, BuildMode, Env, ProjectName};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    BuildError, Builder, blocking,
    shared::ChosenBy,
    skeleton::{Skeleton, Skeletons},
};
use crate::deployment::{Digest, Meta};

/// The template. The files have other names than cargo's, so that no tool takes this for a package of the repository's.
const MANIFEST: &str = include_str!("warm/manifest.toml");
const LOCKFILE: &str = include_str!("warm/lockfile.toml");
const NAME: &str = "warm";
/// No project has this id: they are counted from 1.
const PROJECT_ID: i64 = 0;

impl Builder {
    /// Compiles the template's dependencies for everybody, unless that has been done, or a build that somebody waits for
    /// ends it.
    pub(crate) async fn warm_up(&self, cancel: &CancellationToken) -> Result<(), BuildError> {
        let warmed = self.try_warm_up(cancel).await;
        self.evict();
        warmed
    }

    async fn try_warm_up(&self, cancel: &CancellationToken) -> Result<(), BuildError> {
        if !self.sandbox.has_view() {
            return Ok(());
        }
        let folders = self.folders.clone();
        let files = blocking(move || {
            let files = folders.scratch(None, None)?;
            fs::create_dir(files.path().join("src"))?;
            for (file, text) in
                [("Cargo.toml", MANIFEST), ("Cargo.lock", LOCKFILE), ("src/lib.rs", ""), ("build.rs", "fn main() {}\n")]
            {
                fs::write(files.path().join(file), text)?;
            }
            Ok(files)
        })
        .await?;
        let meta = meta();
        let quiet = |_| {};
        let prepared = self.prepare(&meta, files.path(), BuildKind::Fast, &quiet, cancel).await?;
        let run = prepared.run(self, &meta);
        let Some(Skeletons { all, .. }) = run.skeletons(cancel).await? else { return Ok(()) };
        let skeleton: Arc<Skeleton> = Arc::new(all);
        // Whatever projects have compiled: nobody but they may start from that.
        if !run.is_shared(&skeleton, ChosenBy::Platform).await? {
            tracing::info!("idle: compiling what a first app needs");
            run.share_dependencies(&skeleton, ChosenBy::Platform, &quiet, cancel).await?;
            tracing::info!("warmed up");
        }
        Ok(())
    }
}

/// What stands for a deployment here.
fn meta() -> Meta {
    let index = ArchiveIndex {
        format: ARCHIVE_FORMAT,
        package: NAME.to_owned(),
        crate_name: NAME.to_owned(),
        workspace_root: String::new(),
        package_root: String::new(),
        sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
        cli_version: env!("CARGO_PKG_VERSION").to_owned(),
        binary: None,
        features: Vec::new(),
        no_default_features: false,
        profile: None,
        env: Env::new(),
        git_commit: None,
    };
    #[expect(clippy::expect_used, reason = "a constant that is one")]
    let project: ProjectName = NAME.parse().expect("a DNS label");
    Meta {
        seq: 0,
        id: NAME.to_owned(),
        project_id: PROJECT_ID,
        project,
        archive: Digest::new(&Sha256::digest(LOCKFILE)),
        secrets: None,
        build: BuildMode::Fast,
        index,
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn packages(lockfile: &str) -> BTreeSet<String> {
        let lock: toml::Table = lockfile.parse().unwrap();
        let packages = lock["package"].as_array().unwrap();
        packages
            .iter()
            .filter(|package| package.get("source").is_some())
            .map(|p| format!("{} {}", p["name"], p["version"]))
            .collect()
    }

    #[test]
    fn the_template_is_locked_as_the_first_example_is() {
        let example = packages(include_str!("../../../examples/hello-axum/Cargo.lock"));
        let template = packages(LOCKFILE);
        let missing: Vec<_> = example.difference(&template).collect();
        assert!(missing.is_empty(), "the warm-up does not compile {missing:?} of examples/hello-axum: see warm/manifest.toml");
    }
}
