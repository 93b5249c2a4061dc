//! The archive that is posted to `/deploy`: a tar, gzip-compressed, whose first entry is the index.

use serde::{Deserialize, Serialize};

use crate::Env;

/// Name of the first entry; its content is an [`ArchiveIndex`] as JSON.
pub const INDEX_NAME: &str = "shuttle.json";
/// Version of the layout.
pub const ARCHIVE_FORMAT: u32 = 1;

/// What the server needs to know of the files before it builds them. All paths are relative to the archive's root, with
/// `/` between their parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveIndex {
    /// [`ARCHIVE_FORMAT`].
    pub format: u32,
    /// The package to build, as `cargo -p` takes it.
    pub package: String,
    /// The crate name of its library, or of `binary`: underscores for hyphens.
    pub crate_name: String,
    /// Folder of the workspace's root manifest; empty for the archive's root.
    pub workspace_root: String,
    /// Folder of the package's manifest: the app's working directory.
    pub package_root: String,
    /// Version of the `shuttle-service` that the lockfile names.
    pub sdk_version: String,
    /// Version of the CLI that packed it.
    pub cli_version: String,
    /// The binary target to build, where the annotated function is in one; otherwise it is the library.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
    /// Features of the package to build with, as `cargo --features` takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// Whether to build without the package's default features.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_default_features: bool,
    /// The profile to build with, as `cargo --profile` takes it; without one it is `release`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Environment variables of the app.
    #[serde(default, skip_serializing_if = "Env::is_empty")]
    pub env: Env,
    /// The commit that the package's repository is at, where a file that is sent asks for it: builds see it in the variable
    /// `SHUTTLE_GIT_COMMIT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
}
