//! A project's compiled dependencies: taken from those that are shared, or compiled apart from its own code and shared.

use std::{io, sync::Arc};

use platform_wire::{BuildKind, Event};
use tokio_util::sync::CancellationToken;

use super::{
    BuildError, blocking,
    cargo::CargoRun,
    shared::{self, ChosenBy},
    skeleton::{Skeleton, Skeletons},
};

impl CargoRun<'_> {
    /// Whether dependencies that are compiled apart, which is always as for a fast build, are of use for this one.
    pub(super) fn can_share(&self) -> bool {
        self.profile.kind == BuildKind::Fast || self.profile.same_dependencies
    }

    /// Puts compiled dependencies into the project's new target folder. What goes wrong here is no failure: cargo then
    /// compiles them with the project.
    pub(super) async fn take_dependencies(
        &self,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        match self.try_take_dependencies(event, cancel).await {
            Err(BuildError::Io(error)) => {
                tracing::warn!(deployment = self.meta.id, %error, "compiled dependencies could not be shared");
                let target = self.folder.target.clone();
                let uid = self.builder.uids.build(self.meta.project_id);
                // A half of them would be worse than none.
                Ok(blocking(move || shared::clear(&target, uid)).await?)
            }
            taken => taken,
        }
    }

    async fn try_take_dependencies(
        &self,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let Some(Skeletons { foreign, all }) = self.skeletons().await? else { return Ok(()) };
        let skeleton = Arc::new(all);
        if !self.is_shared(&skeleton).await? {
            for skeleton in foreign.map(Arc::new).iter().chain([&skeleton]) {
                if !self.is_shared(skeleton).await?
                    && !self.share_dependencies(skeleton, ChosenBy::Project, event, cancel).await?
                {
                    return Ok(());
                }
            }
        }
        let (folders, tree, target) = (self.builder.folders.clone(), self.folder.tree.clone(), self.folder.target.clone());
        let uid = self.builder.uids.build(self.meta.project_id);
        let take = move || {
            let Some((folder, _reserved)) = folders.shared(&skeleton)? else { return Ok(()) };
            shared::copy_to(&folder, &target, uid)?;
            skeleton.backdate(&tree)
        };
        Ok(blocking(take).await?)
    }

    pub(super) async fn skeletons(&self) -> io::Result<Option<Skeletons>> {
        let (tree, toolchain, index) = (self.folder.tree.clone(), self.toolchain.clone(), self.meta.index.clone());
        let profile = self.profile.folder.clone();
        blocking(move || {
            let lockfile = tree.join(&index.workspace_root).join("Cargo.lock");
            Skeleton::of(&tree, &lockfile, &index.package, &toolchain.identity()?, &profile)
        })
        .await
    }

    async fn is_shared(&self, skeleton: &Arc<Skeleton>) -> io::Result<bool> {
        let (folders, skeleton) = (self.builder.folders.clone(), Arc::clone(skeleton));
        blocking(move || Ok(folders.shared(&skeleton)?.is_some())).await
    }

    /// Compiles dependencies that nobody has compiled yet, and keeps them. `false`: they cannot be compiled apart.
    pub(super) async fn share_dependencies(
        &self,
        skeleton: &Arc<Skeleton>,
        chosen_by: ChosenBy,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<bool, BuildError> {
        let uid = self.builder.uids.build(self.meta.project_id);
        let (folders, tree, beside, wanted) =
            (self.builder.folders.clone(), self.folder.tree.clone(), self.folder.target.clone(), Arc::clone(skeleton));
        let (files, target) = blocking(move || {
            let (files, target) = (shared::scratch(&beside, None)?, shared::scratch(&beside, uid)?);
            wanted.write(&tree, files.path())?;
            if let Some((base, _reserved)) = folders.shared_by_some(&wanted)? {
                shared::copy_to(&base, target.path(), uid)?;
            }
            Ok((files, target))
        })
        .await?;
        let compiled = self.compile_dependencies(files.path(), target.path(), event, cancel).await?;
        let (folders, wanted) = (self.builder.folders.clone(), Arc::clone(skeleton));
        let keep = move || {
            if compiled {
                folders.share(&wanted, target.path(), chosen_by)?;
            }
            drop((files, target));
            Ok(compiled)
        };
        Ok(blocking(keep).await?)
    }
}
