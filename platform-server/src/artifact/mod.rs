//! Compiled artifacts: files named by their digest, and what their manifests say. Nothing here runs or loads one.

pub(crate) mod manifest;

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use shuttle_abi::Manifest;

use crate::{
    build::{blocking, is_disk_full},
    deployment::Digest,
    stored::Stored,
};
use manifest::ReadManifestError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    #[error("what was compiled is larger than the limit of {0} bytes")]
    TooLarge(u64),
    #[error("what was compiled cannot be taken: `{}` {why}", .file.display())]
    NotAFile { file: PathBuf, why: String },
    #[error(transparent)]
    Manifest(#[from] ReadManifestError),
    #[error("the artifact could not be stored: {0}")]
    Io(#[from] io::Error),
}

impl ArtifactError {
    /// Whether the app is at fault, and not the platform.
    pub(crate) fn is_the_apps(&self) -> bool {
        !matches!(self, Self::Io(_))
    }

    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge(_) => {
                Some("raise the server's --max-artifact-bytes, or strip the release profile (strip = true)".into())
            }
            Self::NotAFile { .. } => {
                Some("cargo writes a plain file there: see what else in the build does, a build script for instance".into())
            }
            Self::Manifest(error) => error.hint().map(str::to_owned),
            Self::Io(error) if is_disk_full(error) => {
                Some("the server's disk is full: free some space, then deploy again".into())
            }
            Self::Io(_) => None,
        }
    }
}

/// The folder of all artifacts.
#[derive(Debug, Clone)]
pub(crate) struct ArtifactStore {
    files: Stored,
}

impl ArtifactStore {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { files: Stored::new(folder, "so") }
    }

    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.files.path(digest)
    }

    /// Removes those that are not `kept`, if they were stored before this time.
    pub(crate) fn remove_stale(&self, kept: &HashSet<String>, before: SystemTime) -> io::Result<()> {
        self.files.remove_stale(kept, before)
    }

    /// Whether the artifact is there; with `compare`, also whether it is what was stored. One that cannot be read is not.
    pub(crate) async fn is_whole(&self, digest: &Digest, compare: bool) -> bool {
        let (files, wanted) = (self.files.clone(), digest.clone());
        blocking(move || files.is_whole(&wanted, compare)).await.unwrap_or(false)
    }

    /// Copies `file`, a path below `target`, into the store.
    ///
    /// The target folder belongs to the build, which may have left a link there to something that only the server can
    /// read; so the path is resolved without following any.
    pub(crate) async fn store(&self, target: &Path, file: &Path, max_bytes: u64) -> Result<Digest, ArtifactError> {
        let (files, target, file) = (self.files.clone(), target.to_path_buf(), file.to_path_buf());
        blocking(move || Ok(copy(&files, &target, &file, max_bytes))).await?
    }

    /// Reads the manifest of the crate out of a stored artifact.
    pub(crate) async fn manifest(&self, digest: &Digest, crate_name: &str) -> Result<Manifest, ArtifactError> {
        let (path, crate_name) = (self.path(digest), crate_name.to_owned());
        Ok(blocking(move || Ok(manifest::read_manifest(&path, &crate_name))).await??)
    }
}

fn copy(files: &Stored, target: &Path, file: &Path, max_bytes: u64) -> Result<Digest, ArtifactError> {
    let not_a_file = |why| ArtifactError::NotAFile { file: file.to_path_buf(), why };
    let base = File::open(target)?;
    let opened = openat2(
        &base,
        file,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| {
        not_a_file(match error {
            Errno::LOOP => "is a symbolic link, or is reached through one".to_owned(),
            Errno::XDEV => "is outside the target folder".to_owned(),
            Errno::NOENT => "is not there".to_owned(),
            error => format!("cannot be opened: {}", io::Error::from(error)),
        })
    })?;
    let mut source = File::from(opened);
    let metadata = source.metadata()?;
    if !metadata.is_file() {
        return Err(not_a_file("is no plain file".to_owned()));
    }
    if metadata.len() > max_bytes {
        return Err(ArtifactError::TooLarge(max_bytes));
    }
    let mut temporary = files.temporary()?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 * 1024]);
    // Bounded again: the file may still grow.
    let mut source = (&mut source).take(max_bytes);
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        hash.update(&buffer[..length]);
        temporary.write_all(&buffer[..length])?;
    }
    let digest = Digest::new(&hash.finalize());
    // The loader opens it again, or the kernel executes it, through /proc and as another user; the folder keeps everybody
    // else out.
    fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    files.store(temporary, &digest)?;
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_stored_once_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("target/release")).unwrap();
        fs::write(folder.path().join("target/release/a.so"), "content").unwrap();
        let store = ArtifactStore::new(folder.path().to_path_buf());
        let target = folder.path().join("target");
        let first = store.store(&target, Path::new("release/a.so"), 100).await.unwrap();
        assert_eq!(store.store(&target, Path::new("release/a.so"), 100).await.unwrap(), first);
        assert_eq!(fs::read_to_string(store.path(&first)).unwrap(), "content");
        assert!(matches!(store.store(&target, Path::new("release/a.so"), 3).await, Err(ArtifactError::TooLarge(3))));
    }

    #[tokio::test]
    async fn links_are_not_followed_out_of_the_target_folder() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("target");
        fs::create_dir_all(&target).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret"), target.join("a.so")).unwrap();
        std::os::unix::fs::symlink(folder.path(), target.join("up")).unwrap();
        let store = ArtifactStore::new(folder.path().to_path_buf());
        fs::create_dir(target.join("folder")).unwrap();
        for (file, why) in [
            ("a.so", "`a.so` is a symbolic link"),
            ("up/secret", "`up/secret` is a symbolic link, or is reached through one"),
            ("../secret", "`../secret` is outside the target folder"),
            ("none.so", "`none.so` is not there"),
            ("folder", "`folder` is no plain file"),
        ] {
            let error = store.store(&target, Path::new(file), 100).await.unwrap_err();
            assert!(matches!(error, ArtifactError::NotAFile { .. }) && error.is_the_apps(), "{file}");
            assert!(error.to_string().contains(why) && !error.to_string().contains("os error"), "{error}");
        }
    }
}
