//! Rules for packages: who may depend on whom, and what every manifest inherits.

use std::{fs, path::Path};

use serde_json::Value as Json;
use toml::{Table, Value};

use super::Complaint;
use crate::{
    error::{At, Error, Result},
    repo::Repo,
};

/// What a package may depend on.
struct Rule {
    package: &'static str,
    /// Packages of this workspace.
    ours: &'static [&'static str],
    /// The only packages of others, where that is limited.
    only: Option<&'static [&'static str]>,
    /// Packages of others that it must not have.
    never: &'static [&'static str],
}

/// Dependencies point one way. A new package has no rule, and so does not pass until someone has thought of one.
const RULES: &[Rule] = &[
    // Both sides of the ABI compile it, one of them into every user's app.
    Rule { package: "shuttle-abi", ours: &[], only: Some(&["serde", "serde_json"]), never: &[] },
    Rule { package: "shuttle-codegen", ours: &[], only: Some(&["proc-macro2", "quote", "syn"]), never: &[] },
    Rule { package: "shuttle-service", ours: &["shuttle-abi", "shuttle-codegen"], only: None, never: &["cargo", "libloading"] },
    Rule { package: "platform-wire", ours: &[], only: Some(&["serde", "serde_json", "thiserror"]), never: &[] },
    Rule { package: "platform-runner", ours: &["shuttle-abi"], only: None, never: &["cargo", "tokio"] },
    // Only the runner opens an artifact.
    Rule { package: "platform-server", ours: &["platform-wire", "shuttle-abi"], only: None, never: &["libloading", "cargo"] },
    Rule { package: "cargo-shuttle", ours: &["platform-wire"], only: None, never: &["libloading"] },
    // It installs what the others need in order to compile.
    Rule { package: "xtask", ours: &[], only: None, never: &["cargo", "openssl", "git2", "reqwest"] },
];

/// The SDK's version ranges and features are a part of its interface, and go into users' dependency graphs.
const OWN_VERSIONS: &[&str] = &["shuttle-service"];

/// Checks every member of the workspace.
pub(super) fn check(repo: &Repo) -> Result<Vec<Complaint>> {
    let packages = repo.metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut complaints = Vec::new();
    for package in packages {
        let (Some(name), Some(manifest)) = (package["name"].as_str(), package["manifest_path"].as_str()) else { continue };
        let file = Path::new(manifest);
        let path = file.strip_prefix(&repo.root).unwrap_or(file).to_string_lossy().into_owned();
        complaints.extend(direction(&path, name, &dependencies(package), &names));
        complaints.extend(inheritance(&path, name, &read(file)?));
    }
    Ok(complaints)
}

fn read(file: &Path) -> Result<Table> {
    let text = fs::read_to_string(file).at(file)?;
    text.parse().map_err(|error| Error::new(format!("{}: {error}", file.display())))
}

/// Names of what the package depends on, its tests' needs left out.
fn dependencies(package: &Json) -> Vec<&str> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|dependency| dependency["kind"] != "dev").filter_map(|dependency| dependency["name"].as_str()).collect()
}

fn direction(path: &str, package: &str, dependencies: &[&str], workspace: &[&str]) -> Vec<Complaint> {
    let Some(rule) = RULES.iter().find(|rule| rule.package == package) else {
        return vec![Complaint::new(
            path,
            0,
            format!("`{package}` has no rule in xtask/src/tidy/manifests.rs: what may it depend on?"),
        )];
    };
    let allowed = |name: &&str| {
        if workspace.contains(name) {
            rule.ours.contains(name)
        } else {
            rule.only.is_none_or(|only| only.contains(name)) && !rule.never.contains(name)
        }
    };
    let wrong = dependencies.iter().filter(|name| !allowed(name));
    wrong.map(|name| Complaint::new(path, 0, format!("`{package}` must not depend on `{name}`"))).collect()
}

fn inheritance(path: &str, package: &str, manifest: &Table) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    if !inherits(manifest.get("lints")) {
        complaints.push(Complaint::new(path, 0, "has no `[lints] workspace = true`"));
    }
    if OWN_VERSIONS.contains(&package) {
        return complaints;
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, value) in manifest.get(section).and_then(Value::as_table).into_iter().flatten() {
            if !inherits(Some(value)) {
                complaints.push(Complaint::new(
                    path,
                    0,
                    format!("declares `{name}` by itself: versions stand in [workspace.dependencies]"),
                ));
            }
        }
    }
    complaints
}

fn inherits(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

/// An example is what a user writes: a workspace of its own, under the name that its address will have.
pub(super) fn check_examples(root: &Path) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    let folder = root.join("examples");
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(complaints) };
    for entry in entries {
        let entry = entry.at(&folder)?;
        let manifest = entry.path().join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        complaints.extend(example(&name, &read(&manifest)?, entry.path().join("README.md").is_file()));
    }
    Ok(complaints)
}

fn example(folder: &str, manifest: &Table, has_readme: bool) -> Vec<Complaint> {
    let path = format!("examples/{folder}");
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
    [
        (name == Some(folder), "the package's name is not the folder's"),
        (manifest.contains_key("workspace"), "has no `[workspace]` table, so cargo takes it for a member of the root's"),
        (has_readme, "has no README.md"),
    ]
    .into_iter()
    .filter(|(fine, _)| !fine)
    .map(|(_, message)| Complaint::new(&path, 0, message))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 3] = ["platform-wire", "shuttle-abi", "shuttle-service"];

    #[test]
    fn dependencies_point_one_way() {
        let wrong = |package: &str, dependency: &str| direction("Cargo.toml", package, &[dependency], &OURS).len();
        for (package, dependency) in [
            ("shuttle-abi", "tokio"),
            ("shuttle-abi", "platform-wire"),
            ("platform-wire", "axum"),
            ("platform-server", "libloading"),
            ("platform-server", "shuttle-service"),
            ("xtask", "cargo"),
            ("brand-new", "serde"),
        ] {
            assert_eq!(wrong(package, dependency), 1, "{package} on {dependency}");
        }
        for (package, dependency) in [("shuttle-abi", "serde"), ("platform-server", "platform-wire"), ("platform-server", "axum")]
        {
            assert_eq!(wrong(package, dependency), 0, "{package} on {dependency}");
        }
    }

    #[test]
    fn what_tests_need_is_free() {
        let package = serde_json::json!({"dependencies": [{"name": "a", "kind": null}, {"name": "b", "kind": "dev"}]});
        assert_eq!(dependencies(&package), ["a"]);
    }

    #[test]
    fn manifests_inherit_lints_and_versions() {
        let check = |text: &str| inheritance("Cargo.toml", "a", &text.parse().unwrap()).len();
        assert_eq!(
            check("[lints]\nworkspace = true\n[dependencies]\na.workspace = true\nb = { workspace = true, features = [] }\n"),
            0
        );
        assert_eq!(check("[lints]\nworkspace = true\n[dependencies]\na = \"1\"\n"), 1);
        assert_eq!(check("[dependencies]\n"), 1);
    }

    #[test]
    fn examples_stand_on_their_own() {
        let check = |text: &str, readme| example("a", &text.parse().unwrap(), readme).len();
        assert_eq!(check("[package]\nname = \"a\"\n[workspace]\n", true), 0);
        assert_eq!(check("[package]\nname = \"b\"\n", false), 3);
    }
}
