//! What git knows of a folder: which files are tracked, and which differ from the last commit. Never writes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use git2::{Repository, Status, StatusOptions};

use super::ProjectError;

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

    /// Files in the folder that are changed, new or gone since the last commit.
    pub(crate) fn uncommitted(&self) -> Result<Vec<PathBuf>, ProjectError> {
        let mut options = StatusOptions::new();
        options.include_untracked(true).recurse_untracked_dirs(true).exclude_submodules(true);
        if let Some(below) = self.real.strip_prefix(&self.workdir).ok().filter(|below| !below.as_os_str().is_empty()) {
            options.pathspec(below).disable_pathspec_match(true);
        }
        let statuses = self.repository.statuses(Some(&mut options)).map_err(|error| self.failed(&error))?;
        let dirty = statuses.iter().filter(|entry| !matches!(entry.status(), Status::CURRENT | Status::IGNORED));
        Ok(dirty.filter_map(|entry| self.path(entry.path()?)).collect())
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
