//! What has to change in a manifest so that it is true in the archive: absolute paths become relative ones, and of a
//! foreign workspace's root only `[workspace]` stays. Comments and order are kept.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, TableLike, TomlError, Value};

use super::paths::relative;
use crate::project::cargo_path;

/// Keys of a registry's table that are nobody else's to know.
const SECRETS: [&str; 3] = ["token", "secret-key", "secret-key-subject"];
const DEPENDENCIES: [&str; 5] =
    ["dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies"];

/// Absolute paths within `top`, in a manifest whose paths begin at `folder`, made relative. `None`
/// where nothing has to change.
pub(super) fn relocated(text: &str, folder: &Path, top: &Path) -> Result<Option<String>, TomlError> {
    // Parsing and printing again costs more than looking first.
    if !text.contains("path") && !text.contains("workspace") {
        return Ok(None);
    }
    let mut document: DocumentMut = text.parse()?;
    let mut edit = Edit { folder, top, changed: false };
    edit.manifest(document.as_table_mut());
    Ok(edit.changed.then(|| document.to_string()))
}

/// As [`relocated`] for a configuration of cargo's, and without the secrets that it may hold.
pub(super) fn configuration(text: &str, folder: &Path, top: &Path) -> Result<Option<String>, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let mut edit = Edit { folder, top, changed: false };
    edit.manifest(document.as_table_mut());
    edit.secrets(document.as_table_mut());
    Ok(edit.changed.then(|| document.to_string()))
}

/// The root manifest of a workspace without its package, dependencies, profiles and patches, of which cargo uses none for
/// a member that only inherits; a package without its sources would not even load.
pub(super) fn only_workspace(text: &str, folder: &Path, top: &Path) -> Result<String, TomlError> {
    let mut document: DocumentMut = text.parse()?;
    document.as_table_mut().retain(|key, _| matches!(key, "workspace" | "cargo-features"));
    let mut edit = Edit { folder, top, changed: false };
    edit.manifest(document.as_table_mut());
    Ok(document.to_string())
}

struct Edit<'a> {
    folder: &'a Path,
    top: &'a Path,
    changed: bool,
}

impl Edit<'_> {
    fn manifest(&mut self, manifest: &mut Table) {
        self.dependency_tables(manifest);
        if let Some(targets) = table(manifest.get_mut("target")) {
            for (_, target) in targets.iter_mut() {
                if let Some(target) = target.as_table_like_mut() {
                    self.dependency_tables(target);
                }
            }
        }
        if let Some(sources) = table(manifest.get_mut("patch")) {
            sources.iter_mut().for_each(|(_, source)| self.dependencies(source));
        }
        if let Some(replacements) = manifest.get_mut("replace") {
            self.dependencies(replacements);
        }
        if let Some(workspace) = table(manifest.get_mut("workspace")) {
            self.dependency_tables(workspace);
        }
        if let Some(package) = table(manifest.get_mut("package"))
            && let Some(root) = package.get_mut("workspace")
        {
            self.path(root.as_value_mut());
        }
    }

    fn secrets(&mut self, configuration: &mut Table) {
        if let Some(registry) = table(configuration.get_mut("registry")) {
            self.registry(registry);
        }
        if let Some(registries) = table(configuration.get_mut("registries")) {
            registries.iter_mut().filter_map(|(_, registry)| registry.as_table_like_mut()).for_each(|table| self.registry(table));
        }
    }

    fn registry(&mut self, registry: &mut dyn TableLike) {
        for secret in SECRETS {
            self.changed |= registry.remove(secret).is_some();
        }
    }

    fn dependency_tables(&mut self, parent: &mut dyn TableLike) {
        for name in DEPENDENCIES {
            if let Some(dependencies) = parent.get_mut(name) {
                self.dependencies(dependencies);
            }
        }
    }

    fn dependencies(&mut self, dependencies: &mut Item) {
        let Some(dependencies) = dependencies.as_table_like_mut() else { return };
        for (_, dependency) in dependencies.iter_mut() {
            if let Some(dependency) = dependency.as_table_like_mut() {
                self.path(dependency.get_mut("path").and_then(Item::as_value_mut));
            }
        }
    }

    fn path(&mut self, value: Option<&mut Value>) {
        let Some(value) = value else { return };
        let Some(path) = value.as_str().map(Path::new).filter(|path| path.is_absolute()) else { return };
        let path = cargo_path(path);
        if !path.starts_with(self.top) {
            return;
        }
        // Both ends are UTF-8: one stood in TOML, the other is a part of it and of the archive's names.
        let Some(new) = relative(self.folder, &path).to_str().map(Value::from) else { return };
        let decor = value.decor().clone();
        *value = new;
        *value.decor_mut() = decor;
        self.changed = true;
    }
}

fn table(item: Option<&mut Item>) -> Option<&mut dyn TableLike> {
    item.and_then(Item::as_table_like_mut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(text: &str) -> Option<String> {
        relocated(text, Path::new("/top/app"), Path::new("/top")).unwrap()
    }

    #[test]
    fn absolute_paths_become_relative_wherever_cargo_reads_them() {
        for (before, after) in [
            ("[dependencies]\na = { path = \"/top/a\" } # ours", "[dependencies]\na = { path = \"../a\" } # ours"),
            ("[dependencies.a]\npath = '/top/./x/../a'", "[dependencies.a]\npath = \"../a\""),
            ("[dev-dependencies]\na.path = \"/top/app/a\"", "[dev-dependencies]\na.path = \"a\""),
            ("[build-dependencies]\na.path = \"/top\"", "[build-dependencies]\na.path = \"..\""),
            ("[target.'cfg(unix)'.dependencies]\na.path = \"/top/a\"", "[target.'cfg(unix)'.dependencies]\na.path = \"../a\""),
            ("[patch.crates-io]\na = { path = \"/top/a\" }", "[patch.crates-io]\na = { path = \"../a\" }"),
            ("[replace]\n\"a:1.0.0\" = { path = \"/top/a\" }", "[replace]\n\"a:1.0.0\" = { path = \"../a\" }"),
            ("[workspace.dependencies]\na = { path = \"/top/a\" }", "[workspace.dependencies]\na = { path = \"../a\" }"),
            ("[package]\nworkspace = \"/top\"", "[package]\nworkspace = \"..\""),
        ] {
            assert_eq!(changed(before).unwrap().trim(), after);
        }
    }

    #[test]
    fn other_paths_stay() {
        for text in [
            "[dependencies]\na = { path = \"../a\" }",
            "[dependencies]\na = { path = \"/elsewhere/a\" }",
            "[lib]\npath = \"/top/app/src/odd.rs\"",
            "[package]\nname = \"x\"",
        ] {
            assert_eq!(changed(text), None, "{text}");
        }
    }

    #[test]
    fn a_configuration_loses_its_secrets() {
        for (before, after) in [
            ("[registry]\ntoken = \"s3cret\"\ndefault = \"ours\"", "[registry]\ndefault = \"ours\""),
            ("[registries.ours]\nindex = \"u\"\ntoken = \"s3cret\"", "[registries.ours]\nindex = \"u\""),
            ("[registries]\nours = { index = \"u\", token = \"s3cret\" }", "[registries]\nours = { index = \"u\"}"),
            ("registry.secret-key = \"s3cret\"\nnet.retry = 1", "net.retry = 1"),
            (
                "[registries.a]\nsecret-key = \"s3cret\"\nsecret-key-subject = \"s3cret\"\nindex = \"u\"",
                "[registries.a]\nindex = \"u\"",
            ),
        ] {
            let text = configuration(before, Path::new("/top"), Path::new("/top")).unwrap().unwrap();
            assert_eq!(text.trim().replace(" }", "}"), after);
        }
        assert_eq!(configuration("[env]\ntoken = \"1\"", Path::new("/top"), Path::new("/top")).unwrap(), None);
    }

    #[test]
    fn a_foreign_root_keeps_what_members_inherit() {
        let text = "[package]\nname = \"root\"\n\n[workspace]\nmembers = [\"a\"]\n\n[workspace.package]\nversion = \"1.0.0\"\n\n\
                    [dependencies]\nserde = \"1\"\n\n[profile.release]\nlto = true\n";
        let text = only_workspace(text, Path::new("/top"), Path::new("/top")).unwrap();
        assert!(text.contains("version = \"1.0.0\"") && text.contains("members"));
        assert!(!text.contains("serde") && !text.contains("[package]") && !text.contains("profile"));
    }
}
