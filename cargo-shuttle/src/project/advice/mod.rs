//! What to write so that a package can be deployed: the lines of its manifest, with features and versions, and the code.
//! Decides by what the package depends on, and by which platform or runtime its `main` is written for.

mod edits;
mod frameworks;
mod manifest;
mod sdk;
mod sources;

use std::path::Path;

use cargo::core::Package;

use self::{
    edits::Edits,
    frameworks::{Chosen, There},
};
use super::{SDK, function};

/// What Shuttle's own crates had: the macro's table, so that both say the same.
#[path = "../../../../shuttle-codegen/src/moved.rs"]
#[allow(dead_code, reason = "attributes are the macro's")]
pub(crate) mod moved;

/// For a package that depends on no shuttle-service, or on the one of a registry. Files are named relative to `base`.
pub(crate) fn begin(package: &Package, base: &Path) -> String {
    let chosen = frameworks::chosen(package);
    let mut parts = vec![manifest::sdk(package, &chosen, base)];
    parts.extend(source(package, &chosen, base));
    parts.join("\n")
}

/// For a package that depends on shuttle-service and has no function.
pub(crate) fn annotate(package: &Package, base: &Path) -> String {
    let chosen = frameworks::chosen(package);
    let mut parts: Vec<_> = source(package, &chosen, base).into_iter().collect();
    if let Some(features) = manifest::features(package, &chosen, base) {
        parts.push(features);
    }
    // Nothing stands before the first one.
    let text = parts.join("\n");
    text.strip_prefix("and ").map_or(text.clone(), str::to_owned)
}

/// The one of several packages that is most likely meant: what is written for another platform, then what has a framework.
pub(crate) fn likely<'a>(packages: impl Iterator<Item = &'a Package>) -> Option<&'a Package> {
    packages.min_by_key(|package| match frameworks::chosen(package).there {
        _ if !sisters(package).is_empty() => 0,
        There::Yes => 1,
        There::Version(_) => 2,
        There::No => 3,
    })
}

/// Crates of Shuttle's own platform that a package takes from a registry, and what to do instead.
pub(crate) fn sisters(package: &Package) -> Vec<moved::Moved> {
    let of_then = |name: &str| moved::CRATES.iter().chain(moved::INNER_CRATES).find(|(of_then, _)| *of_then == name).copied();
    let from_registry = package.dependencies().iter().filter(|dependency| dependency.source_id().is_registry());
    let mut found: Vec<_> = from_registry.filter_map(|dependency| of_then(&dependency.package_name())).collect();
    found.dedup();
    found
}

/// The first feature of shuttle-service that there was once, and what to do instead.
pub(crate) fn feature_of_then(package: &Package) -> Option<moved::Moved> {
    let sdk = package.dependencies().iter().filter(|dependency| dependency.package_name() == SDK);
    let mut features = sdk.flat_map(|dependency| dependency.features());
    features.find_map(|feature| moved::FEATURES.iter().find(|(of_then, _)| *of_then == feature.as_str()).copied())
}

/// What to change in the sources, or to write where nothing there can be changed.
fn source(package: &Package, chosen: &Chosen, base: &Path) -> Option<String> {
    let edits = sources::edits(package, chosen.framework, base);
    if !edits.is_empty() {
        return Some(format!("and change line by line (- goes, + comes){}", shown(&edits)));
    }
    if function::is_annotated(package) {
        return None;
    }
    let file = package.root().join(function::root_file(package));
    let place = match sources::plain_main(&file) {
        Some(line) => format!(", in place of the `fn main` at line {line}"),
        None => String::new(),
    };
    let file = file.strip_prefix(base).unwrap_or(&file).display();
    Some(format!("and write in {file}{place}\n{}", indented(chosen.framework.code)))
}

fn shown(edits: &[Edits]) -> String {
    edits.iter().map(|edits| format!("\nin {edits}")).collect()
}

fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { String::new() } else { format!("    {line}") };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}
