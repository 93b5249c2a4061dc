//! What git knows of a folder: which files are tracked, and which differ from the last commit. Never writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Repository, Status, StatusOptions};

use super::ProjectError;

/// Most commits that are looked at for the first one: a longer history costs more time than it is worth, and has a remote.
const MAX_COMMITS: usize = 2000;
/// Mode of an entry of the index that is another repository's commit.
const GITLINK: u32 = 0o160_000;

/// What differs from the last commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) kind: ChangeKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChangeKind {
    /// A file is changed, new or gone.
    File,
    /// A submodule stands at another commit than the last commit names.
    Submodule,
}

pub(crate) struct Repo {
    repository: Repository,
    /// The folder as asked for, and what it really is: git knows only real paths.
    folder: PathBuf,
    real: PathBuf,
    workdir: PathBuf,
}

impl Repo {
    /// The repository around a folder, if there is one.
    pub(crate) fn around(folder: &Path) -> Result<Option<Self>, ProjectError> {
        let failed = |why: String| ProjectError::Git { folder: folder.to_owned(), why };
        let real = fs::canonicalize(folder).map_err(|error| failed(error.to_string()))?;
        let repository = match Repository::discover(&real) {
            Ok(repository) => repository,
            Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(error) => return Err(failed(error.message().to_owned())),
        };
        let Some(workdir) = repository.workdir() else { return Ok(None) };
        let workdir = fs::canonicalize(workdir).map_err(|error| failed(error.to_string()))?;
        // A folder that the repository ignores is not part of it: a build folder, or a home folder under git.
        let below = real.strip_prefix(&workdir).unwrap_or(&real);
        if real != workdir && repository.is_path_ignored(below).unwrap_or(false) {
            return Ok(None);
        }
        Ok(Some(Self { repository, folder: folder.to_owned(), real, workdir }))
    }

    /// The folder where the repository begins, as far as it is above the folder asked for.
    pub(crate) fn root(&self) -> Option<PathBuf> {
        let below = self.real.strip_prefix(&self.workdir).ok()?;
        self.folder.ancestors().nth(below.components().count()).map(Path::to_owned)
    }

    /// The commit that is checked out, in hexadecimal; none before the first one.
    pub(crate) fn commit(&self) -> Option<String> {
        Some(self.repository.head().ok()?.peel_to_commit().ok()?.id().to_string())
    }

    /// Tracked files in the folder. git sends them even where an ignore rule matches.
    pub(crate) fn tracked(&self) -> Result<Vec<PathBuf>, ProjectError> {
        let index = self.repository.index().map_err(|error| self.failed(&error))?;
        Ok(index.iter().filter_map(|entry| self.path(std::str::from_utf8(&entry.path).ok()?)).collect())
    }

    /// What in the folder is changed, new or gone since the last commit, in its submodules as well.
    pub(crate) fn uncommitted(&self) -> Result<Vec<Change>, ProjectError> {
        let mut options = StatusOptions::new();
        // libgit2 tells of a submodule only that something about it is different.
        options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true);
        if let Some(below) = self.real.strip_prefix(&self.workdir).ok().filter(|below| !below.as_os_str().is_empty()) {
            options.pathspec(below).disable_pathspec_match(true);
        }
        let statuses = self.repository.statuses(Some(&mut options)).map_err(|error| self.failed(&error))?;
        let dirty = statuses.iter().filter(|entry| !matches!(entry.status(), Status::CURRENT | Status::IGNORED));
        let files = dirty.filter_map(|entry| self.path(entry.path()?));
        let mut changes: Vec<_> = files.map(|path| Change { path, kind: ChangeKind::File }).collect();
        self.submodules(&mut changes)?;
        Ok(changes)
    }

    /// Commits of other repositories that the index names. One that is not checked out is no change, as for git itself.
    fn submodules(&self, changes: &mut Vec<Change>) -> Result<(), ProjectError> {
        let index = self.repository.index().map_err(|error| self.failed(&error))?;
        let committed = self.repository.head().ok().and_then(|head| head.peel_to_tree().ok());
        for entry in index.iter().filter(|entry| entry.mode == GITLINK) {
            let Ok(name) = std::str::from_utf8(&entry.path) else { continue };
            let Some(path) = self.path(name) else { continue };
            let Ok(repository) = Repository::open(&path) else { continue };
            let recorded = committed.as_ref().and_then(|tree| tree.get_path(Path::new(name)).ok()).map(|entry| entry.id());
            let here = repository.head().ok().and_then(|head| head.peel_to_commit().ok()).map(|commit| commit.id());
            if here != recorded || here != Some(entry.id) {
                changes.push(Change { path: path.clone(), kind: ChangeKind::Submodule });
            }
            if let Some(inner) = Self::around(&path)? {
                changes.extend(inner.uncommitted()?);
            }
        }
        Ok(())
    }

    /// The folder asked for, as it is called from the repository's root; empty for the root.
    pub(crate) fn folder_in_it(&self) -> String {
        self.real.strip_prefix(&self.workdir).map(|below| below.display().to_string()).unwrap_or_default()
    }

    /// The addresses of its remotes.
    pub(crate) fn remotes(&self) -> Vec<String> {
        let Ok(names) = self.repository.remotes() else { return Vec::new() };
        let remotes = names.iter().flatten().filter_map(|name| self.repository.find_remote(name).ok());
        remotes.filter_map(|remote| remote.url().map(str::to_owned)).collect()
    }

    /// The commit that the history begins with, where all of it is here.
    pub(crate) fn first_commit(&self) -> Option<String> {
        if self.repository.is_shallow() {
            return None;
        }
        let mut walk = self.repository.revwalk().ok()?;
        walk.simplify_first_parent().ok()?;
        walk.push_head().ok()?;
        let mut last = None;
        for (count, commit) in walk.enumerate() {
            if count == MAX_COMMITS {
                return None;
            }
            last = Some(commit.ok()?);
        }
        last.map(|commit| commit.to_string())
    }

    /// A path of git's as one in the folder asked for.
    fn path(&self, git: &str) -> Option<PathBuf> {
        let path = self.workdir.join(git);
        path.strip_prefix(&self.real).ok().map(|below| self.folder.join(below))
    }

    fn failed(&self, error: &git2::Error) -> ProjectError {
        ProjectError::Git { folder: self.workdir.clone(), why: error.message().to_owned() }
    }
}
