//! Where things are: the repository, the target folder, temporary folders that other users may enter.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    cmd,
    error::{At, Error, Result},
    ui,
};

/// The repository, as cargo sees it.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
    /// `cargo metadata --no-deps`.
    pub(crate) metadata: Value,
}

impl Repo {
    /// Asks cargo. The lockfile is not touched: `--no-deps` resolves nothing.
    pub(crate) fn find() -> Result<Self> {
        // Set by `cargo run`; the other one serves a binary that is started by hand.
        let own = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let manifest = own.join("../Cargo.toml");
        let manifest = manifest.canonicalize().at(&manifest)?;
        let json =
            cmd::output(cmd::cargo().args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(&manifest))?;
        let metadata: Value =
            serde_json::from_str(&json).map_err(|error| Error::new(format!("`cargo metadata` printed no JSON: {error}")))?;
        let folder = |key: &str| {
            metadata[key].as_str().map(PathBuf::from).ok_or_else(|| Error::new(format!("`cargo metadata` tells no {key}")))
        };
        Ok(Self { root: folder("workspace_root")?, target: folder("target_directory")?, metadata })
    }

    /// Cargo, in the repository's root.
    pub(crate) fn cargo(&self) -> std::process::Command {
        let mut command = cmd::cargo();
        command.current_dir(&self.root);
        command
    }

    /// Where cargo puts the binaries.
    pub(crate) fn bins(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }

    /// The examples' manifests: each is a workspace of its own, and so no part of `--workspace` or `--all`.
    pub(crate) fn examples(&self) -> Result<Vec<PathBuf>> {
        let folder = self.root.join("examples");
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&folder).at(&folder)? {
            manifests.push(entry.at(&folder)?.path().join("Cargo.toml"));
        }
        manifests.retain(|manifest| manifest.is_file());
        manifests.sort();
        Ok(manifests)
    }

    /// One build of every binary; they find each other by being neighbours.
    pub(crate) fn build_bins(&self, release: bool) -> Result<PathBuf> {
        let mut command = self.cargo();
        command.args(["build", "--workspace", "--bins", "--locked"]);
        if release {
            command.arg("--release");
        }
        cmd::run(&mut command)?;
        Ok(self.bins(release))
    }
}

/// Whether every folder on the way to `path`, and `path` itself, may be entered by any user.
pub(crate) fn open_to_all(path: &Path) -> bool {
    path.ancestors().all(|folder| folder.metadata().is_ok_and(|data| data.permissions().mode() & 0o001 != 0))
}

/// A folder that is removed at the end. As root, builds, apps and databases run under other users, who must be able to
/// pass through it: so it is never below the repository, which may be a clone in root's home.
#[derive(Debug)]
pub(crate) struct Temp {
    pub(crate) path: PathBuf,
}

impl Temp {
    pub(crate) fn new(name: &str) -> Result<Self> {
        // /var/tmp first: builds are large, and /tmp is often memory.
        let places = [PathBuf::from("/var/tmp"), env::temp_dir(), PathBuf::from("/tmp")];
        let mut last = None;
        for place in places.iter().filter(|place| open_to_all(place)) {
            let nonce = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
            let path = place.join(format!("shuttle-{name}-{}-{nonce:08x}", std::process::id()));
            // `create` fails where something is already there, so nobody can have laid out a link for us.
            match fs::DirBuilder::new().mode(0o755).create(&path) {
                Ok(()) => {
                    // The umask may have taken the others' bits away.
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).at(&path)?;
                    return Ok(Self { path });
                }
                Err(error) => last = Some((path, error)),
            }
        }
        let (path, error) = last.unwrap_or_else(|| (env::temp_dir(), io::ErrorKind::PermissionDenied.into()));
        Err(Error::new(format!("cannot make a temporary folder {}: {error}", path.display()))
            .hint("set TMPDIR to a folder that every user may enter"))
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        // Processes that are just ending may still write: once more, then leave it and say so.
        for attempt in 0..5 {
            match fs::remove_dir_all(&self.path) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return,
                Err(error) if attempt == 4 => ui::note(format_args!("{} is left behind: {error}", self.path.display())),
                Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_is_open_to_all_and_goes_away() {
        let temp = Temp::new("xtask-test").unwrap();
        let path = temp.path.clone();
        assert!(open_to_all(&path));
        let closed = path.join("closed");
        fs::DirBuilder::new().mode(0o700).create(&closed).unwrap();
        assert!(!open_to_all(&closed));
        drop(temp);
        assert!(!path.exists());
    }
}
