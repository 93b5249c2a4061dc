//! Folders that survive deployments: one for each project, its app's own.
//!
//! The server makes them and never looks inside: what is in there is the app's, links included.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::PathBuf,
};

use crate::{build::blocking, uids::Uids};

/// All of them, below one folder.
#[derive(Debug)]
pub(crate) struct PersistFolders {
    folder: PathBuf,
    uids: Uids,
}

impl PersistFolders {
    /// `folder` is the server's alone to write to, and others may pass through it.
    pub(crate) fn new(folder: PathBuf, uids: Uids) -> Self {
        Self { folder, uids }
    }

    /// The project's folder, made if it is missing.
    pub(crate) async fn provide(&self, project_id: i64) -> io::Result<PathBuf> {
        let (path, uid) = (self.folder.join(project_id.to_string()), self.uids.app(project_id));
        blocking(move || {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => made?,
            }
            chown(&path, uid, uid)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
            Ok(path)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[tokio::test]
    async fn a_folder_is_made_once_and_keeps_what_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        let folders = PersistFolders::new(root.path().to_path_buf(), Uids::none());
        let folder = folders.provide(7).await.unwrap();
        assert!(folder.is_absolute() && fs::metadata(&folder).unwrap().mode() & 0o777 == 0o700);
        fs::write(folder.join("kept"), "yes").unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(folders.provide(7).await.unwrap(), folder);
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700, "opened to others by the app, it is closed again");
        assert_eq!(fs::read_to_string(folder.join("kept")).unwrap(), "yes");
        assert_ne!(folders.provide(8).await.unwrap(), folder);
    }
}
