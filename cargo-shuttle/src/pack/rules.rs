//! What is never sent, whatever git says: `.env` files, `Secrets*.toml`, cargo's credentials, build folders, `.git`; nor
//! through a link with another name. Keeps a list of what it left out, and why.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

use crate::project::Plan;

const REPOSITORIES: [&str; 4] = [".git", ".hg", ".jj", ".svn"];
/// What each file named `CACHEDIR.TAG` begins with.
const CACHE_SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
/// Endings of `.env` files that are made for others to see.
const SHOWN_ENV: [&str; 4] = ["example", "sample", "template", "dist"];

/// Why something is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    Secret,
    Built,
    Repository,
    OtherWorkspace,
    /// Tests and the like of a path dependency.
    Unread,
}

impl Reason {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Secret => "holds secrets",
            Self::Built => "is built, not written",
            Self::Repository => "is the repository's own",
            Self::OtherWorkspace => "is a workspace of its own",
            Self::Unread => "no build of that dependency reads",
        }
    }
}

/// Rules for real paths.
#[derive(Debug)]
pub(super) struct Rules {
    build_folders: Vec<PathBuf>,
    /// The folders that are sent.
    roots: Vec<PathBuf>,
    left_out: Mutex<BTreeMap<PathBuf, Reason>>,
}

impl Rules {
    pub(super) fn new(plan: &Plan) -> Self {
        let real = |path: &PathBuf| fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        Self {
            build_folders: plan.build_folders.iter().flat_map(|folder| [folder.clone(), real(folder)]).collect(),
            roots: plan.folders.iter().chain([&plan.workspace_root]).map(real).collect(),
            left_out: Mutex::default(),
        }
    }

    pub(super) fn leave_out(&self, path: &Path, reason: Reason) {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), reason);
    }

    pub(super) fn left_out(&self) -> BTreeMap<PathBuf, Reason> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether what a link leads to is excluded, or lies in a folder that is. Outside of what is sent only folders of
    /// repositories count: a link there is meant.
    pub(super) fn hides(&self, real: &Path, is_folder: bool) -> Option<Reason> {
        self.excludes(real, is_folder).or_else(|| {
            real.ancestors().skip(1).find_map(|folder| {
                let is_inside = self.roots.iter().any(|root| folder.starts_with(root));
                let is_around = self.roots.iter().any(|root| root.starts_with(folder));
                if is_around {
                    None
                } else if is_repository(folder) {
                    Some(Reason::Repository)
                } else {
                    is_inside.then(|| self.excludes(folder, true)).flatten()
                }
            })
        })
    }

    pub(super) fn excludes(&self, path: &Path, is_folder: bool) -> Option<Reason> {
        let name = name(path);
        if is_repository(path) {
            return Some(Reason::Repository);
        }
        if is_folder {
            let parent = path.parent().unwrap_or(path);
            let is_built = self.build_folders.iter().any(|folder| folder == path)
                || (name == "target" && parent.join("Cargo.toml").is_file())
                || is_cache(path);
            return is_built.then_some(Reason::Built);
        }
        let is_secret = is_secret(&name)
            || (name.starts_with("credentials") && path.parent().and_then(Path::file_name) == Some(OsStr::new(".cargo")));
        is_secret.then_some(Reason::Secret)
    }
}

fn is_repository(folder: &Path) -> bool {
    REPOSITORIES.contains(&name(folder).as_ref())
}

fn is_secret(name: &str) -> bool {
    if name.starts_with("Secrets") && name.ends_with(".toml") {
        return true;
    }
    match name.strip_prefix(".env") {
        Some("") => true,
        Some(rest) => rest.strip_prefix('.').is_some_and(|ending| !SHOWN_ENV.contains(&ending)),
        None => false,
    }
}

fn is_cache(folder: &Path) -> bool {
    let mut start = [0; CACHE_SIGNATURE.len()];
    let read = File::open(folder.join("CACHEDIR.TAG")).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == CACHE_SIGNATURE
}

pub(super) fn name(path: &Path) -> std::borrow::Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}
