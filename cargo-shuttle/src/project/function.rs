//! Which target of a package holds the function under `#[shuttle_service::main]`: the library, or else a binary.

use std::path::{Path, PathBuf};

use cargo::core::{Package, Target};

use super::{
    ProjectError, SDK, advice,
    detect::{self, Found},
};

/// The target that is built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) crate_name: String,
    /// Its name if it is a binary.
    pub(super) binary: Option<String>,
    /// The features without which cargo does not build it.
    pub(super) required: Vec<String>,
}

pub(super) fn is_annotated(package: &Package) -> bool {
    targets(package).any(|target| found(package, target).is_annotated())
}

/// The target with exactly one annotated function. A library goes before binaries, which may be there for other things.
pub(super) fn built(package: &Package) -> Result<Built, ProjectError> {
    let name = package.name().to_string();
    let found = targets(package).map(|target| (target, found(package, target)));
    let mut annotated: Vec<_> = found.filter(|(_, found)| found.is_annotated()).collect();
    if annotated.first().is_some_and(|(target, _)| target.is_lib()) {
        annotated.truncate(1);
    }
    let Some((target, first)) = annotated.first() else {
        return Err(ProjectError::NoFunction { package: name, advice: advice::annotate(package, package.root()) });
    };
    if let Some(places) = first.too_many() {
        return Err(ProjectError::TwoFunctions { package: name, places: places.to_owned() });
    }
    if annotated.len() > 1 {
        let places = annotated.iter().filter_map(|(_, found)| found.first()).cloned().collect();
        return Err(ProjectError::TwoFunctions { package: name, places });
    }
    Ok(Built {
        crate_name: target.crate_name(),
        binary: target.is_bin().then(|| target.name().to_owned()),
        required: if target.is_bin() { target.required_features().cloned().unwrap_or_default() } else { Vec::new() },
    })
}

/// Those that can be a service, the library first.
pub(super) fn targets(package: &Package) -> impl Iterator<Item = &Target> {
    let is_library = |target: &&Target| target.is_lib() && !target.proc_macro();
    let libraries = package.targets().iter().filter(is_library);
    libraries.chain(package.targets().iter().filter(|target| target.is_bin()))
}

fn found(package: &Package, target: &Target) -> Found {
    let root = target.src_path().path();
    root.map(|root| detect::annotated(root, &sdk_name(package), package.root())).unwrap_or_default()
}

/// Where a function could be written.
pub(super) fn root_file(package: &Package) -> PathBuf {
    let root = targets(package).find_map(|target| target.src_path().path()).unwrap_or(Path::new("src/lib.rs"));
    root.strip_prefix(package.root()).unwrap_or(root).to_owned()
}

/// The name under which a package knows the SDK.
fn sdk_name(package: &Package) -> String {
    let dependency = package.dependencies().iter().find(|dependency| dependency.package_name() == SDK);
    let name = dependency.and_then(|dependency| dependency.explicit_name_in_toml());
    name.map_or(SDK, |name| name.as_str()).replace('-', "_")
}
