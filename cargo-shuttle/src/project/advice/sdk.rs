//! Where a user's crate gets shuttle-service from: from where this program was installed from.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::super::SDK;

/// A source, as it stands in a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Git { url: String, rev: String },
    Path(PathBuf),
    Unknown,
}

/// What `cargo install` remembers of where this program came from; else the clone that it was built in, while that is there.
pub(crate) fn source() -> Source {
    let installed = env::current_exe().ok().and_then(|exe| Some(exe.parent()?.parent()?.join(".crates.toml")));
    if let Some(git) = installed.and_then(|file| fs::read_to_string(file).ok()).and_then(|text| installed_from(&text)) {
        return git;
    }
    let clone = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(SDK);
    if clone.join("Cargo.toml").is_file() { Source::Path(clone) } else { Source::Unknown }
}

/// The git repository that `.crates.toml` names for this program: `"cargo-shuttle 0.1.0 (git+URL?branch=main#REV)"`.
fn installed_from(crates: &str) -> Option<Source> {
    let crates: toml::Table = crates.parse().ok()?;
    let installed = crates.get("v1")?.as_table()?.keys().find(|id| id.starts_with("cargo-shuttle "))?;
    let (url, rev) = installed.split_once("(git+")?.1.strip_suffix(')')?.split_once('#')?;
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    Some(Source::Git { url: url.to_owned(), rev: rev.to_owned() })
}

impl Source {
    /// The dependency with these features.
    pub(crate) fn line(&self, features: &[&str]) -> String {
        let source = match self {
            Self::Git { url, rev } => format!("git = {url:?}, rev = {rev:?}"),
            Self::Path(path) => format!("path = {path:?}"),
            Self::Unknown => "git = \"URL of the platform's repository\"".to_owned(),
        };
        let features = if features.is_empty() { String::new() } else { format!(", features = {features:?}") };
        format!("{SDK} = {{ {source}{features} }}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_installed_from_git_names_the_repository_and_the_commit() {
        let crates = "[v1]\n\"ripgrep 14.0.0 (registry+https://github.com/rust-lang/crates.io-index)\" = [\"rg\"]\n\
            \"cargo-shuttle 0.1.0 (git+https://example.com/platform.git?branch=main#0123abc)\" = [\"cargo-shuttle\"]\n";
        let source = installed_from(crates).unwrap();
        assert_eq!(
            source.line(&["axum"]),
            "shuttle-service = { git = \"https://example.com/platform.git\", rev = \"0123abc\", features = [\"axum\"] }"
        );
        for other in [
            "",
            "[v1]\n\"cargo-shuttle 0.1.0 (path+file:///src/platform/cargo-shuttle)\" = [\"cargo-shuttle\"]\n",
            "[v1]\n\"cargo-shuttle 0.57.0 (registry+https://github.com/rust-lang/crates.io-index)\" = [\"cargo-shuttle\"]\n",
        ] {
            assert_eq!(installed_from(other), None);
        }
    }

    #[test]
    fn what_was_built_in_a_clone_names_its_folder() {
        let Source::Path(path) = source() else { panic!("the clone is there") };
        assert!(path.join("Cargo.toml").is_file());
        assert_eq!(Source::Path("/src/sdk".into()).line(&[]), "shuttle-service = { path = \"/src/sdk\" }");
    }
}
