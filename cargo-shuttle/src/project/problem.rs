//! Why a project cannot be deployed, and what to do. All of it is found before the upload.

use std::{
    io,
    path::{Path, PathBuf},
};

use platform_wire::{InvalidName, ProjectName};

use super::{SDK, SETTINGS_FILE, advice::moved::Moved, detect::Place};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProjectError {
    /// What cargo says of a manifest, a lockfile or the resolution.
    #[error("{0}")]
    Cargo(String),
    /// In no folder from here up.
    #[error("{0}")]
    NoManifest(String),
    #[error("there is no package `{name}` in this workspace")]
    NoSuchPackage { name: String, members: Vec<String> },
    #[error("this is a workspace, and none of its packages has a function under #[shuttle_service::main]")]
    NoAnnotatedMember { members: Vec<String>, advice: Option<(String, String)> },
    #[error("this is a workspace with several packages that can be deployed: {}", names(.0))]
    SeveralAnnotatedMembers(Vec<String>),
    #[error("`{package}` does not depend on {SDK}")]
    NoSdk { package: String, advice: String },
    #[error("`{package}` takes {SDK} from a registry, where that name belongs to a product that has ended")]
    RegistrySdk { package: String, advice: String },
    #[error("`{package}` is written for Shuttle's own platform, which has ended; what to do instead of its crates:\n{}", instead(.sisters))]
    Sisters { package: String, sisters: Vec<Moved>, advice: String },
    #[error("`{package}` chooses the feature `{feature}` of {SDK}, which it does not have")]
    FeatureOfThen { package: String, feature: &'static str, instead: &'static str },
    #[error("`{package}` has no function under #[shuttle_service::main]")]
    NoFunction { package: String, advice: String },
    #[error("`{package}` has more than one function under #[shuttle_service::main]:\n{}", listed(.places))]
    TwoFunctions { package: String, places: Vec<Place> },
    #[error("`{package}` has no feature `{name}`, which [build] features in {SETTINGS_FILE} chooses")]
    NoSuchFeature { package: String, name: String, known: Vec<String> },
    #[error("the program of `{package}` requires {}, which [build] features in {SETTINGS_FILE} does not choose", features(.missing))]
    RequiredFeatures { package: String, missing: Vec<String> },
    #[error("[build] profile in {SETTINGS_FILE} chooses `{name}`, but {why}")]
    NoSuchProfile { name: String, why: String },
    #[error("[build] profile in {SETTINGS_FILE} chooses `{name}`, which is for tests")]
    TestProfile { name: String },
    #[error("the packages {} and {} would both be deployed as project `{name}`", packages[0], packages[1])]
    SameName { name: ProjectName, packages: [String; 2] },
    #[error("{}: `name` stands for one project, and the workspace has several packages that can be deployed: {}", file.display(), names(.packages))]
    NameOfSeveral { file: PathBuf, packages: Vec<String> },
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("{} of the files to deploy {} not committed to git:\n{}", .files.len(), if .files.len() == 1 { "is" } else { "are" }, some(.files))]
    Dirty { files: Vec<String> },
    #[error("cannot look at the git repository {}: {why}", folder.display())]
    Git { folder: PathBuf, why: String },
    #[error("{}: {why}", path.display())]
    Read { path: PathBuf, why: String },
    #[error("this account may not read {}", .0.display())]
    Unreadable(PathBuf),
}

impl ProjectError {
    pub(crate) fn read(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Unreadable(path.to_owned()),
            _ => Self::Read { path: path.to_owned(), why: error.to_string() },
        }
    }

    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Cargo(_) | Self::Read { .. } => return None,
            Self::Unreadable(path) => unreadable_hint(path),
            Self::NoSuchProfile { name, .. } if name == "debug" => "cargo calls that one `dev`".to_owned(),
            Self::TestProfile { .. } => "choose `release`, or a profile of your own that inherits from it".to_owned(),
            Self::NoManifest(_) => "go to the folder of your package, or name its Cargo.toml with --manifest-path".to_owned(),
            Self::NoSuchPackage { name, members } => match cargo::util::closest(name, members.iter(), |member| member.as_str()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("its packages are: {}", names(members)),
            },
            Self::NoAnnotatedMember { members, advice } => match advice {
                Some((package, advice)) => {
                    let packages =
                        if members.len() > 1 { format!(" (its packages are {})", names(members)) } else { String::new() };
                    format!("annotate a function of `{package}`{packages}\n{advice}")
                }
                None => "add a package to it".to_owned(),
            },
            Self::SeveralAnnotatedMembers(members) => {
                let first = members.first().map_or("PACKAGE", String::as_str);
                format!(
                    "choose one: `cargo shuttle deploy -p {first}`; or deploy all of them: `cargo shuttle deploy --workspace`"
                )
            }
            Self::NoSdk { advice, .. }
            | Self::RegistrySdk { advice, .. }
            | Self::Sisters { advice, .. }
            | Self::NoFunction { advice, .. } => advice.clone(),
            Self::FeatureOfThen { instead, .. } => (*instead).to_owned(),
            Self::NameOfSeveral { .. } => {
                format!(
                    "give each package a {SETTINGS_FILE} with a `name` of its own; without one, a project is called as its package"
                )
            }
            Self::TwoFunctions { .. } => "keep one of them; a second service is a package of its own".to_owned(),
            Self::Name(error) => {
                let name = error.suggestion.as_deref().unwrap_or("my-app");
                format!("set another name: `cargo shuttle deploy --name {name}`")
            }
            Self::NoSuchFeature { name, known, .. } => match cargo::util::closest(name, known.iter(), |known| known.as_str()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None if known.is_empty() => "declare it in its Cargo.toml, under [features]".to_owned(),
                None => format!("its features are: {}", names(known)),
            },
            Self::RequiredFeatures { missing, .. } => {
                format!("add to {SETTINGS_FILE}:\n    [build]\n    features = {missing:?}")
            }
            Self::NoSuchProfile { name, .. } => {
                format!("define it in the workspace's Cargo.toml:\n    [profile.{name}]\n    inherits = \"release\"")
            }
            Self::SameName { packages, .. } => {
                format!("give one of them another name: `cargo shuttle deploy -p {} --name NAME`", packages[1])
            }
            Self::Dirty { .. } => "commit them, or deploy them as they are with --allow-dirty".to_owned(),
            Self::Git { .. } => "with --allow-dirty git is not asked what is committed".to_owned(),
        })
    }
}

/// What to do about a file or folder that this account may not read.
pub(crate) fn unreadable_hint(path: &Path) -> String {
    format!(
        "make it readable (`chmod -R u+rX {0}`, or `chown` it where it is another account's), or leave it out by a line in .gitignore",
        path.display()
    )
}

/// Each with what to do instead.
fn instead(sisters: &[Moved]) -> String {
    sisters.iter().map(|(name, instead)| format!("  {name}: {instead}")).collect::<Vec<_>>().join("\n")
}

fn features(missing: &[String]) -> String {
    let all: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    format!("the {} {}", if all.len() == 1 { "feature" } else { "features" }, names(&all))
}

/// So many names that one can read them.
fn names(all: &[String]) -> String {
    const SHOWN: usize = 20;
    match all.split_at_checked(SHOWN) {
        Some((shown, more)) if !more.is_empty() => format!("{} and {} more", shown.join(", "), more.len()),
        _ => all.join(", "),
    }
}

fn listed(places: &[Place]) -> String {
    places.iter().map(|place| format!("  {place}")).collect::<Vec<_>>().join("\n")
}

/// A few of many.
fn some(files: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut lines: Vec<_> = files.iter().take(SHOWN).map(|file| format!("  {file}")).collect();
    if files.len() > SHOWN {
        lines.push(format!("  and {} more", files.len() - SHOWN));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_packages_a_few_are_named() {
        let members = |count: usize| (0..count).map(|number| format!("p{number}")).collect();
        let error = ProjectError::SeveralAnnotatedMembers(members(20)).to_string();
        assert!(error.ends_with("p18, p19"), "{error}");
        let error = ProjectError::SeveralAnnotatedMembers(members(300)).to_string();
        assert!(error.ends_with("p18, p19 and 280 more"), "{error}");
    }
}
