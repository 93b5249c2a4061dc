//! From a folder, or `--manifest-path` and `-p`, to one package and its project's name.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use cargo::{
    CargoResult, GlobalContext,
    core::{Package, Workspace},
    util::important_paths::find_root_manifest_for_wd,
};
use cargo_util_terminal::Shell;
use platform_wire::ProjectName;

use super::{ProjectError, SDK, Settings, advice, function};
use crate::{cli::Select, error::Error, ui::Ui};

/// The package that a command is about.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) package: Package,
    pub(crate) settings: Settings,
    /// The project's name, unless it is not one.
    pub(crate) name: Result<ProjectName, ProjectError>,
}

/// cargo's configuration as it holds in the folder of the manifest, and the manifest.
pub(crate) fn context(select: &Select, ui: &Ui) -> Result<(GlobalContext, PathBuf), ProjectError> {
    let here = std::env::current_dir().map_err(|error| ProjectError::Read { path: ".".into(), why: error.to_string() })?;
    let manifest = match &select.manifest_path {
        Some(path) => {
            let path = cargo_path(&here.join(path));
            if path.is_dir() { path.join("Cargo.toml") } else { path }
        }
        None => find_root_manifest_for_wd(&here).map_err(|error| ProjectError::NoManifest(error.to_string()))?,
    };
    if !manifest.is_file() {
        return Err(ProjectError::Read { path: manifest, why: "there is no such file".to_owned() });
    }
    let folder = manifest.parent().unwrap_or(&here).to_owned();
    let home = cargo::util::homedir(&folder).ok_or_else(|| ProjectError::Cargo("cargo finds no home directory".to_owned()))?;
    let shell = Shell::from_write(Box::new(CargoOutput { ui: ui.clone() }));
    let mut context = GlobalContext::new(shell, folder, home);
    cargo(context.configure(0, false, None, false, false, false, &None, &[], &[]))?;
    Ok((context, manifest))
}

pub(crate) fn workspace<'a>(context: &'a GlobalContext, manifest: &Path) -> Result<Workspace<'a>, ProjectError> {
    cargo(Workspace::new(manifest, context))
}

/// Chooses the package, and reads its name.
pub(crate) fn locate(workspace: &Workspace<'_>, select: &Select) -> Result<Located, Error> {
    located(workspace, choose(workspace, select.package.as_deref())?)
}

/// All packages of the workspace that can be deployed.
pub(crate) fn locate_all(workspace: &Workspace<'_>) -> Result<Vec<Located>, Error> {
    let annotated = annotated(workspace);
    if annotated.is_empty() {
        return Err(none_annotated(workspace).into());
    }
    annotated.into_iter().map(|package| located(workspace, package)).collect()
}

fn located(workspace: &Workspace<'_>, package: &Package) -> Result<Located, Error> {
    let settings = Settings::read(package.root(), workspace.root())?;
    let mut name = settings.name.as_deref().unwrap_or(package.name().as_str()).parse().map_err(ProjectError::from);
    if let Some(file) = &settings.name_of_workspace {
        let packages = names(annotated(workspace));
        // All of them would be deployed over each other.
        if packages.len() > 1 {
            name = Err(ProjectError::NameOfSeveral { file: file.clone(), packages });
        }
    }
    Ok(Located { package: package.clone(), settings, name })
}

fn annotated<'a>(workspace: &'a Workspace<'_>) -> Vec<&'a Package> {
    workspace.members().filter(|package| function::is_annotated(package)).collect()
}

fn names<'a>(packages: impl IntoIterator<Item = &'a Package>) -> Vec<String> {
    packages.into_iter().map(|package| package.name().to_string()).collect()
}

fn choose<'a>(workspace: &'a Workspace<'_>, wanted: Option<&str>) -> Result<&'a Package, ProjectError> {
    let members = || names(workspace.members());
    if let Some(name) = wanted {
        let found = workspace.members().find(|package| package.name().as_str() == name);
        return found.ok_or_else(|| ProjectError::NoSuchPackage { name: name.to_owned(), members: members() });
    }
    if let Some(package) = workspace.current_opt() {
        return Ok(package);
    }
    match annotated(workspace).as_slice() {
        [one] => Ok(one),
        [] => Err(none_annotated(workspace)),
        several => Err(ProjectError::SeveralAnnotatedMembers(names(several.iter().copied()))),
    }
}

fn none_annotated(workspace: &Workspace<'_>) -> ProjectError {
    let members = names(workspace.members());
    let advice = advice::likely(workspace.members()).map(|package| {
        let has_sdk = package.dependencies().iter().any(|dependency| dependency.package_name() == SDK);
        let advice = if has_sdk { advice::annotate } else { advice::begin };
        (package.name().to_string(), advice(package, workspace.root()))
    });
    ProjectError::NoAnnotatedMember { members, advice }
}

/// cargo's errors are chains; each link says something.
pub(super) fn cargo<T>(result: CargoResult<T>) -> Result<T, ProjectError> {
    result.map_err(|error| {
        if let Some(printed) = error.downcast_ref::<cargo::AlreadyPrintedError>() {
            // The place has been shown with the lines around it.
            let text = printed.to_string();
            let why = text.trim().lines().last().unwrap_or_default().trim();
            return ProjectError::Cargo(format!("cargo cannot read the manifest: {why}"));
        }
        let links: Vec<String> = error.chain().map(ToString::to_string).collect();
        ProjectError::Cargo(links.join("\n"))
    })
}

/// Removes `.` and `..` without following links, as cargo does.
pub(crate) fn cargo_path(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => drop(out.pop()),
            part => out.push(part),
        }
    }
    out
}

/// What cargo says while it resolves ("Updating index") goes the way of all output.
struct CargoOutput {
    ui: Ui,
}

impl Write for CargoOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.ui.raw(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
