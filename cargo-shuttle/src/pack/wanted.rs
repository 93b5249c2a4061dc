//! Which part of a walk is wanted: folders of packages, and what else lies in the workspace's folder, because packages
//! reach there (`include_str!("../../x")`, a vendor folder, migrations that they share). Another workspace in it is
//! another project, of which only the packages count that are depended on.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use toml_edit::DocumentMut;

#[derive(Debug)]
pub(super) struct Wanted {
    folders: Vec<PathBuf>,
    /// The workspace's folder, in the walk that begins there.
    shared: Option<PathBuf>,
    /// Other workspaces in it; those that a walk has come to.
    others: Mutex<BTreeSet<PathBuf>>,
}

impl Wanted {
    pub(super) fn new(folders: Vec<PathBuf>, shared: Option<PathBuf>) -> Self {
        Self { folders, shared, others: Mutex::default() }
    }

    /// A folder with all that is in it.
    pub(super) fn all(folder: &Path) -> Self {
        Self::new(vec![folder.to_owned()], None)
    }

    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    pub(super) fn covers(&self, path: &Path) -> bool {
        self.is_in_package(path) || self.shared.as_ref().is_some_and(|root| path.starts_with(root) && !self.is_in_other(path))
    }

    /// Whether this is a folder on the way to what is wanted, or wanted itself.
    pub(super) fn reaches(&self, path: &Path) -> bool {
        self.covers(path) || self.leads_to_package(path)
    }

    /// Whether another workspace begins at this folder. A vendored package never counts as one.
    pub(super) fn is_other(&self, folder: &Path) -> bool {
        if self.shared.is_none() || self.is_in_package(folder) || self.is_in_other(folder) || !is_workspace(folder) {
            return false;
        }
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        true
    }

    pub(super) fn leads_to_package(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| folder.starts_with(path))
    }

    fn is_in_package(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }

    fn is_in_other(&self, path: &Path) -> bool {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.iter().any(|other| path.starts_with(other))
    }
}

fn is_workspace(folder: &Path) -> bool {
    let Ok(text) = fs::read_to_string(folder.join("Cargo.toml")) else { return false };
    text.contains("workspace")
        && !folder.join(".cargo-checksum.json").exists()
        && text.parse::<DocumentMut>().is_ok_and(|document| document.contains_key("workspace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_workspace_is_not_covered_and_a_package_in_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("other/Cargo.toml", "[workspace]\nmembers = [\"lib\"]\n");
        write("vendor/x/Cargo.toml", "[package]\nname = \"x\"\n[workspace]\n");
        write("vendor/x/.cargo-checksum.json", "{}");
        write("plain/Cargo.toml", "[package]\nname = \"plain\"\nversion.workspace = true\n");
        let wanted = Wanted::new(vec![root.join("app"), root.join("other/lib")], Some(root.to_owned()));
        assert!(wanted.is_other(&root.join("other")));
        for folder in ["vendor/x", "plain", "app", "nothing"] {
            assert!(!wanted.is_other(&root.join(folder)), "{folder}");
        }
        for (path, covered, reached) in [
            ("notes.md", true, true),
            ("vendor/x/src/lib.rs", true, true),
            ("other", false, true),
            ("other/notes.md", false, false),
            ("other/lib/src/lib.rs", true, true),
        ] {
            assert_eq!((wanted.covers(&root.join(path)), wanted.reaches(&root.join(path))), (covered, reached), "{path}");
        }
    }
}
