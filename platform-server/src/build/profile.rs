//! The profile that cargo is told to build with: the project's own, or that one made fast.

use std::path::Path;

use platform_wire::{ArchiveIndex, BuildKind};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::sources;

/// The profile of a project that chooses none.
const DEFAULT: &str = "release";
/// Profiles that inherit from each other are followed so far.
const DEPTH: usize = 16;
/// What cargo takes for an incremental build of which the profile says nothing.
const INCREMENTAL_UNITS: u32 = 256;

/// What the project says of its profile, as far as a fast build has to change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chosen {
    /// Something of link-time optimisation.
    links: bool,
    /// A number of codegen units.
    units: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    /// As `cargo --profile` takes it.
    pub(super) name: String,
    /// The folder in the target folder that cargo puts it into.
    pub(super) folder: String,
    pub(super) kind: BuildKind,
    /// Variables that change it.
    pub(super) variables: Vec<(String, String)>,
    /// Settings that change it, as `cargo --config` takes them.
    pub(super) settings: Vec<String>,
    /// Whether dependencies are compiled in the same way for a fast build and an optimised one.
    pub(super) same_dependencies: bool,
    chosen: Chosen,
}

fn name(index: &ArchiveIndex) -> &str {
    index.profile.as_deref().unwrap_or(DEFAULT)
}

/// Reads what the files in `tree` say of the profile.
pub(super) fn chosen(tree: &Path, index: &ArchiveIndex) -> Chosen {
    let (known, name) = (tables(tree, index), name(index));
    Chosen { links: has(&known, name, "lto"), units: has(&known, name, "codegen-units") }
}

impl Profile {
    /// The profile for a build of this kind.
    pub(super) fn of(index: &ArchiveIndex, chosen: Chosen, kind: BuildKind) -> Self {
        let name = name(index).to_owned();
        let mut profile = Self {
            folder: if name == "dev" { "debug".to_owned() } else { name.clone() },
            kind,
            variables: Vec::new(),
            settings: Vec::new(),
            same_dependencies: !chosen.links,
            name,
            chosen,
        };
        if kind == BuildKind::Fast {
            profile.make_fast(&index.package);
        }
        profile
    }

    /// The same, for a fast build.
    pub(super) fn fast(&self, index: &ArchiveIndex) -> Self {
        Self::of(index, self.chosen, BuildKind::Fast)
    }

    /// Incremental; without link-time optimisation and with many units where the project says otherwise.
    fn make_fast(&mut self, package: &str) {
        let Chosen { links, units } = self.chosen;
        let variable = format!("CARGO_PROFILE_{}", self.name.to_uppercase().replace('-', "_"));
        self.variables.push((format!("{variable}_INCREMENTAL"), "true".to_owned()));
        if links {
            self.variables.push((format!("{variable}_LTO"), "off".to_owned()));
        }
        if units {
            // For the package alone: dependencies stay as they are in the optimised build.
            self.settings.push(format!(
                "profile.{}.package.{}.codegen-units={INCREMENTAL_UNITS}",
                Value::from(self.name.as_str()),
                Value::from(package)
            ));
        }
    }
}

/// Everything that may define profiles: the workspace's manifest, and the configurations around the package.
fn tables(tree: &Path, index: &ArchiveIndex) -> Vec<Table> {
    let package = tree.join(&index.package_root);
    let configurations = package.ancestors().take_while(|folder| folder.starts_with(tree));
    let configurations = configurations.flat_map(|folder| [folder.join(".cargo/config.toml"), folder.join(".cargo/config")]);
    let files = std::iter::once(tree.join(&index.workspace_root).join("Cargo.toml")).chain(configurations);
    // One that is broken is for cargo to speak of.
    files.filter_map(|file| sources::read(&file, "").ok()).collect()
}

/// Whether the profile, or one that it inherits from, says something of this.
fn has(tables: &[Table], profile: &str, key: &str) -> bool {
    let mut name = profile;
    for _ in 0..DEPTH {
        let sections = tables.iter().filter_map(|table| table.get("profile")?.get(name));
        let mut parent = None;
        for section in sections {
            if section.get(key).is_some() {
                return true;
            }
            parent = parent.or_else(|| section.get("inherits")?.as_str());
        }
        match parent {
            Some(parent) => name = parent,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn profile(name: Option<&str>, manifest: &str, config: &str, kind: BuildKind) -> Profile {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir_all(tree.path().join("apps/one/.cargo")).unwrap();
        fs::write(tree.path().join("Cargo.toml"), manifest).unwrap();
        fs::write(tree.path().join("apps/one/.cargo/config.toml"), config).unwrap();
        let index = serde_json::json!({"format": 1, "package": "one", "crate_name": "one", "workspace_root": "",
            "package_root": "apps/one", "sdk_version": "0.1.0", "cli_version": "0.1.0", "profile": name});
        let index: ArchiveIndex = serde_json::from_value(index).unwrap();
        Profile::of(&index, chosen(tree.path(), &index), kind)
    }

    #[test]
    fn a_fast_build_is_incremental_and_changes_no_more_than_it_must() {
        let plain = profile(None, "[profile.release]\nopt-level = 2\n[profile.dev]\nlto = true", "", BuildKind::Fast);
        assert_eq!((plain.name.as_str(), plain.folder.as_str(), plain.same_dependencies), ("release", "release", true));
        assert_eq!(plain.variables, [("CARGO_PROFILE_RELEASE_INCREMENTAL".to_owned(), "true".to_owned())]);
        assert!(plain.settings.is_empty());
        // A default is said as well, and cargo takes it as it is.
        let linked = profile(None, "", "[profile.release]\nlto = \"thin\"\ncodegen-units = 1", BuildKind::Fast);
        assert_eq!(linked.variables[1], ("CARGO_PROFILE_RELEASE_LTO".to_owned(), "off".to_owned()));
        assert_eq!(linked.settings, [r#"profile."release".package."one".codegen-units=256"#]);
        assert!(!linked.same_dependencies);
    }

    #[test]
    fn a_profile_is_followed_to_those_that_it_inherits_from() {
        let manifest =
            "[profile.my-dist]\ninherits = \"base\"\n[profile.base]\ninherits = \"release\"\n[profile.release]\nlto = true";
        let dist = profile(Some("my-dist"), manifest, "", BuildKind::Fast);
        assert_eq!(dist.variables[1], ("CARGO_PROFILE_MY_DIST_LTO".to_owned(), "off".to_owned()));
        assert_eq!((dist.folder.as_str(), dist.same_dependencies), ("my-dist", false));
        assert_eq!(profile(Some("dev"), manifest, "", BuildKind::Fast).folder, "debug");
        let circle = "[profile.a]\ninherits = \"b\"\n[profile.b]\ninherits = \"a\"";
        assert!(profile(Some("a"), circle, "", BuildKind::Fast).same_dependencies);
    }

    #[test]
    fn an_optimised_build_changes_nothing() {
        let optimised = profile(None, "[profile.release]\nlto = true\ncodegen-units = 1", "", BuildKind::Optimised);
        assert!(optimised.variables.is_empty() && optimised.settings.is_empty());
    }
}
