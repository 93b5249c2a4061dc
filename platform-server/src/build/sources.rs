//! Where a deployment's dependencies may come from, checked before cargo is started for them.
//!
//! The fetch step runs cargo with the network. It must not be sent to the server's own disk or made to start programs:
//! only registries and git repositories over HTTP are allowed.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Value;

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum SourceError {
    #[error("{file} cannot be read: {why}")]
    Unreadable { file: String, why: String },
    #[error("{file} names the source `{url}`, which the platform does not fetch from")]
    Refused { file: String, url: String },
    #[error("{file} has {size} bytes, over the limit of {limit} for a manifest, lockfile or configuration")]
    TooLarge { file: String, size: u64, limit: u64 },
    #[error("the manifests, lockfiles and configurations have more than {limit} bytes in all")]
    TooMuch { limit: u64 },
    #[error("{file} has more than {limit} values")]
    TooManyValues { file: String, limit: usize },
    #[error("the manifests, configurations and the lockfile have more than {limit} values in all")]
    TooManyValuesInAll { limit: usize },
    #[error("{file} needs more than {limit} bytes of memory to be read")]
    TooMuchMemory { file: String, limit: u64 },
    #[error("{file} takes more than {limit} s to be read")]
    TooLong { file: String, limit: u64 },
}

impl SourceError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "correct the file; `cargo metadata --locked` must work in the project",
            Self::Refused { .. } => {
                "use https:// for git dependencies and registries, or a path dependency, which is sent along with the app"
            }
            Self::TooLarge { .. } | Self::TooMuch { .. } => {
                "leave out what the build does not need (.gitignore works), or raise the server's --max-manifest-bytes"
            }
            Self::TooManyValues { .. } => "a file of cargo's has far fewer: leave it out if it is none (.gitignore works)",
            Self::TooManyValuesInAll { .. } => "leave out the manifests that the build does not need (.gitignore works)",
            Self::TooMuchMemory { .. } => {
                "leave it out if the build does not need it (.gitignore works), or raise the server's --max-manifest-memory-bytes"
            }
            Self::TooLong { .. } => "leave it out if the build does not need it (.gitignore works)",
        }
    }
}

/// Checks a lockfile, shown as `lockfile`, and every manifest below `root`.
pub(crate) fn check(root: &Path, lock: &toml::Table, lockfile: &str) -> Result<(), SourceError> {
    let shown = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    for package in lock.get("package").and_then(Value::as_array).into_iter().flatten() {
        if let Some(source) = package.get("source").and_then(Value::as_str) {
            allowed(source, lockfile)?;
        }
    }
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else if entry.file_name() == "Cargo.toml" {
                // A file of that name may be a template or a test's data, and no manifest.
                if let Ok(manifest) = read(&entry.path(), &shown(&entry.path())) {
                    manifest_sources(&manifest, &shown(&entry.path()))?;
                }
            }
        }
    }
    Ok(())
}

/// Parses a file. One of a project's has to be known to be small: see [`super::reading`].
pub(super) fn read(path: &Path, shown: &str) -> Result<toml::Table, SourceError> {
    let unreadable = |why: String| SourceError::Unreadable { file: shown.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| unreadable(error.message().to_owned()))
}

/// Every `git` and `registry-index` of any table, wherever it stands: dependencies, patches, targets.
fn manifest_sources(table: &toml::Table, file: &str) -> Result<(), SourceError> {
    for (key, value) in table {
        match value {
            Value::String(url) if key == "git" || key == "registry-index" => allowed(url, file)?,
            Value::Table(inner) if key == "package" || key == "workspace" => {
                // `metadata` there is other tools' own; a dependency of that name is not.
                let mut inner = inner.clone();
                inner.remove("metadata");
                manifest_sources(&inner, file)?;
            }
            Value::Table(inner) => manifest_sources(inner, file)?,
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn allowed(source: &str, file: &str) -> Result<(), SourceError> {
    let url = ["registry+", "sparse+", "git+"].iter().find_map(|prefix| source.strip_prefix(prefix)).unwrap_or(source);
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(());
    }
    Err(SourceError::Refused { file: file.to_owned(), url: source.chars().take(200).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_with(lock: &str, manifest: &str) -> Result<(), SourceError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("app")).unwrap();
        std::fs::write(folder.path().join("app/Cargo.toml"), manifest).unwrap();
        check(folder.path(), &lock.parse().unwrap(), "Cargo.lock")
    }

    #[test]
    fn registries_and_git_over_http_are_allowed() {
        let lock =
            "version = 4\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/index\"\n
                    [[package]]\nname = \"b\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/b#0123\"\n";
        check_with(lock, "[dependencies]\nb = { git = \"https://example.com/b\" }\nlocal = { path = \"../local\" }").unwrap();
    }

    #[test]
    fn the_servers_disk_and_ssh_are_refused_wherever_they_stand() {
        let lock = |source: &str| format!("[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"{source}\"\n");
        for source in [
            "git+file:///srv/secret#1",
            "git+ssh://git@example.com/a#1",
            "registry+file:///srv/index",
            "local-registry+file:///x",
        ] {
            assert!(matches!(check_with(&lock(source), ""), Err(SourceError::Refused { .. })), "{source}");
        }
        for manifest in [
            "[dependencies]\na = { git = \"file:///srv/secret\" }",
            "[dependencies]\nmetadata = { git = \"file:///srv/secret\" }",
            "[dependencies.a]\ngit = \"/srv/secret\"",
            "[patch.crates-io]\na = { git = \"ssh://git@example.com/a\" }",
            "[target.'cfg(unix)'.build-dependencies]\na = { version = \"1\", registry-index = \"file:///srv/index\" }",
            "[workspace.dependencies]\na = { git = \"git@example.com:a.git\" }",
        ] {
            assert!(matches!(check_with("version = 4", manifest), Err(SourceError::Refused { .. })), "{manifest}");
        }
    }
}
