//! Where a file stands in the archive: relative to the deepest folder that all files share, so that relative paths in
//! manifests stay true. Also decides which manifests have to be changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use platform_wire::INDEX_NAME;

use super::{PackError, archive::Content, manifest, paths};
use crate::project::Plan;

#[derive(Debug)]
pub(super) struct Layout {
    top: PathBuf,
}

impl Layout {
    pub(super) fn new(plan: &Plan, files: &BTreeSet<PathBuf>) -> Result<Self, PackError> {
        let parents = files.iter().chain(&plan.foreign_roots).filter_map(|file| file.parent());
        let folders = plan.folders.iter().map(PathBuf::as_path);
        let all = parents.chain(folders).chain([plan.workspace_root.as_path(), &plan.package_root]);
        let mut top = paths::common(all).ok_or_else(|| PackError::List("there are no files".to_owned()))?;
        // The index has this name; a file of the project's moves one folder down.
        if files.contains(&top.join(INDEX_NAME)) && !top.pop() {
            return Err(PackError::List(format!("{} is in the way of the archive's index", top.join(INDEX_NAME).display())));
        }
        Ok(Self { top })
    }

    /// A path's name in the archive; empty for the top.
    pub(super) fn name(&self, path: &Path) -> Result<String, PackError> {
        let below = path.strip_prefix(&self.top).unwrap_or(path);
        let name = below.to_str().ok_or_else(|| PackError::NotUtf8(path.to_owned()))?;
        // The server refuses it, as not everybody reads such a name alike.
        if name.contains(|c: char| c == '\\' || c.is_control()) {
            return Err(PackError::OddName(path.to_owned()));
        }
        Ok(name.to_owned())
    }

    /// Every entry but the index.
    pub(super) fn entries(&self, plan: &Plan, files: &BTreeSet<PathBuf>) -> Result<BTreeMap<String, Content>, PackError> {
        let mut entries = BTreeMap::new();
        for file in files {
            let content = match self.changed(file)? {
                Some(text) => Content::Text(text),
                None => Content::File(file.clone()),
            };
            entries.insert(self.name(file)?, content);
        }
        for (file, text) in &plan.texts {
            entries.insert(self.name(file)?, Content::Text(text.clone()));
        }
        for root in plan.foreign_roots.iter().filter(|root| !files.contains(*root)) {
            let text = self.edited(root, |text, folder| manifest::only_workspace(text, folder, &self.top))?;
            entries.insert(self.name(root)?, Content::Text(text));
        }
        Ok(entries)
    }

    /// The new text of a manifest, or of a configuration of cargo's (whose paths begin beside its folder), if it changes.
    fn changed(&self, file: &Path) -> Result<Option<String>, PackError> {
        let is_manifest = file.ends_with("Cargo.toml");
        // A configuration that is sent through a link, under another name, has its secrets all the same.
        let is_config = is_config(file)
            || (file.is_symlink() || matches!(file.file_name().and_then(OsStr::to_str), Some("config.toml" | "config")))
                && fs::canonicalize(file).is_ok_and(|real| is_config(&real));
        if !is_manifest && !is_config {
            return Ok(None);
        }
        match self.edited(file, |text, folder| {
            if is_config {
                manifest::configuration(text, folder.parent().unwrap_or(folder), &self.top)
            } else {
                manifest::relocated(text, folder, &self.top)
            }
        }) {
            // A stray Cargo.toml among a project's data is no manifest, and is sent as it is. cargo has read the others.
            Err(PackError::Manifest { .. }) => Ok(None),
            result => result,
        }
    }

    fn edited<T>(&self, file: &Path, edit: impl FnOnce(&str, &Path) -> Result<T, toml_edit::TomlError>) -> Result<T, PackError> {
        let manifest = |why: String| PackError::Manifest { path: file.to_owned(), why };
        let bytes = fs::read(file).map_err(PackError::io(file))?;
        let text = String::from_utf8(bytes).map_err(|error| manifest(error.to_string()))?;
        edit(&text, file.parent().unwrap_or(&self.top)).map_err(|error| manifest(error.to_string()))
    }
}

fn is_config(file: &Path) -> bool {
    file.ends_with(".cargo/config.toml") || file.ends_with(".cargo/config")
}
