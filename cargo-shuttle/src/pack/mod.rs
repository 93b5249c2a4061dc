//! The archive of a deployment: which files, under which names, and their bytes. The same files give the same bytes.
//! Decides nothing about the project: what has to be sent comes as a [`Plan`].

mod archive;
mod assets;
mod layout;
mod list;
mod manifest;
mod paths;
mod rules;
mod spare;
mod wanted;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use platform_wire::{ARCHIVE_FORMAT, ArchiveIndex};

pub(crate) use archive::Packed;
pub(crate) use list::Listed;

use crate::project::{Plan, ProjectError, Repo, SETTINGS_FILE, unreadable_hint};

/// The variable in which builds find the commit.
const GIT_COMMIT: &str = "SHUTTLE_GIT_COMMIT";

#[derive(Debug, thiserror::Error)]
pub(crate) enum PackError {
    #[error("cannot read {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot write the archive in {}: {source}", folder.display())]
    Temp { folder: PathBuf, source: io::Error },
    #[error("the symbolic link {} points at nothing", .0.display())]
    DanglingLink(PathBuf),
    #[error("the symbolic link {} leads back to itself, or into a folder that holds it", .0.display())]
    LinkLoop(PathBuf),
    #[error("the name of {} is not UTF-8", .0.display())]
    NotUtf8(PathBuf),
    #[error("{0:?} has a backslash or a control character in its name, which no archive may have")]
    OddName(PathBuf),
    #[error("{} changed while it was packed", .0.display())]
    Changed(PathBuf),
    #[error("{}: {why}", path.display())]
    Manifest { path: PathBuf, why: String },
    #[error("`{pattern}` in [build] assets of {SETTINGS_FILE}: {why}")]
    BadAssets { pattern: String, why: String },
    #[error("`{pattern}` in [build] assets of {SETTINGS_FILE} matches no file in {}", folder.display())]
    NoAssets { pattern: String, folder: PathBuf },
    #[error("{0}")]
    List(String),
    #[error(transparent)]
    Git(#[from] ProjectError),
}

impl PackError {
    pub(crate) fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::DanglingLink(_) | Self::LinkLoop(_) => {
                    "links are sent as what they point at; remove it, or add it to .gitignore"
                }
                Self::NotUtf8(_) | Self::OddName(_) => "rename it, or add it to .gitignore",
                Self::Changed(_) => "try again when nothing writes to it, or add it to .gitignore",
                Self::Temp { folder, .. } => {
                    return Some(format!("free space in {}, or set TMPDIR to another folder", folder.display()));
                }
                Self::NoAssets { .. } => "make these files first, or take the pattern out",
                Self::BadAssets { .. } => "write it like `static/generated/**`, relative to the package's folder",
                Self::Git(error) => return error.hint(),
                Self::Io { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                    return Some(unreadable_hint(path));
                }
                Self::Io { .. } | Self::Manifest { .. } | Self::List(_) => return None,
            }
            .to_owned(),
        )
    }

    /// What a walk stumbled over; it names the path in one of the layers of its error.
    fn walking(error: ignore::Error, start: &Path) -> Self {
        let mut path = start.to_owned();
        let mut inner = &error;
        loop {
            inner = match inner {
                ignore::Error::WithPath { path: at, err } => {
                    path.clone_from(at);
                    err
                }
                ignore::Error::WithDepth { err, .. } | ignore::Error::WithLineNumber { err, .. } => err,
                _ => break,
            };
        }
        let text = error.to_string();
        match error.into_io_error() {
            Some(source) => Self::Io { path, source },
            None => Self::List(text),
        }
    }

    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// The files of a plan, and what is left out of them.
pub(crate) fn list(plan: &Plan) -> Result<Listed, PackError> {
    list::files(plan)
}

/// Packs these files into a temporary file.
pub(crate) fn pack(plan: &Plan, files: &BTreeSet<PathBuf>) -> Result<Packed, PackError> {
    let layout = layout::Layout::new(plan, files)?;
    archive::write(&index(plan, files, &layout)?, &layout.entries(plan, files)?)
}

/// What these files are called in the archive, and how many bytes each has there.
pub(crate) fn sizes(plan: &Plan, files: &BTreeSet<PathBuf>) -> Result<BTreeMap<String, u64>, PackError> {
    let entries = layout::Layout::new(plan, files)?.entries(plan, files)?;
    entries.into_iter().map(|(name, content)| Ok((name, content.size()?))).collect()
}

fn index(plan: &Plan, files: &BTreeSet<PathBuf>, layout: &layout::Layout) -> Result<ArchiveIndex, PackError> {
    Ok(ArchiveIndex {
        format: ARCHIVE_FORMAT,
        package: plan.package_spec.clone(),
        crate_name: plan.crate_name.clone(),
        workspace_root: layout.name(&plan.workspace_root)?,
        package_root: layout.name(&plan.package_root)?,
        sdk_version: plan.sdk_version.clone(),
        cli_version: env!("CARGO_PKG_VERSION").to_owned(),
        binary: plan.binary.clone(),
        features: plan.features.clone(),
        no_default_features: plan.no_default_features,
        profile: plan.profile.clone(),
        env: plan.env.clone(),
        git_commit: git_commit(plan, files)?,
    })
}

/// The commit, where a source asks for it. Else the same files would be another archive after each commit, and be deployed again.
fn git_commit(plan: &Plan, files: &BTreeSet<PathBuf>) -> Result<Option<String>, PackError> {
    let asks = |file: &PathBuf| {
        let is_source = file.extension().is_some_and(|extension| extension == "rs");
        is_source && fs::read(file).is_ok_and(|text| text.windows(GIT_COMMIT.len()).any(|part| part == GIT_COMMIT.as_bytes()))
    };
    if !files.iter().any(asks) {
        return Ok(None);
    }
    Ok(Repo::around(&plan.package_root)?.and_then(|repo| repo.commit()))
}
