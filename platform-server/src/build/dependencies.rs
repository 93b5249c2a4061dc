//! A project's compiled dependencies: taken from those that are shared, or compiled apart from its own code and shared.

use std::{io, sync::Arc};

use platform_wire::{BuildKind, Event};
use tokio_util::sync::CancellationToken;

use super::{
    BuildError, blocking,
    cargo::CargoRun,
    shared::{self, ChosenBy},
    skeleton::{Skeleton, Skeletons, Source},
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
                let folder = Arc::clone(self.folder);
                let uid = self.builder.uids.build(self.meta.project_id);
                // A half of them would be worse than none.
                Ok(blocking(move || folder.start_again(uid)).await?)
            }
            taken => taken,
        }
    }

    async fn try_take_dependencies(
        &self,
        event: &(dyn Fn(Event) + Send + Sync),
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let Some(Skeletons { foreign, all }) = self.skeletons(cancel).await? else { return Ok(()) };
        let (all, foreign) = (Arc::new(all), foreign.map(Arc::new));
        if !self.is_shared(&all, ChosenBy::Project).await? {
            for skeleton in foreign.iter().chain([&all]) {
                if !self.is_shared(skeleton, ChosenBy::Project).await?
                    && !self.share_dependencies(skeleton, ChosenBy::Project, event, cancel).await?
                {
                    break;
                }
            }
        }
        let (folders, project) = (self.builder.folders.clone(), Arc::clone(self.folder));
        let uid = self.builder.uids.build(self.meta.project_id);
        let take = move || {
            for skeleton in std::iter::once(all).chain(foreign) {
                if let Some((set, _reserved)) = folders.shared(&skeleton, ChosenBy::Project)? {
                    project.take(&set, uid)?;
                    return skeleton.date(&project.tree);
                }
            }
            Ok(())
        };
        Ok(blocking(take).await?)
    }

    /// The dependencies, in the forms that they are shared in.
    pub(super) async fn skeletons(&self, cancel: &CancellationToken) -> Result<Option<Skeletons>, BuildError> {
        let (tree, toolchain, index) = (self.folder.tree.clone(), self.toolchain.clone(), self.meta.index.clone());
        let (profile, (seen_at, _)) = (self.profile_of_dependencies(), self.seen_at());
        let found = blocking(move || {
            let compiler = toolchain.identity()?;
            let source = Source { tree: &tree, seen_at: &seen_at, index: &index, compiler: &compiler, profile: &profile };
            Skeleton::of(source)
        });
        // It only reads, so nothing depends on its end.
        tokio::select! {
            found = found => Ok(found?),
            () = cancel.cancelled() => Err(BuildError::Cancelled),
        }
    }

    pub(super) async fn is_shared(&self, skeleton: &Arc<Skeleton>, chosen_by: ChosenBy) -> io::Result<bool> {
        let (folders, skeleton) = (self.builder.folders.clone(), Arc::clone(skeleton));
        blocking(move || Ok(folders.shared(&skeleton, chosen_by)?.is_some())).await
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
            let (files, target) = (folders.scratch(Some(&beside), None)?, folders.scratch(Some(&beside), uid)?);
            wanted.write(&tree, files.path())?;
            if let Some((base, _reserved)) = folders.base(&wanted, chosen_by)? {
                shared::copy_to(&base, target.path(), uid)?;
            }
            Ok((files, target))
        })
        .await?;
        let compiled = self.compile_dependencies(skeleton, files.path(), target.path(), event, cancel).await?;
        let (folders, wanted, (tree, seen_target)) = (self.builder.folders.clone(), Arc::clone(skeleton), self.seen_at());
        let keep = move || {
            if let Some(units) = &compiled {
                let hashes = shared::kept_units(&wanted, units, (&tree, &seen_target));
                folders.share(&wanted, &hashes, target.path(), chosen_by)?;
            }
            drop((files, target));
            Ok(compiled.is_some())
        };
        Ok(blocking(keep).await?)
    }
}
