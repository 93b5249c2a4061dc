//! `deploy`: check, pack, upload, follow; of one package, or of all in the workspace that can be deployed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use platform_wire::{BuildKind, BuildMode, Deployment, LaterBuild, ProjectName, ServiceKind, Serving};
use serde_json::{Value, json};

use super::{
    block_on, dry_run, interrupt,
    send::{self, Latest},
};
use crate::{
    cli::{Deploy, Global},
    client::{Client, Sent, Upload},
    config,
    error::Error,
    pack::{self, Listed, PackError},
    project::{self, Plan, ProjectError, SETTINGS_FILE, Secrets, Settings, git::Repo},
    ui::{self, Ui},
};

/// One deployment to be made.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: ProjectName,
    pub(super) plan: Plan,
    pub(super) secrets: Option<Secrets>,
}

pub(super) fn run(global: &Global, arguments: &Deploy, ui: &Ui) -> Result<(), Error> {
    let mut began = Instant::now();
    let Prepared { targets, written } = prepare(arguments, ui)?;
    if arguments.dry_run {
        return dry_run::run(&targets, &written, arguments, ui);
    }
    let client = Client::new(&config::server(global)?)?;
    let mut checked = Vec::new();
    for target in &targets {
        // Before anything is packed: a server that is not there, or refuses the key, need not be sent everything first.
        let latest = block_on(send::greet(&client, &target.name))?;
        let listed = pack::list(&target.plan)?;
        if !arguments.allow_dirty {
            check_committed(&target.plan, &listed, &written)?;
        }
        checked.push((target, latest, listed));
    }
    let mut done = Vec::new();
    for (index, (target, latest, listed)) in checked.iter().enumerate() {
        if arguments.workspace {
            ui.status("Deploying", &format!("{} ({} of {})", target.plan.package, index + 1, targets.len()));
        }
        match one(&client, target, latest, listed, began, arguments, ui) {
            Ok(document) => done.push(document),
            Err(error) if arguments.workspace => {
                let left = targets[index + 1..].iter().map(|target| target.plan.package.clone()).collect();
                return Err(Error::Partly { error: Box::new(error), done, left });
            }
            Err(error) => return Err(error),
        }
        began = Instant::now();
    }
    print_json(done, arguments, ui);
    Ok(())
}

/// With `--workspace` an array, however many there are.
pub(super) fn print_json(mut documents: Vec<Value>, arguments: &Deploy, ui: &Ui) {
    if !ui.is_json() {
        return;
    }
    if arguments.workspace {
        ui.json(&documents);
    } else if let Some(document) = documents.pop() {
        ui.json(&document);
    }
}

/// Packs, uploads and follows; what there is to print in JSON.
fn one(
    client: &Client,
    target: &Target,
    latest: &Latest,
    listed: &Listed,
    began: Instant,
    arguments: &Deploy,
    ui: &Ui,
) -> Result<Value, Error> {
    let Target { name, plan, secrets } = target;
    say_secrets(target, ui);
    let packed = pack::pack(plan, &listed.files)?;
    ui.status("Packed", &format!("{} ({} files, {})", plan.package, packed.entries, ui::bytes(packed.size)));
    block_on(async {
        let secrets = send::secrets(client, name, secrets.as_ref()).await?;
        let build = arguments.build.map(BuildMode::from).or(plan.mode);
        let upload = Upload { archive: packed.file.clone(), size: packed.size, secrets, build, force: arguments.force };
        let deployment = match send::upload(client, name, &upload, &packed.digest, latest, ui).await? {
            Sent::New(deployment) => deployment,
            Sent::Unchanged(deployment) => return Ok(unchanged(&deployment, arguments, ui)),
        };
        if arguments.no_follow {
            if !ui.is_json() {
                ui.data(&deployment.id);
            }
            let mut document = json!(deployment);
            document["unchanged"] = false.into();
            return Ok(document);
        }
        let patience = Duration::from_secs(arguments.reconnect.seconds);
        let url = interrupt::follow(client, &deployment.id, patience, ui).await?;
        if !ui.is_json() {
            let seconds = began.elapsed().as_secs_f64();
            let serving = client.project(name).await.ok().and_then(|project| project.serving);
            ui.status("Live", &format!("after {seconds:.1} s{}", serving.as_ref().map(remarks).unwrap_or_default()));
            ui.data(&url);
        }
        Ok(json!({ "id": deployment.id, "project": name, "state": "deployed", "url": url, "unchanged": false }))
    })
}

/// What a user might not expect of what is live now.
fn remarks(serving: &Serving) -> String {
    let mut text = String::new();
    if serving.kind == ServiceKind::Background {
        // Its URL leads to nothing but a page that says so.
        text.push_str(", a background service: it is sent no requests");
    }
    if serving.build == BuildKind::Fast && serving.optimised == Some(LaterBuild::Waiting) {
        text.push_str("; an optimised build follows");
    }
    text
}

/// Says that there was nothing to do.
fn unchanged(deployment: &Deployment, arguments: &Deploy, ui: &Ui) -> Value {
    let Deployment { id, project, url, .. } = deployment;
    ui.status("Unchanged", &format!("since deployment {id}; --force builds it anew"));
    if !ui.is_json() {
        ui.data(if arguments.no_follow { id } else { url });
    }
    let mut document = if arguments.no_follow {
        json!(deployment)
    } else {
        json!({ "id": id, "project": project, "state": "deployed", "url": url })
    };
    document["unchanged"] = true.into();
    document
}

struct Prepared {
    targets: Vec<Target>,
    /// Files that this very command has written.
    written: BTreeSet<PathBuf>,
}

/// Everything that is found out without the server. A dry run writes nothing.
fn prepare(arguments: &Deploy, ui: &Ui) -> Result<Prepared, Error> {
    let given: Option<ProjectName> = match &arguments.name {
        Some(name) => Some(name.parse().map_err(ProjectError::from)?),
        None => None,
    };
    let (context, manifest) = project::context(&arguments.select, ui)?;
    let workspace = project::workspace(&context, &manifest)?;
    let all = if arguments.workspace {
        project::locate_all(&workspace)?
    } else {
        vec![project::locate(&workspace, &arguments.select)?]
    };
    let mut prepared = Prepared { targets: Vec::new(), written: BTreeSet::new() };
    for located in all {
        let plan = project::plan(&context, &workspace, &located, arguments.dry_run)?;
        if let Some(lockfile) = plan.new_lockfile.as_ref().filter(|_| !arguments.dry_run) {
            ui.status("Locked", &format!("dependencies in {}; commit this file, so that they stay the same", lockfile.display()));
            prepared.written.insert(lockfile.clone());
        }
        let name = match &given {
            Some(name) => name.clone(),
            None => located.name?,
        };
        if let Some(name) = given.as_ref().filter(|_| !arguments.dry_run) {
            if Settings::set_name(located.package.root(), name)? {
                ui.status("Named", &format!("{name} from now on, in {SETTINGS_FILE}"));
            }
            prepared.written.insert(plan.package_root.join(SETTINGS_FILE));
        }
        if let Some(other) = prepared.targets.iter().find(|target| target.name == name) {
            let packages = [other.plan.package.clone(), plan.package];
            return Err(ProjectError::SameName { name, packages }.into());
        }
        let secrets = Secrets::find(arguments.secrets.as_deref(), &plan.package_root, &plan.workspace_root)?;
        prepared.targets.push(Target { name, plan, secrets });
    }
    Ok(prepared)
}

/// How many secrets there are and where they are from, never more of them.
pub(super) fn say_secrets(target: &Target, ui: &Ui) {
    let Some(secrets) = &target.secrets else { return };
    let shown = |file: &Path| file.strip_prefix(&target.plan.workspace_root).unwrap_or(file).display().to_string();
    let file = shown(&secrets.file);
    let count = match secrets.set.secrets.len() {
        0 => "none".to_owned(),
        count => count.to_string(),
    };
    let instead = secrets.unused.as_deref().map(|unused| format!(" instead of the workspace's {}", shown(unused)));
    ui.status("Secrets", &format!("{count} from {file}{}", instead.unwrap_or_default()));
    // A repository that cannot be read is told of where it matters.
    if secrets.is_tracked().unwrap_or(false) {
        ui.warning(&format!(
            "{file} is tracked by git: whoever has the repository has these secrets\n\
             take it out and keep it out, and change what was pushed:\n  \
             git rm --cached {file} && echo 'Secrets*.toml' >> .gitignore"
        ));
    }
}

/// Refuses files that are sent and not committed, but for those that this very command has written.
pub(super) fn check_committed(plan: &Plan, listed: &Listed, written: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let mut dirty = BTreeSet::new();
    // The workspace's root speaks for the packages below it, unless they are repositories of their own.
    let apart = |folder: &&Path| !folder.starts_with(&plan.workspace_root) || folder.join(".git").exists();
    let folders: BTreeSet<&Path> = plan.folders.iter().map(PathBuf::as_path).filter(apart).collect();
    for folder in folders.into_iter().chain([plan.workspace_root.as_path()]) {
        let Some(repo) = Repo::around(folder)? else { continue };
        dirty.extend(repo.uncommitted()?.into_iter().filter(|file| {
            // A file that is gone cannot be sent, and its absence is a change of the project all the same.
            let is_missing = !file.exists() && listed.covers(file);
            !written.contains(file) && (listed.files.contains(file) || is_missing)
        }));
    }
    if dirty.is_empty() {
        return Ok(());
    }
    let shown = |file: &PathBuf| file.strip_prefix(&plan.workspace_root).unwrap_or(file).display().to_string();
    Err(PackError::Git(ProjectError::Dirty { files: dirty.iter().map(shown).collect() }).into())
}
