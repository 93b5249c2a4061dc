//! `deploy`: check, pack, upload, follow; of one package, or of all in the workspace that can be deployed.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cargo::{GlobalContext, core::Workspace};
use platform_wire::{BuildKind, BuildMode, Deployment, LaterBuild, Origin, ProjectName, ServiceKind, Serving};
use serde_json::{Value, json};

use super::{
    block_on, dry_run,
    interrupt::{self, is_yes},
    send::{self, Known},
    still,
};
use crate::{
    cli::{Deploy, Global},
    client::{Client, Sent, Upload},
    config,
    error::{Error, OtherOrigin},
    pack::{self, Listed, PackError},
    project::{
        self, Needs, Plan, ProjectError, SETTINGS_FILE, Secrets, Settings,
        git::{Change, ChangeKind, Repo},
    },
    ui::{self, Ui},
};

/// One deployment to be made.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: ProjectName,
    /// Whether the name was given just now, and is written to the settings.
    is_named: bool,
    pub(super) plan: Plan,
    pub(super) secrets: Option<Secrets>,
}

/// A target that nothing on this side stands in the way of.
struct Checked<'a> {
    target: &'a Target,
    known: Known,
    origin: Origin,
    /// Whether a project that is deployed from elsewhere may be replaced.
    replace: bool,
    listed: Listed,
}

pub(super) fn run(global: &Global, arguments: &Deploy, ui: &Ui) -> Result<(), Error> {
    let mut began = Instant::now();
    let given: Option<ProjectName> = match &arguments.name {
        Some(name) => Some(name.parse().map_err(ProjectError::from)?),
        None => None,
    };
    let (context, manifest) = project::context(&arguments.select, ui)?;
    let workspace = project::workspace(&context, &manifest)?;
    let targets = prepare(&context, &workspace, given.as_ref(), arguments)?;
    if arguments.dry_run {
        return dry_run::run(&targets, arguments, ui);
    }
    let client = Client::new(&config::server(global)?)?;
    let mut checked = Vec::new();
    for target in &targets {
        // Before anything is packed: a server that is not there, or refuses the key, need not be sent everything first.
        let known = block_on(send::greet(&client, &target.name))?;
        let listed = pack::list(&target.plan)?;
        if !arguments.allow_dirty {
            check_committed(target, &listed)?;
        }
        let origin = project::origin(&target.plan.package_root);
        let replace = may_replace(target, &known, &origin, arguments, ui)?;
        checked.push(Checked { target, known, origin, replace, listed });
    }
    lock(&workspace, &mut checked, ui)?;
    let mut done = Vec::new();
    for (index, checked) in checked.iter().enumerate() {
        if arguments.workspace {
            ui.status("Deploying", &format!("{} ({} of {})", checked.target.plan.package, index + 1, targets.len()));
        }
        match one(&client, checked, began, arguments, ui) {
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

/// Makes the lockfile, now that nothing refuses the project any more.
fn lock(workspace: &Workspace<'_>, checked: &mut [Checked<'_>], ui: &Ui) -> Result<(), Error> {
    for (index, one) in checked.iter_mut().enumerate() {
        let lockfile = &one.target.plan.lockfile;
        if lockfile.needs == Needs::Nothing {
            continue;
        }
        // Packages of a workspace share it.
        if index == 0 {
            lockfile.write(workspace)?;
        }
        if index == 0 && lockfile.needs == Needs::Making {
            let path = lockfile.path.display();
            ui.status("Locked", &format!("dependencies in {path}; commit this file, so that they stay the same"));
        }
        one.listed.files.insert(lockfile.path.clone());
    }
    Ok(())
}

/// Whether the project may be replaced where it is deployed from elsewhere. Asks, if somebody can answer.
fn may_replace(target: &Target, known: &Known, origin: &Origin, arguments: &Deploy, ui: &Ui) -> Result<bool, Error> {
    if arguments.yes || arguments.name.is_some() {
        return Ok(true);
    }
    if known.origin.is_same(origin) {
        return Ok(false);
    }
    let other = OtherOrigin { project: target.name.clone(), was: known.origin.to_string(), is: origin.to_string() };
    let question = format!("{}.\nReplace it by what is here? [y/N] ", Error::from(other.clone()));
    let answer = ui.ask(&question).map_err(|source| Error::Io { what: "cannot read the answer", source })?;
    match answer {
        Some(answer) if is_yes(&answer) => Ok(true),
        Some(_) => Err(Error::Aborted("nothing was deployed".to_owned())),
        None => Err(other.into()),
    }
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
fn one(client: &Client, checked: &Checked<'_>, began: Instant, arguments: &Deploy, ui: &Ui) -> Result<Value, Error> {
    let Checked { target, known, origin, replace, listed } = checked;
    let Target { name, plan, secrets, .. } = target;
    say_secrets(target, ui);
    let packed = pack::pack(plan, &listed.files)?;
    ui.status("Packed", &format!("{} ({} files, {})", plan.package, packed.entries, ui::bytes(packed.size)));
    block_on(async {
        let secrets = send::secrets(client, name, secrets.as_ref()).await?;
        let build = arguments.build.map(BuildMode::from).or(plan.mode);
        let (archive, size, force) = (packed.file.clone(), packed.size, arguments.force);
        let upload = Upload { archive, size, secrets, build, force, origin: origin.clone(), replace: *replace };
        let sent = send::upload(client, name, &upload, &packed.digest, &known.latest, ui).await?;
        write_texts(target, ui);
        let deployment = match sent {
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
        let url = match interrupt::follow(client, &deployment.id, patience, ui).await {
            Ok(url) => url,
            Err(error) => return Err(still::told(client, name, error).await),
        };
        if !ui.is_json() {
            let seconds = began.elapsed().as_secs_f64();
            let serving = client.project(name).await.ok().and_then(|project| project.serving);
            ui.status("Live", &format!("after {seconds:.1} s{}", serving.as_ref().map(remarks).unwrap_or_default()));
            ui.data(&url);
        }
        Ok(json!({ "id": deployment.id, "project": name, "state": "deployed", "url": url, "unchanged": false }))
    })
}

/// Writes what was sent already as it stands here from now on: the project's name in its settings.
fn write_texts(target: &Target, ui: &Ui) {
    for (path, text) in &target.plan.texts {
        match fs::write(path, text) {
            Ok(()) => ui.status("Named", &format!("{} from now on, in {SETTINGS_FILE}", target.name)),
            // The upload has its name; only the next command would look for another.
            Err(error) => ui.warning(&format!(
                "the name could not be written to {}: {error}\nwrite there `name = \"{}\"`, or add `--name {1}` to every command",
                path.display(),
                target.name
            )),
        }
    }
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

/// Everything that is found out without the server. Writes nothing.
fn prepare(
    context: &GlobalContext,
    workspace: &Workspace<'_>,
    given: Option<&ProjectName>,
    arguments: &Deploy,
) -> Result<Vec<Target>, Error> {
    let all =
        if arguments.workspace { project::locate_all(workspace)? } else { vec![project::locate(workspace, &arguments.select)?] };
    let mut targets: Vec<Target> = Vec::new();
    for located in all {
        let mut plan = project::plan(context, workspace, &located)?;
        let name = match given {
            Some(name) => name.clone(),
            None => located.name?,
        };
        if let Some(name) = given
            && let Some(text) = Settings::with_name(located.package.root(), name)?
        {
            plan.texts.insert(plan.package_root.join(SETTINGS_FILE), text);
        }
        if let Some(other) = targets.iter().find(|target| target.name == name) {
            let packages = [other.plan.package.clone(), plan.package];
            return Err(ProjectError::SameName { name, packages }.into());
        }
        let secrets = Secrets::find(arguments.secrets.as_deref(), &plan.package_root, &plan.workspace_root)?;
        targets.push(Target { name, is_named: given.is_some(), plan, secrets });
    }
    Ok(targets)
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

/// Refuses files that are sent and not committed, but for those that this very command writes.
pub(super) fn check_committed(target: &Target, listed: &Listed) -> Result<(), Error> {
    let plan = &target.plan;
    let settings = plan.package_root.join(SETTINGS_FILE);
    let mut dirty = BTreeSet::new();
    // The workspace's root speaks for the packages below it, unless they are repositories of their own.
    let apart = |folder: &&Path| !folder.starts_with(&plan.workspace_root) || folder.join(".git").exists();
    let folders: BTreeSet<&Path> = plan.folders.iter().map(PathBuf::as_path).filter(apart).collect();
    for folder in folders.into_iter().chain([plan.workspace_root.as_path()]) {
        let Some(repo) = Repo::around(folder)? else { continue };
        let changes = repo.uncommitted()?;
        dirty.extend(changes.into_iter().filter(|Change { path, kind }| match kind {
            ChangeKind::Submodule => listed.has_below(path),
            // A file that is gone cannot be sent, and its absence is a change of the project all the same.
            ChangeKind::File => {
                let is_missing = !path.exists() && listed.covers(path);
                !(target.is_named && *path == settings) && (listed.files.contains(path) || is_missing)
            }
        }));
        // It is about to be written anew.
        let lockfile = &plan.lockfile;
        if lockfile.needs == Needs::Update && repo.tracked()?.contains(&lockfile.path) {
            dirty.insert(Change { path: lockfile.path.clone(), kind: ChangeKind::File });
        }
    }
    if dirty.is_empty() {
        return Ok(());
    }
    let shown = |change: &Change| {
        let path = change.path.strip_prefix(&plan.workspace_root).unwrap_or(&change.path).display();
        match change.kind {
            ChangeKind::File => path.to_string(),
            ChangeKind::Submodule => format!("{path} (a submodule at another commit than the recorded one)"),
        }
    };
    Err(PackError::Git(ProjectError::Dirty { files: dirty.iter().map(shown).collect() }).into())
}
