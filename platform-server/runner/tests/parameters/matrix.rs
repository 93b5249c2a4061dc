//! The table in `docs/RESOURCES.md`: written from the cases, from what the manifests of their artifacts say, from the options
//! that the apps use, from the dependencies that they name, and from the versions that they were built with.

use std::{fs, path::Path};

use shuttle_abi::ResourceManifest;

use crate::{
    cases::{CASES, Case},
    source,
    support::{build::artifact, docs},
};

#[test]
fn the_table_in_the_docs_is_right() {
    docs::check("RESOURCES.md", "resources", &table());
}

fn table() -> String {
    let mut table = String::from(
        "\n| Parameter | From | Tested with | Feature of shuttle-service | In the app's `[dependencies]`, at least | Its own options | What the platform provides |\n|---|---|---|---|---|---|---|\n",
    );
    for case in CASES {
        table.push_str(&row(case, &artifact(case.package).manifest.resources));
    }
    table.push('\n');
    table
}

fn row(case: &Case, resources: &[ResourceManifest]) -> String {
    let (library, version) = docs::library(case.library);
    let ty = if case.ty.contains('`') { case.ty.to_owned() } else { format!("`{}`", case.ty) };
    let library = if ty.starts_with('`') { library } else { String::new() };
    let feature = case.feature.map(|name| format!("`{name}`")).unwrap_or_default();
    let options = options(case).iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let given: Vec<_> = resources.iter().filter(|resource| belongs(resource, case.parameter)).map(|r| given(&r.kind)).collect();
    let dependencies = dependencies(case).join("<br>");
    format!("| {ty} | {library} | {version} | {feature} | {dependencies} | {options} | {} |\n", given.join(", "))
}

/// What the app itself depends on for it: without one of these features it would not compile, or not connect.
fn dependencies(case: &Case) -> Vec<String> {
    if case.library.is_none() {
        return Vec::new();
    }
    let manifest = fs::read_to_string(Path::new(&source(case.package)).join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    let others = dependencies
        .lines()
        .filter(|line| !line.is_empty() && !["axum", "shuttle-service", "tokio."].iter().any(|name| line.starts_with(name)));
    others.map(|line| format!("`{line}`")).collect()
}

/// Whether it is for this parameter: itself, or a part of it. Secrets that its options refer to are not.
fn belongs(resource: &ResourceManifest, parameter: &str) -> bool {
    resource.name.strip_prefix(parameter).is_some_and(|rest| rest.is_empty() || rest.starts_with('.') && rest != ".secrets")
}

fn given(kind: &str) -> &'static str {
    match kind {
        "postgres" => "a Postgres database",
        "redis" => "a Redis server",
        "secrets" => "the project's secrets",
        "persist" => "a folder that stays",
        "metadata" => "what it knows of the app",
        other => panic!("{other} has no description"),
    }
}

/// The options on the parameter in the app's source: one that the type did not know would not compile.
fn options(case: &Case) -> Vec<String> {
    let source = fs::read_to_string(Path::new(&source(case.package)).join("src/lib.rs")).unwrap();
    let (before, _) = source.split_once(&format!("{}: ", case.parameter)).expect("the parameter is in the source");
    let Some(attribute) = before.trim_end().strip_suffix(")]") else { return Vec::new() };
    let (_, options) = attribute.rsplit_once("#[").and_then(|(_, attribute)| attribute.split_once('(')).unwrap();
    let names = options.split(" = ").filter_map(|part| part.rsplit([' ', ',']).next());
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    names.pop();
    names
}
