//! From a package to what has to be sent of it: which folders, which single files, which lockfile. Writes nothing: the
//! lockfile that is missing, or that the manifests have left behind, is made once nothing stands in the way any more.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo::{
    GlobalContext,
    core::{
        FeatureValue, Package, PackageId, PackageSet, Resolve, Target, Workspace, dependency::DepKind, find_workspace_root,
        profiles::Profiles,
    },
    ops,
};
use platform_wire::{BuildMode, env::Env};
use toml_edit::{DocumentMut, Item, Table, Value};

use super::{
    ProjectError, SDK, Settings, advice, detect,
    function::{self, Built},
    git::Repo,
    locate::{Located, cargo, cargo_path},
};

/// What is sent, in absolute paths.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) package: String,
    /// What cargo knows it by: its name, and its version where a dependency has the same name.
    pub(crate) package_spec: String,
    pub(crate) crate_name: String,
    /// The binary to build; without one it is the library.
    pub(crate) binary: Option<String>,
    pub(crate) sdk_version: String,
    pub(crate) workspace_root: PathBuf,
    pub(crate) package_root: PathBuf,
    /// Folders of packages, to be listed.
    pub(crate) folders: BTreeSet<PathBuf>,
    /// Packages that are taken by path and are no members of the workspace: what only they themselves use is not sent.
    pub(crate) dependencies: Vec<PathDependency>,
    /// Files that are sent whatever ignore rules say: manifests, lockfile, `.cargo/config.toml`, `rust-toolchain.toml`,
    /// sources outside of all folders.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Root manifests of other workspaces, of which only `[workspace]` is sent, for members that inherit from it.
    pub(crate) foreign_roots: BTreeSet<PathBuf>,
    /// Patterns of files that are sent whatever git says, each with the folder that it is relative to.
    pub(crate) assets: Vec<(PathBuf, String)>,
    /// The app's environment variables.
    pub(crate) env: Env,
    /// The files of settings that count.
    pub(crate) settings: Vec<PathBuf>,
    /// The files of cargo's and rustup's configuration that hold for the package.
    pub(crate) surroundings: Vec<PathBuf>,
    /// Features of the package to build with, beside its default ones.
    pub(crate) features: Vec<String>,
    pub(crate) no_default_features: bool,
    /// The profile to build with, where it is not `release`.
    pub(crate) profile: Option<String>,
    /// Which builds there are.
    pub(crate) mode: Option<BuildMode>,
    /// Folders that cargo builds into.
    pub(crate) build_folders: Vec<PathBuf>,
    pub(crate) lockfile: Lockfile,
    /// Files of which another text is sent than the one on the disk, because it is written there when the server has taken it.
    pub(crate) texts: BTreeMap<PathBuf, String>,
}

/// A package of another workspace, or of none.
#[derive(Debug)]
pub(crate) struct PathDependency {
    pub(crate) root: PathBuf,
    /// Root files of targets that its manifest names: cargo wants some of them to be there, whether it builds them or not.
    pub(crate) needed: BTreeSet<PathBuf>,
    /// Whether it cannot be told which of its files a build reads.
    pub(crate) reads_anything: bool,
    /// `exclude` of its manifest.
    pub(crate) exclude: Vec<String>,
}

/// The lockfile, and what it has to say.
#[derive(Debug)]
pub(crate) struct Lockfile {
    pub(crate) path: PathBuf,
    pub(crate) needs: Needs,
    /// cargo may set its version while it writes it.
    resolve: RefCell<Resolve>,
}

/// What a lockfile needs before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// The manifests have changed since it was written.
    Update,
    /// There is none.
    Making,
}

impl Lockfile {
    fn of(workspace: &Workspace<'_>, resolve: Resolve) -> Result<Self, ProjectError> {
        let path = workspace.lock_root().into_path_unlocked().join("Cargo.lock");
        let needs = match fs::read_to_string(&path) {
            Ok(text) if same_lines(&text, &cargo(ops::resolve_to_string(workspace, &resolve))?) => Needs::Nothing,
            Ok(_) => Needs::Update,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Needs::Making,
            Err(error) => return Err(ProjectError::read(&path, &error)),
        };
        Ok(Self { path, needs, resolve: RefCell::new(resolve) })
    }

    /// Writes it, as `cargo build` would.
    pub(crate) fn write(&self, workspace: &Workspace<'_>) -> Result<(), ProjectError> {
        cargo(ops::write_pkg_lockfile(workspace, &mut self.resolve.borrow_mut())).map(drop)
    }
}

/// cargo leaves a lockfile with other line ends as it is.
fn same_lines(one: &str, other: &str) -> bool {
    one.lines().eq(other.lines())
}

/// Checks the package and plans what is sent.
pub(crate) fn plan(context: &GlobalContext, workspace: &Workspace<'_>, located: &Located) -> Result<Plan, ProjectError> {
    let package = &located.package;
    check_dependency(workspace, package)?;
    let Built { crate_name, binary, required } = function::built(package)?;
    check_features(package, &located.settings.features)?;
    check_required(package, required, &located.settings)?;
    check_profile(workspace, located.settings.profile.as_deref())?;

    // Without writing what it finds.
    let (packages, resolve) = cargo(ops::resolve_ws(workspace, true))?;
    let sdk = check_resolved(&resolve, package)?;

    let mut folders: BTreeSet<PathBuf> = workspace.members().map(|member| member.root().to_owned()).collect();
    folders.extend(path_packages(&resolve));
    let mut files: BTreeSet<PathBuf> = folders.iter().map(|folder| folder.join("Cargo.toml")).collect();
    files.insert(workspace.root_manifest().to_owned());
    files.insert(workspace.lock_root().into_path_unlocked().join("Cargo.lock"));
    let surroundings = surroundings(context, package.root(), workspace.root())?;
    files.extend(surroundings.iter().cloned());
    // `cargo sqlx prepare --workspace` puts it there, and a build without a database needs it, ignored by git or not.
    let sqlx = workspace.root().join(".sqlx");
    if sqlx.is_dir() {
        folders.insert(sqlx);
    }
    files.extend(outer_sources(workspace.root(), &folders, &packages, &resolve)?);
    Ok(Plan {
        package: package.name().to_string(),
        package_spec: spec(&resolve, package),
        crate_name,
        binary,
        sdk_version: sdk.version().to_string(),
        workspace_root: workspace.root().to_owned(),
        package_root: package.root().to_owned(),
        foreign_roots: foreign_roots(context, &folders, &files)?,
        dependencies: path_dependencies(workspace, &packages, &resolve)?,
        folders,
        files,
        assets: located.settings.assets.clone(),
        env: located.settings.env.clone(),
        settings: located.settings.files.clone(),
        surroundings,
        features: located.settings.features.clone(),
        no_default_features: located.settings.no_default_features,
        profile: located.settings.profile.clone(),
        mode: located.settings.mode,
        build_folders: vec![workspace.target_dir().into_path_unlocked(), workspace.build_dir().into_path_unlocked()],
        lockfile: Lockfile::of(workspace, resolve)?,
        texts: BTreeMap::new(),
    })
}

/// Without this check, a registry would be asked for a version that it may not have.
fn check_dependency(workspace: &Workspace<'_>, package: &Package) -> Result<(), ProjectError> {
    let name = package.name().to_string();
    let begin = || advice::begin(package, package.root());
    let sisters = advice::sisters(package);
    if !sisters.is_empty() {
        return Err(ProjectError::Sisters { package: name, sisters, advice: begin() });
    }
    let mut sdk = package.dependencies().iter().filter(|dependency| dependency.package_name() == SDK);
    // One for tests or for the build script alone does not reach the library.
    if !sdk.clone().any(|dependency| dependency.kind() == DepKind::Normal) {
        // A package without both is rather told how to begin than where its function should be.
        return Err(ProjectError::NoSdk { package: name, advice: begin() });
    }
    let patches = cargo(workspace.root_patch())?;
    let is_patched = patches.values().flatten().any(|patch| patch.dep.package_name() == SDK);
    if sdk.any(|dependency| dependency.source_id().is_registry()) && !is_patched {
        return Err(ProjectError::RegistrySdk { package: name, advice: begin() });
    }
    // cargo would say no more than that there is no such feature.
    if let Some((feature, instead)) = advice::feature_of_then(package) {
        return Err(ProjectError::FeatureOfThen { package: name, feature, instead });
    }
    Ok(())
}

/// A feature of a dependency (`name/feature`) is the resolver's to know.
fn check_features(package: &Package, features: &[String]) -> Result<(), ProjectError> {
    let known = package.summary().features();
    match features.iter().find(|name| !name.contains('/') && !known.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => Err(ProjectError::NoSuchFeature {
            package: package.name().to_string(),
            name: name.clone(),
            known: known.keys().map(ToString::to_string).collect(),
        }),
    }
}

/// Whether the features that a program requires are chosen, by themselves or by others. Those of a dependency (`name/feature`) are
/// the resolver's to know.
fn check_required(package: &Package, required: Vec<String>, settings: &Settings) -> Result<(), ProjectError> {
    let known = package.summary().features();
    let mut next = settings.features.clone();
    next.extend((!settings.no_default_features).then(|| "default".to_owned()));
    let mut chosen = BTreeSet::new();
    while let Some(name) = next.pop() {
        for value in known.get(name.as_str()).into_iter().flatten() {
            if let FeatureValue::Feature(name) = value {
                next.extend((!chosen.contains(name.as_str())).then(|| name.to_string()));
            }
        }
        chosen.insert(name);
    }
    let missing: Vec<String> = required.into_iter().filter(|name| !name.contains('/') && !chosen.contains(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(ProjectError::RequiredFeatures { package: package.name().to_string(), missing }) }
}

/// Profiles with which cargo builds tests, or what they inherit from.
const TESTS: [&str; 2] = ["test", "bench"];

/// Whether cargo knows it, and builds apps with it.
fn check_profile(workspace: &Workspace<'_>, name: Option<&str>) -> Result<(), ProjectError> {
    let Some(name) = name else { return Ok(()) };
    if TESTS.contains(&name) {
        return Err(ProjectError::TestProfile { name: name.to_owned() });
    }
    match Profiles::new(workspace, name.into()) {
        Ok(_) => Ok(()),
        Err(error) => Err(ProjectError::NoSuchProfile { name: name.to_owned(), why: error.to_string() }),
    }
}

/// A package may be called as one that it depends on.
fn spec(resolve: &Resolve, package: &Package) -> String {
    let is_shared = resolve.iter().filter(|id| id.name() == package.name()).count() > 1;
    if is_shared { format!("{}@{}", package.name(), package.version()) } else { package.name().to_string() }
}

/// The SDK that the lockfile names.
fn check_resolved(resolve: &Resolve, package: &Package) -> Result<PackageId, ProjectError> {
    let name = package.name().to_string();
    let sdk = resolve.deps(package.package_id()).find(|(id, dependencies)| {
        id.name() == SDK && dependencies.iter().any(|dependency| dependency.kind() == DepKind::Normal)
    });
    match sdk.map(|(id, _)| id) {
        None => Err(ProjectError::NoSdk { package: name, advice: advice::begin(package, package.root()) }),
        Some(id) if id.source_id().is_registry() => {
            Err(ProjectError::RegistrySdk { package: name, advice: advice::begin(package, package.root()) })
        }
        Some(id) => Ok(id),
    }
}

/// Folders of the packages that are taken by path; those of unused patches too, because cargo reads them all the same.
fn path_packages(resolve: &Resolve) -> BTreeSet<PathBuf> {
    let patches = resolve.unused_patches().iter().copied();
    let replaced = resolve.replacements().values().copied();
    resolve.iter().chain(patches).chain(replaced).filter_map(|id| id.source_id().local_path()).collect()
}

fn path_dependencies(
    workspace: &Workspace<'_>,
    packages: &PackageSet<'_>,
    resolve: &Resolve,
) -> Result<Vec<PathDependency>, ProjectError> {
    let members: BTreeSet<PackageId> = workspace.members().map(Package::package_id).collect();
    let foreign = resolve.iter().filter(|id| id.source_id().local_path().is_some() && !members.contains(id));
    let dependency = |id| {
        let package: &Package = cargo(packages.get_one(id))?;
        let root = package.root().to_owned();
        let path = |target: &Target| target.src_path().path().map(cargo_path);
        let is_built = |target: &&Target| target.is_lib() || target.is_bin() || target.is_custom_build();
        let built: Vec<PathBuf> = package.targets().iter().filter(is_built).filter_map(path).collect();
        // Modules of a file beside the manifest may be in any folder, and so may what a build script reads.
        let is_odd = |file: &PathBuf| file.parent() == Some(&root) || !file.starts_with(root.join("src"));
        let reads_anything = package.has_custom_build() || built.iter().any(is_odd);
        let needed = package.targets().iter().filter_map(path).filter(|_| names_targets(&root)).collect();
        Ok(PathDependency { needed, reads_anything, exclude: package.manifest().exclude().to_vec(), root })
    };
    foreign.map(dependency).collect()
}

/// Whether a manifest names tests, benches or examples: cargo may then ask for their files.
fn names_targets(root: &Path) -> bool {
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let document: DocumentMut = text.parse().unwrap_or_default();
    ["test", "bench", "example"].iter().any(|kind| document.contains_key(kind))
}

/// Sources of targets whose `path` leads out of all that is sent, with their modules.
fn outer_sources(
    workspace: &Path,
    folders: &BTreeSet<PathBuf>,
    packages: &PackageSet<'_>,
    resolve: &Resolve,
) -> Result<BTreeSet<PathBuf>, ProjectError> {
    let mut sources = BTreeSet::new();
    for id in resolve.iter().filter(|id| id.source_id().local_path().is_some()) {
        let package = cargo(packages.get_one(id))?;
        let roots = package.targets().iter().filter_map(|target| target.src_path().path()).map(cargo_path);
        for root in roots.filter(|root| !root.starts_with(workspace) && !folders.iter().any(|folder| root.starts_with(folder))) {
            sources.extend(detect::sources(&root));
        }
    }
    Ok(sources)
}

/// Configuration of cargo and rustup that holds in the package's folder: up to the workspace's root, or the repository's.
fn surroundings(context: &GlobalContext, package: &Path, workspace: &Path) -> Result<Vec<PathBuf>, ProjectError> {
    const NAMES: [&str; 4] = [".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"];
    let top = Repo::around(package).ok().flatten().and_then(|repo| repo.root());
    let top = top.filter(|top| workspace.starts_with(top)).unwrap_or_else(|| workspace.to_owned());
    let home = context.home().as_path_unlocked();
    let mut found = Vec::new();
    // A package may lie outside its workspace's folder; then only its own folder counts.
    let folders = package.ancestors().enumerate().take_while(|(depth, folder)| *depth == 0 || folder.starts_with(&top));
    for (_, folder) in folders {
        let files = NAMES.iter().map(|name| folder.join(name));
        // The user's own configuration is no part of a project, even where the home folder is a repository.
        found.extend(files.filter(|file| file.is_file() && !file.starts_with(home)));
    }
    Ok(found)
}

/// Root manifests outside of what is sent already that a package inherits from.
fn foreign_roots(
    context: &GlobalContext,
    folders: &BTreeSet<PathBuf>,
    files: &BTreeSet<PathBuf>,
) -> Result<BTreeSet<PathBuf>, ProjectError> {
    let mut roots = BTreeSet::new();
    for manifest in folders.iter().map(|folder| folder.join("Cargo.toml")).filter(|manifest| manifest.is_file()) {
        let read = |why: String| ProjectError::Read { path: manifest.clone(), why };
        let text = fs::read_to_string(&manifest).map_err(|error| ProjectError::read(&manifest, &error))?;
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| read(error.to_string()))?;
        if inherits(document.as_table())
            && let Some(root) = cargo(find_workspace_root(&manifest, context))?
            && !files.contains(&root)
        {
            roots.insert(root);
        }
    }
    Ok(roots)
}

/// Whether anything in a manifest says `workspace = true`.
fn inherits(table: &Table) -> bool {
    table.iter().any(|(key, item)| match item {
        Item::Value(value) => inherits_value(key, value),
        Item::Table(table) => inherits(table),
        Item::ArrayOfTables(tables) => tables.iter().any(inherits),
        Item::None => false,
    })
}

fn inherits_value(key: &str, value: &Value) -> bool {
    match value {
        Value::Boolean(flag) => key == "workspace" && *flag.value(),
        Value::InlineTable(table) => table.iter().any(|(key, value)| inherits_value(key, value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inheritance_is_seen_in_each_form() {
        for (text, expected) in [
            ("[package]\nversion.workspace = true", true),
            ("[dependencies]\na = { workspace = true, features = [] }", true),
            ("[dependencies.a]\nworkspace = true", true),
            ("[target.'cfg(unix)'.dependencies]\na.workspace = true", true),
            ("[lints]\nworkspace = true", true),
            ("[package]\nworkspace = \"..\"\n[dependencies]\nworkspace = \"1\"", false),
        ] {
            let document: DocumentMut = text.parse().unwrap();
            assert_eq!(inherits(document.as_table()), expected, "{text}");
        }
    }
}
