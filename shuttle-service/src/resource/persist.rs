//! A folder that survives deployments.

use std::path::{Path, PathBuf};

use super::{Accepts, Needs, Parameter, Slot};
use crate::Error;

/// A folder that belongs to the project alone and survives its deployments and its deletion. The app may write to it;
/// the deployed files around its working directory are replaced with every deployment.
///
/// ```
/// use shuttle_service::PersistDir;
///
/// async fn app(folder: PersistDir) -> shuttle_service::ShuttleAxum {
///     std::fs::write(folder.join("started"), "yes")?;
///     Ok(axum::Router::new())
/// }
///
/// // In a test:
/// # let _ =
/// app(PersistDir::new(std::env::temp_dir()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersistDir {
    path: PathBuf,
}

impl PersistDir {
    /// For tests, and for running without the platform.
    ///
    /// ```
    /// let folder = shuttle_service::PersistDir::new("/tmp/my-app");
    /// assert!(folder.starts_with("/tmp"));
    /// ```
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its absolute path.
    ///
    /// ```
    /// let folder = shuttle_service::PersistDir::new("/tmp/my-app");
    /// assert_eq!(folder.path(), std::path::Path::new("/tmp/my-app"));
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::ops::Deref for PersistDir {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl AsRef<Path> for PersistDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Parameter for PersistDir {
    const NEEDS: Needs = Needs::One { kind: "persist", options: &[] };
    const ACCEPTS: Accepts = Accepts::NONE;

    async fn take(slot: Slot<'_>) -> Result<Self, Error> {
        Ok(Self::new(&slot.data("persist")?.url))
    }
}
