//! Apps to deploy: copies of the examples, edited by tests.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::platform::repository;

/// A copy of an example in a folder of its own.
#[derive(Debug)]
pub(crate) struct App {
    folder: tempfile::TempDir,
    source: String,
}

impl App {
    pub(crate) fn copy_of(example: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("shuttle-e2e-app-").tempdir().unwrap();
        copy(&repository().join("examples").join(example), folder.path());
        let manifest = folder.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace("\"../../", &format!("\"{}/", repository().display()))).unwrap();
        let source = fs::read_to_string(folder.path().join("src/lib.rs")).unwrap();
        Self { folder, source }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The original source with one piece replaced.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        assert!(self.source.contains(from), "the example no longer has {from:?}");
        self.write(&self.source.replace(from, to));
    }

    pub(crate) fn write(&self, source: &str) {
        fs::write(self.folder.path().join("src/lib.rs"), source).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_name() == "target" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}
