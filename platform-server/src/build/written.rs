//! What a build writes into the project's own folder, as build scripts that generate sources do.
//!
//! It goes into a layer over the tree: no other project and no later build sees it, and the tree stays the deployment's files.
//! So a script that has written something has to run again in the next build, and is made to.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::SystemTime,
};

use toml::Value;

use super::{embedded, sources};
use crate::{remove::Trash, sandbox::Layers};

/// The folders of the layer.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    upper: PathBuf,
    work: PathBuf,
    trash: Trash,
}

impl Written {
    /// Beside a build tree.
    pub(super) fn at(base: &Path, trash: &Trash) -> Self {
        let folder = base.join("written");
        Self { upper: folder.join("files"), work: folder.join("work"), trash: trash.clone() }
    }

    /// The folder for it, and that it lies upon the tree.
    pub(super) fn over(&self, tree: &Path) -> (PathBuf, Layers) {
        (self.upper.clone(), Layers { lower: vec![tree.to_path_buf()], work: self.work.clone() })
    }

    /// Makes it empty, for a build by this uid of the files in `tree`.
    pub(super) fn clear(&self, tree: &Path, uid: Option<u32>) -> io::Result<()> {
        if fs::read_dir(&self.upper).is_ok_and(|mut entries| entries.next().is_some()) {
            run_again(tree, &self.upper)?;
        }
        // The kernel leaves a folder in it that nobody may look into; root may all the same.
        let _ = fs::set_permissions(self.work.join("work"), fs::Permissions::from_mode(0o700));
        for folder in [&self.upper, &self.work] {
            // A build may have left any number of files; nobody waits until they are removed.
            self.trash.discard(folder)?;
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
            chown(folder, uid, uid)?;
        }
        Ok(())
    }

    /// Lets it be removed like any other folder.
    pub(super) fn close(&self) {
        let _ = fs::set_permissions(self.work.join("work"), fs::Permissions::from_mode(0o700));
    }
}

/// Has cargo run the build scripts of those packages again in whose folders something was written.
fn run_again(tree: &Path, upper: &Path) -> io::Result<()> {
    for package in embedded::packages(tree)? {
        if fs::symlink_metadata(upper.join(&package)).is_err() {
            continue;
        }
        let manifest = sources::read(&tree.join(&package).join("Cargo.toml"), "Cargo.toml").unwrap_or_default();
        let named = manifest.get("package").and_then(|package| package.get("build")).and_then(Value::as_str);
        let script = Path::new(named.unwrap_or("build.rs"));
        // The tree is the server's, but this path is not.
        if script.components().all(|part| matches!(part, std::path::Component::Normal(_)))
            && let Ok(file) = File::open(tree.join(&package).join(script))
        {
            file.set_modified(SystemTime::now())?;
        }
    }
    Ok(())
}
