//! `deploy`: check, pack, upload, follow.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use platform_wire::{Deployment, ProjectName};

use super::{block_on, interruptible, watch};
use crate::{
    cli::{Deploy, Global},
    client::{Client, ClientError},
    config,
    error::{Error, Following},
    pack::{self, PackError, Packed},
    project::{self, Plan, ProjectError, SETTINGS_FILE, Settings, git::Repo},
    ui::{self, Ui},
};

pub(super) fn run(global: &Global, arguments: &Deploy, ui: &Ui) -> Result<(), Error> {
    let began = Instant::now();
    let (name, plan) = prepare(arguments, ui)?;
    let client = Client::new(&config::server(global)?)?;
    // Before anything is packed: a server that is not there, or refuses the key, need not be sent everything first.
    block_on(greet(&client, &name))?;
    let files = pack::list(&plan)?;
    if !arguments.allow_dirty {
        check_committed(&plan, &files, arguments.name.is_some())?;
    }
    let packed = pack::pack(&plan, &files)?;
    ui.status("Packed", &format!("{} ({} files, {})", plan.package, packed.entries, ui::bytes(packed.size)));
    block_on(async {
        let deployment = upload(&client, &name, &packed, ui).await?;
        if arguments.no_follow {
            if ui.is_json() {
                ui.json(&deployment);
            } else {
                ui.data(&deployment.id);
            }
            return Ok(());
        }
        let patience = Duration::from_secs(arguments.reconnect.seconds);
        let what = Following::Deployment(deployment.id.clone());
        let url = interruptible(what, watch::until_finished(&client, &deployment.id, patience, ui)).await?;
        if ui.is_json() {
            ui.json(&serde_json::json!({ "id": deployment.id, "project": name, "state": "deployed", "url": url }));
        } else {
            ui.status("Live", &format!("after {:.1} s", began.elapsed().as_secs_f64()));
            ui.data(&url);
        }
        Ok(())
    })
}

/// Everything that is found out without the server.
fn prepare(arguments: &Deploy, ui: &Ui) -> Result<(ProjectName, Plan), Error> {
    let given: Option<ProjectName> = match &arguments.name {
        Some(name) => Some(name.parse().map_err(ProjectError::from)?),
        None => None,
    };
    let (context, manifest) = project::context(&arguments.select, ui)?;
    let workspace = project::workspace(&context, &manifest)?;
    let located = project::locate(&workspace, &arguments.select)?;
    let name = match &given {
        Some(name) => name.clone(),
        None => located.name?,
    };
    let plan = project::plan(&context, &workspace, &located.package)?;
    if let Some(lockfile) = &plan.new_lockfile {
        ui.status("Locked", &format!("dependencies in {}; commit this file, so that they stay the same", lockfile.display()));
    }
    if let Some(name) = &given
        && Settings::set_name(located.package.root(), name)?
    {
        ui.status("Named", &format!("{name} from now on, in {SETTINGS_FILE}"));
    }
    Ok((name, plan))
}

async fn greet(client: &Client, name: &ProjectName) -> Result<(), Error> {
    match client.project(name).await {
        Err(error @ (ClientError::KeyRefused { .. } | ClientError::Unreachable { .. } | ClientError::Unexpected { .. })) => {
            Err(error.into())
        }
        // A project that is not there yet, or trouble of which the upload will tell more.
        _ => Ok(()),
    }
}

/// Refuses files that are sent and not committed, but for those that this very command has written.
fn check_committed(plan: &Plan, files: &BTreeSet<PathBuf>, named: bool) -> Result<(), Error> {
    let settings = plan.package_root.join(SETTINGS_FILE);
    let is_own = |file: &Path| plan.new_lockfile.as_deref() == Some(file) || (named && file == settings);
    let mut dirty = BTreeSet::new();
    // The workspace's root speaks for the packages below it, unless they are repositories of their own.
    let apart = |folder: &&Path| !folder.starts_with(&plan.workspace_root) || folder.join(".git").exists();
    let folders: BTreeSet<&Path> = plan.folders.iter().map(PathBuf::as_path).filter(apart).collect();
    for folder in folders.into_iter().chain([plan.workspace_root.as_path()]) {
        let Some(repo) = Repo::around(folder)? else { continue };
        dirty.extend(repo.uncommitted()?.into_iter().filter(|file| {
            // A file that is gone cannot be sent, and its absence is a change of the package all the same.
            let is_missing = !file.exists() && plan.folders.iter().any(|folder| file.starts_with(folder));
            !is_own(file) && (files.contains(file) || is_missing)
        }));
    }
    if dirty.is_empty() {
        return Ok(());
    }
    let shown = |file: &PathBuf| file.strip_prefix(&plan.workspace_root).unwrap_or(file).display().to_string();
    Err(PackError::Git(ProjectError::Dirty { files: dirty.iter().map(shown).collect() }).into())
}

async fn upload(client: &Client, name: &ProjectName, packed: &Packed, ui: &Ui) -> Result<Deployment, Error> {
    if !ui.has_bars() {
        ui.status("Uploading", &format!("to {}", client.address()));
    }
    let bar = ui.upload(packed.size);
    let moving = bar.clone();
    let sending = client.deploy(name, packed.path(), packed.size, move |count| moving.advance(count));
    let deployment = interruptible(Following::Upload, async { Ok(sending.await?) }).await;
    bar.clear();
    let deployment = deployment?;
    ui.status("Uploaded", &format!("as deployment {}", deployment.id));
    if deployment.archive_digest != packed.digest {
        ui.warning("the server has another digest of the archive than was sent; something on the way changes what passes");
    }
    Ok(deployment)
}
