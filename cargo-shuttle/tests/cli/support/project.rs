//! A folder with a project of few lines, and with an SDK beside it that is empty: nothing is compiled here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

const SERVICE: &str = "#[shuttle_service::main]\nasync fn app() {}\n";

/// A folder that holds `sdk/` and whatever a test adds. It goes away with this value.
pub(crate) struct Project {
    dir: TempDir,
    app: PathBuf,
}

impl Project {
    /// `app/`, a package of one annotated function, with the SDK by a relative path.
    pub(crate) fn new() -> Self {
        let project = Self::empty();
        project.write("app/Cargo.toml", &manifest("my-app", "../sdk")).write("app/src/lib.rs", SERVICE);
        project
    }

    /// Only the SDK.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let project = Self { app: root.join("app"), dir };
        fs::create_dir(&project.app).unwrap();
        project
            .write(
                "sdk/Cargo.toml",
                "[package]\nname = \"shuttle-service\"\nversion = \"0.1.7\"\nedition = \"2021\"\n[workspace]\n",
            )
            .write("sdk/src/lib.rs", "");
        project
    }

    /// The manifest of a package that is a member of a workspace.
    pub(crate) fn member(name: &str, sdk: &str) -> String {
        manifest(name, sdk).replace("[workspace]\n", "")
    }

    pub(crate) fn root(&self) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap()
    }

    /// Where commands are run.
    pub(crate) fn app(&self) -> &Path {
        &self.app
    }

    /// Commands are run in another folder from now on.
    pub(crate) fn at(mut self, folder: &str) -> Self {
        self.app = self.root().join(folder);
        self
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub(crate) fn link(&self, target: impl AsRef<Path>, link: &str) -> &Self {
        let link = self.root().join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
        self
    }

    /// Makes this folder a git repository in which everything that is not ignored is committed.
    pub(crate) fn commit(&self, folder: &str) -> &Self {
        let repo = git2::Repository::init(self.root().join(folder)).unwrap();
        let mut index = repo.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.write().unwrap();
        let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
        let who = git2::Signature::now("t", "t@localhost").unwrap();
        let parent = repo.head().ok().map(|head| head.peel_to_commit().unwrap());
        repo.commit(Some("HEAD"), &who, &who, "c", &tree, parent.iter().collect::<Vec<_>>().as_slice()).unwrap();
        drop(tree);
        self
    }

    /// Runs git in this folder, with nothing of the user's configuration.
    pub(crate) fn git(&self, folder: &str, arguments: &[&str]) -> &Self {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=t", "-c", "user.email=t@localhost"]).args(arguments).current_dir(self.root().join(folder));
        let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        self
    }

    /// Adds one file to the index, whatever the ignore rules say, and commits it.
    pub(crate) fn commit_ignored(&self, folder: &str, file: &str) -> &Self {
        let repo = git2::Repository::open(self.root().join(folder)).unwrap();
        let mut index = repo.index().unwrap();
        index.add_path(Path::new(file)).unwrap();
        index.write().unwrap();
        self.commit(folder)
    }
}

pub(crate) fn manifest(name: &str, sdk: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[dependencies]\n\
         shuttle-service = {{ path = \"{sdk}\" }}\n\n[workspace]\n"
    )
}
