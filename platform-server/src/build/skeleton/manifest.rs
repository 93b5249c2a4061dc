//! The manifests of a skeleton. They are generated from what the platform understands of an app's manifests: which packages
//! there are, which packages they depend on, and how those are compiled. What is not in one of the lists here is left out.

use std::path::{Component, Path, PathBuf};

use toml::{Table, Value};

use super::{APP, EMPTY_LIBRARY, EMPTY_PROGRAM, VERSION};

/// Of `[package]`, as it stands. All may be inherited from the workspace.
const PACKAGE: [&str; 4] = ["name", "version", "edition", "rust-version"];
/// Of `[workspace.package]`: what packages may inherit.
const INHERITED: [&str; 16] = [
    "authors",
    "categories",
    "description",
    "documentation",
    "edition",
    "exclude",
    "homepage",
    "include",
    "keywords",
    "license",
    "license-file",
    "publish",
    "readme",
    "repository",
    "rust-version",
    "version",
];
/// Of a dependency, besides its path.
const DEPENDENCY: [&str; 13] = [
    "version",
    "git",
    "branch",
    "tag",
    "rev",
    "registry",
    "registry-index",
    "package",
    "optional",
    "default-features",
    "default_features",
    "features",
    "workspace",
];
/// Of a manifest, besides its dependencies: what is looked at here and in the skeleton.
const READ: [&str; 8] = ["package", "workspace", "lib", "target", "features", "profile", "patch", "replace"];
const DEPENDENCIES: [&str; 5] =
    ["dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies"];
/// Of a profile, besides the profiles in it.
const PROFILE: [&str; 12] = [
    "codegen-units",
    "debug",
    "debug-assertions",
    "incremental",
    "inherits",
    "lto",
    "opt-level",
    "overflow-checks",
    "panic",
    "rpath",
    "split-debuginfo",
    "strip",
];

/// What the manifests of one skeleton have in common.
pub(super) struct Manifests<'a> {
    /// Where builds see the tree.
    pub(super) seen_at: &'a Path,
    /// The folder of the app's package.
    pub(super) app: &'a Path,
    /// Whether what is built of the app is a program.
    pub(super) program: bool,
    /// The folder of the app's workspace, and the one that it has in the skeleton.
    pub(super) moved: Option<(&'a Path, &'a Path)>,
    /// Folders of packages.
    pub(super) packages: &'a [PathBuf],
}

impl Manifests<'_> {
    /// The manifest for the one in `folder`, whose package, if it is one, has a build script or not. `None`: it has a form
    /// that the platform does not understand.
    pub(super) fn generate(&self, folder: &Path, manifest: &Table, build_script: bool) -> Option<String> {
        let mut made = Table::new();
        if let Some(package) = manifest.get("package") {
            self.package(folder, package.as_table()?, manifest, build_script, &mut made)?;
        }
        self.dependency_tables(folder, manifest, &mut made)?;
        let mut targets = Table::new();
        for (target, tables) in tables(manifest.get("target"))? {
            let mut one = Table::new();
            self.dependency_tables(folder, tables, &mut one)?;
            targets.insert(target.clone(), one.into());
        }
        put(&mut made, "target", targets);
        let mut features = Table::new();
        for (feature, enables) in table(manifest.get("features"))?.into_iter().flatten() {
            features.insert(feature.clone(), strings(enables)?);
        }
        put(&mut made, "features", features);
        self.root(folder, manifest, &mut made)?;
        Some(made.to_string())
    }

    /// What counts in a workspace's root alone.
    fn root(&self, folder: &Path, manifest: &Table, made: &mut Table) -> Option<()> {
        if let Some(workspace) = table(manifest.get("workspace"))? {
            made.insert("workspace".into(), self.workspace(folder, workspace)?.into());
        } else if self.moved.is_some_and(|(from, _)| from == folder) {
            made.insert("workspace".into(), self.workspace_of_one(folder).into());
        }
        let mut profiles = Table::new();
        for (name, one) in tables(manifest.get("profile"))? {
            profiles.insert(name.clone(), profile(one, true)?.into());
        }
        put(made, "profile", profiles);
        let mut patches = Table::new();
        for (source, one) in tables(manifest.get("patch"))? {
            patches.insert(source.clone(), self.dependencies(folder, one)?.into());
        }
        put(made, "patch", patches);
        if let Some(replaced) = table(manifest.get("replace"))? {
            put(made, "replace", self.dependencies(folder, replaced)?);
        }
        Some(())
    }

    fn package(&self, folder: &Path, package: &Table, manifest: &Table, build_script: bool, made: &mut Table) -> Option<()> {
        let is_app = folder == self.app;
        let mut kept = pick(package, &PACKAGE)?;
        kept.extend(pick(package, &["resolver"])?);
        if is_app {
            kept.insert("name".into(), APP.into());
            kept.insert("version".into(), VERSION.into());
        }
        if let Some(root) = package.get("workspace") {
            kept.insert("workspace".into(), self.path(folder, root.as_str()?)?.into());
        }
        for found in ["autobins", "autobenches", "autoexamples", "autotests"] {
            kept.insert(found.into(), false.into());
        }
        let empty = |file: &str| Value::from(self.seen_at.join(file).display().to_string());
        // What build scripts depend on is compiled for those that there are.
        kept.insert("build".into(), if build_script { empty(EMPTY_PROGRAM) } else { false.into() });
        made.insert("package".into(), kept.into());
        if is_app && self.program {
            let program = Table::from_iter([("name".to_owned(), APP.into()), ("path".to_owned(), empty(EMPTY_PROGRAM))]);
            made.insert("bin".into(), Value::Array(vec![program.into()]));
            return Some(());
        }
        let mut library = Table::from_iter([("path".to_owned(), empty(EMPTY_LIBRARY))]);
        // What a macro depends on is compiled as for the machine that compiles.
        let is_macro = |key| manifest.get("lib").and_then(|lib| lib.get(key)).and_then(Value::as_bool) == Some(true);
        if !is_app && (is_macro("proc-macro") || is_macro("proc_macro")) {
            library.insert("proc-macro".into(), true.into());
        }
        made.insert("lib".into(), library.into());
        Some(())
    }

    fn workspace(&self, folder: &Path, workspace: &Table) -> Option<Table> {
        let mut made = pick(workspace, &["resolver"])?;
        for key in ["members", "exclude"] {
            if let Some(paths) = workspace.get(key) {
                made.insert(key.into(), strings(paths)?);
            }
        }
        if let Some(dependencies) = table(workspace.get("dependencies"))? {
            put(&mut made, "dependencies", self.dependencies(folder, dependencies)?);
        }
        if let Some(package) = table(workspace.get("package"))? {
            put(&mut made, "package", pick(package, &INHERITED)?);
        }
        if let Some(lints) = workspace.get("lints") {
            // Libraries that are in the skeleton as they are inherit them.
            made.insert("lints".into(), lints.clone());
        }
        Some(made)
    }

    /// For a package without a workspace, which may get one above it by being moved: without members, like itself.
    fn workspace_of_one(&self, folder: &Path) -> Table {
        let inner = self.packages.iter().filter_map(|package| package.strip_prefix(folder).ok());
        let inner =
            inner.filter_map(|inner| inner.components().next()).map(|first| first.as_os_str().to_string_lossy().into_owned());
        let inner: std::collections::BTreeSet<String> = inner.collect();
        Table::from_iter([("exclude".to_owned(), Value::from(inner.into_iter().collect::<Vec<_>>()))])
    }

    fn dependency_tables(&self, folder: &Path, from: &Table, made: &mut Table) -> Option<()> {
        for section in DEPENDENCIES {
            if let Some(dependencies) = table(from.get(section))? {
                put(made, section, self.dependencies(folder, dependencies)?);
            }
        }
        Some(())
    }

    fn dependencies(&self, folder: &Path, dependencies: &Table) -> Option<Table> {
        let one = |(name, dependency): (&String, &Value)| Some((name.clone(), self.dependency(folder, dependency)?));
        dependencies.iter().map(one).collect()
    }

    fn dependency(&self, folder: &Path, dependency: &Value) -> Option<Value> {
        let dependency = match dependency {
            Value::String(version) => return Some(version.as_str().into()),
            other => other.as_table()?,
        };
        let mut kept = pick(dependency, &DEPENDENCY)?;
        if let Some(path) = dependency.get("path") {
            let path = path.as_str()?;
            kept.insert("path".into(), self.path(folder, path)?.into());
            if inside(folder, path)? == self.app {
                kept.insert("package".into(), APP.into());
                kept.remove("version");
            }
        }
        Some(kept.into())
    }

    /// A path in the manifest of a folder, as a build sees what it is in the skeleton. `None`: it leads out of the tree.
    fn path(&self, folder: &Path, path: &str) -> Option<String> {
        Some(self.seen_at.join(self.placed(&inside(folder, path)?)).display().to_string())
    }

    /// Where a folder of the tree is in the skeleton.
    pub(super) fn placed(&self, folder: &Path) -> PathBuf {
        let moved = self.moved.and_then(|(from, to)| Some(to.join(folder.strip_prefix(from).ok()?)));
        // Without a slash at its end, where nothing was to be added.
        moved.map_or_else(|| folder.to_path_buf(), |moved| moved.components().collect())
    }
}

/// What is looked at of a manifest. All of a project's are kept at the same time, so the rest is not.
pub(super) fn read(mut manifest: Table) -> Table {
    manifest.retain(|key, _| READ.contains(&key) || DEPENDENCIES.contains(&key));
    for section in ["package", "workspace"] {
        if let Some(section) = manifest.get_mut(section).and_then(Value::as_table_mut) {
            section.remove("metadata");
        }
    }
    manifest
}

/// Whether the paths that a workspace's root names stay below it.
pub(super) fn stays_inside(manifest: &Table) -> bool {
    let workspace = manifest.get("workspace");
    let paths = ["members", "exclude"].into_iter().filter_map(|key| workspace?.get(key)?.as_array()).flatten();
    paths
        .filter_map(Value::as_str)
        .all(|path| Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)))
}

/// The folder that a path in the manifest of a folder means. `None`: it leads out of the tree.
fn inside(folder: &Path, path: &str) -> Option<PathBuf> {
    let mut inside = folder.to_path_buf();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => inside.push(part),
            Component::ParentDir if inside.pop() => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(inside)
}

/// A profile. Only at the outside there are profiles in it.
fn profile(from: &Table, outside: bool) -> Option<Table> {
    let mut made = pick(from, &PROFILE)?;
    if outside {
        if let Some(build) = table(from.get("build-override"))? {
            put(&mut made, "build-override", profile(build, false)?);
        }
        let mut packages = Table::new();
        for (package, one) in tables(from.get("package"))? {
            packages.insert(package.clone(), profile(one, false)?.into());
        }
        put(&mut made, "package", packages);
    }
    Some(made)
}

/// The values of these keys; `None` where one is more than a value, a list of strings, or `{ workspace = true }`.
fn pick(from: &Table, keys: &[&str]) -> Option<Table> {
    let mut picked = Table::new();
    for (key, value) in keys.iter().filter_map(|key| Some((*key, from.get(*key)?))) {
        let value = match value {
            Value::Array(_) => strings(value)?,
            Value::Table(inherited) => {
                let whole = inherited.len() == 1 && inherited.get("workspace").and_then(Value::as_bool) == Some(true);
                whole.then(|| value.clone())?
            }
            Value::Datetime(_) => return None,
            Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => value.clone(),
        };
        picked.insert(key.to_owned(), value);
    }
    Some(picked)
}

fn strings(value: &Value) -> Option<Value> {
    value.as_array()?.iter().all(Value::is_str).then(|| value.clone())
}

/// `Some(None)`: there is none.
fn table(value: Option<&Value>) -> Option<Option<&Table>> {
    value.map_or(Some(None), |value| value.as_table().map(Some))
}

/// The tables in a table; `None`: something else is in it.
fn tables(value: Option<&Value>) -> Option<Vec<(&String, &Table)>> {
    table(value)?.into_iter().flatten().map(|(name, value)| Some((name, value.as_table()?))).collect()
}

fn put(into: &mut Table, key: &str, table: Table) {
    if !table.is_empty() {
        into.insert(key.to_owned(), table.into());
    }
}
