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
    /// A package of these sources, with no lockfile yet. `{repository}` in the manifest is where the SDK is.
    pub(crate) fn of(manifest: &str, source: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("shuttle-e2e-app-").tempdir().unwrap();
        fs::create_dir(folder.path().join("src")).unwrap();
        let manifest = manifest.replace("{repository}", &repository().display().to_string());
        fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
        let app = Self { folder, source: source.to_owned() };
        app.write(source);
        app
    }

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

    /// Makes it a library of this source.
    pub(crate) fn write(&self, source: &str) {
        let _ = fs::remove_file(self.folder.path().join("src/main.rs"));
        fs::write(self.folder.path().join("src/lib.rs"), source).unwrap();
    }

    /// Makes it a program of this source.
    pub(crate) fn write_program(&self, source: &str) {
        fs::remove_file(self.folder.path().join("src/lib.rs")).unwrap();
        fs::write(self.folder.path().join("src/main.rs"), source).unwrap();
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
