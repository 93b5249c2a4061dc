//! `shuttle.json`: is it of a known format, does it make sense, and is what it names there?

use std::path::Path;

use platform_wire::{ARCHIVE_FORMAT, ArchiveIndex, INDEX_NAME};
use serde::Deserialize;

use super::{ArchiveError, ArchiveLimits, Refusal, path};

/// What every version of the index has.
#[derive(Deserialize)]
struct Envelope {
    format: u32,
}

/// Longest name of a package or crate, in bytes.
const NAME_BYTES: usize = 200;
/// Most features that are chosen.
const FEATURES: usize = 256;

/// Parses an index and checks all that can be checked without the files.
pub(super) fn parse(json: &[u8], limits: &ArchiveLimits) -> Result<ArchiveIndex, ArchiveError> {
    let bad = |why: String| Refusal::BadIndex(why).at(INDEX_NAME);
    let envelope: Envelope = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
    if envelope.format != ARCHIVE_FORMAT {
        return Err(Refusal::Format { found: envelope.format, known: ARCHIVE_FORMAT }.at(INDEX_NAME));
    }
    let index: ArchiveIndex = serde_json::from_slice(json).map_err(|error| bad(error.to_string()))?;
    if !is_package(&index.package) {
        return Err(bad("`package` is no package's name".into()));
    }
    if !is_crate(&index.crate_name) {
        return Err(bad("`crate_name` is no crate's name".into()));
    }
    // A binary is called as packages are.
    if index.binary.as_deref().is_some_and(|name| !is_package(name) || name.contains('@')) {
        return Err(bad("`binary` is no binary's name".into()));
    }
    if index.features.len() > FEATURES || !index.features.iter().all(|name| is_feature(name)) {
        return Err(bad("`features` are no names of features".into()));
    }
    if index.profile.as_deref().is_some_and(|name| !is_profile(name)) {
        return Err(bad("`profile` is no profile's name".into()));
    }
    platform_wire::env::check(&index.env).map_err(|error| bad(error.to_string()))?;
    let is_commit = |name: &str| [40, 64].contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if index.git_commit.as_deref().is_some_and(|name| !is_commit(name)) {
        return Err(bad("`git_commit` is no commit".into()));
    }
    for (field, value) in [("workspace_root", &index.workspace_root), ("package_root", &index.package_root)] {
        // Empty is the archive's root itself.
        if !value.is_empty() {
            path::check(value.as_bytes(), limits).map_err(|fault| bad(format!("the path in `{field}` {fault}")))?;
        }
    }
    for (field, value) in [("sdk_version", &index.sdk_version), ("cli_version", &index.cli_version)] {
        if value.len() > NAME_BYTES || value.chars().any(char::is_control) {
            return Err(bad(format!("`{field}` is no version")));
        }
    }
    Ok(index)
}

/// Checks that the files which the index promises were unpacked into `into`.
pub(super) fn check_files(index: &ArchiveIndex, into: &Path) -> Result<(), ArchiveError> {
    for (folder, file) in
        [(&index.workspace_root, "Cargo.toml"), (&index.workspace_root, "Cargo.lock"), (&index.package_root, "Cargo.toml")]
    {
        let path = if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") };
        if !into.join(&path).is_file() {
            return Err(Refusal::Missing { path }.at(INDEX_NAME));
        }
    }
    Ok(())
}

/// A name that can stand after `cargo -p` without being taken for an option, a path or a URL.
fn is_package(name: &str) -> bool {
    let (name, version) = name.split_once('@').unwrap_or((name, "0"));
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    (1..=NAME_BYTES).contains(&name.len())
        && !name.starts_with('-')
        && name.chars().all(is_name)
        && (1..=NAME_BYTES).contains(&version.len())
        && version.chars().all(is_version)
}

/// As `cargo --features` takes it, one at a time.
fn is_feature(name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | '/');
    (1..=NAME_BYTES).contains(&name.len()) && !name.starts_with('-') && name.chars().all(is_part)
}

/// A name that cargo gives a folder in the target folder. With those two, `cargo rustc` builds tests.
fn is_profile(name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=NAME_BYTES).contains(&name.len())
        && !name.starts_with('-')
        && name.chars().all(is_part)
        && !["test", "bench"].contains(&name)
}

/// An identifier: it becomes a part of a symbol's and a file's name.
fn is_crate(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
