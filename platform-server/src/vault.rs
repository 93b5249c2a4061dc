//! The projects' secrets: encrypted on their way into the database, decrypted on their way to an app.
//!
//! Each set is sealed with XChaCha20-Poly1305 under one key, which stands in a file that only the server can read. It is
//! bound to its project and its id, so that a row that was changed or moved does not open, and names the key, so that
//! another key is told from a broken set. The key is made when the first set is stored; once there are sets, a missing one
//! is an error and never made anew.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use platform_wire::Secrets;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use crate::{
    build::blocking,
    db::{Db, DbError},
    provision::{random, secret},
    stored::persist_new,
};

/// First byte of what is sealed.
const VERSION: u8 = 1;
/// Bytes of the key.
const KEY: usize = 32;
/// Bytes by which a set names its key.
const KEY_ID: usize = 8;
/// Bytes of a nonce: enough to draw one for each set at random.
const NONCE: usize = 24;

/// Why secrets cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("the server's key for secrets is missing: there are secrets, but no {}", .0.display())]
    Lost(PathBuf),
    #[error("the server's key for secrets, {}, is not the one that these were encrypted with", .0.display())]
    OtherKey(PathBuf),
    #[error("the server's key for secrets, {}, is no key", .0.display())]
    Malformed(PathBuf),
    #[error("other users can read the server's key for secrets: {} has the mode {mode:o}", .path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("the stored secrets do not open: they were changed or moved")]
    Broken,
    #[error("the deployment's set of secrets is not stored any more")]
    Gone,
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("the server's key for secrets, {}: {error}", .path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl VaultError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Lost(path) => format!(
                "on the server: put the key back, or name its file with --secrets-key-file. If it is lost for good, so are the secrets: make a new one (umask 077; openssl rand -hex {KEY} > {}), then deploy each app again with its Secrets.toml",
                path.display()
            ),
            Self::OtherKey(_) => {
                "on the server: put the right key back, or name its file with --secrets-key-file, and restart it; if it is lost, deploy again with Secrets.toml".into()
            }
            Self::Malformed(path) => format!(
                "on the server: put the right key back; {} must hold {KEY} bytes, written as {} hexadecimal digits",
                path.display(),
                KEY * 2
            ),
            Self::Open { path, .. } => format!("on the server: chmod 600 {}", path.display()),
            Self::Broken | Self::Gone => "deploy again with Secrets.toml: its secrets are stored anew".into(),
            Self::Db(_) | Self::Io { .. } => "the server's log has more".into(),
        }
    }
}

/// The key, and what is done with it.
pub(crate) struct Vault {
    db: Db,
    path: PathBuf,
    key: OnceCell<Key>,
}

struct Key {
    id: [u8; KEY_ID],
    cipher: XChaCha20Poly1305,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Vault {
    /// `path` is the file of the key.
    pub(crate) fn new(db: Db, path: PathBuf) -> Self {
        Self { db, path, key: OnceCell::new() }
    }

    /// Stores a new set of a project's secrets, unless the newest one is the same, and returns its id.
    pub(crate) async fn store(&self, project_id: i64, secrets: &Secrets) -> Result<String, VaultError> {
        if let Some((id, sealed)) = self.db.newest_secrets(project_id).await?
            // One that does not open is no reason not to store another.
            && self.key().await?.open(project_id, &id, &sealed).is_ok_and(|newest| newest == *secrets)
        {
            return Ok(id);
        }
        let id = secret(16).map_err(|error| self.io(error))?;
        let sealed = self.key().await?.seal(project_id, &id, secrets).map_err(|error| self.io(error))?;
        self.db.add_secrets(project_id, id.clone(), sealed).await?;
        Ok(id)
    }

    /// The secrets in a set.
    pub(crate) async fn open(&self, project_id: i64, id: &str) -> Result<BTreeMap<String, String>, VaultError> {
        let sealed = self.db.secrets(project_id, id.to_owned()).await?.ok_or(VaultError::Gone)?;
        let opened = self.key().await?.open(project_id, id, &sealed);
        Ok(opened.map_err(|why| why.unwrap_or_else(|| VaultError::OtherKey(self.path.clone())))?.secrets)
    }

    /// Why the secrets that are stored could not be read, said at start-up instead of at the next deployment.
    pub(crate) async fn check(&self) -> Result<(), VaultError> {
        if self.db.has_secrets().await? { self.key().await.map(|_| ()) } else { Ok(()) }
    }

    fn io(&self, error: io::Error) -> VaultError {
        VaultError::Io { path: self.path.clone(), error }
    }

    async fn key(&self) -> Result<&Key, VaultError> {
        self.key
            .get_or_try_init(async || match self.read().await {
                Err(VaultError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                    if self.db.has_secrets().await? {
                        return Err(VaultError::Lost(self.path.clone()));
                    }
                    let path = self.path.clone();
                    blocking(move || make(&path)).await.map_err(|error| self.io(error))?;
                    tracing::info!(file = %self.path.display(), "made the key for secrets; keep a copy of it");
                    self.read().await
                }
                read => read,
            })
            .await
    }

    async fn read(&self) -> Result<Key, VaultError> {
        let path = self.path.clone();
        blocking(move || Ok(read(&path))).await.map_err(|error| self.io(error))?
    }
}

impl Key {
    fn new(bytes: [u8; KEY]) -> Self {
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&Sha256::new().chain_update("key for secrets: ").chain_update(bytes).finalize()[..KEY_ID]);
        Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) }
    }

    fn seal(&self, project_id: i64, id: &str, secrets: &Secrets) -> io::Result<Vec<u8>> {
        let nonce: [u8; NONCE] = random()?;
        let payload = Payload { msg: &serde_json::to_vec(secrets)?, aad: &bound_to(project_id, id) };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(io::Error::other)?;
        Ok([&[VERSION][..], &self.id, &nonce, &sealed].concat())
    }

    /// `Err(None)`: it was sealed with another key.
    fn open(&self, project_id: i64, id: &str, sealed: &[u8]) -> Result<Secrets, Option<VaultError>> {
        let broken = || Some(VaultError::Broken);
        let sealed = sealed.strip_prefix(&[VERSION]).ok_or_else(broken)?;
        let (key_id, sealed) = sealed.split_first_chunk::<KEY_ID>().ok_or_else(broken)?;
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(broken)?;
        if *key_id != self.id {
            return Err(None);
        }
        let payload = Payload { msg: sealed, aad: &bound_to(project_id, id) };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| broken())?;
        serde_json::from_slice(&opened).map_err(|_| broken())
    }
}

/// What a set is authenticated with, beside its content.
fn bound_to(project_id: i64, id: &str) -> Vec<u8> {
    format!("secrets of project {project_id}, set {id}").into_bytes()
}

fn read(path: &Path) -> Result<Key, VaultError> {
    let at = |error| VaultError::Io { path: path.to_path_buf(), error };
    let mode = fs::metadata(path).map_err(at)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_path_buf(), mode });
    }
    let text = fs::read(path).map_err(at)?;
    decode(text.trim_ascii()).map(Key::new).ok_or_else(|| VaultError::Malformed(path.to_path_buf()))
}

fn decode(text: &[u8]) -> Option<[u8; KEY]> {
    let mut bytes = [0; KEY];
    if text.len() != KEY * 2 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        *byte = u8::try_from(high? * 16 + low?).ok()?;
    }
    Some(bytes)
}

/// Makes a key that survives a loss of power before anything is encrypted with it. One that is there is left alone.
fn make(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", secret(KEY)?)?;
    persist_new(file, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Server {
        folder: tempfile::TempDir,
        db: Db,
        project: i64,
    }

    impl Server {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let db = Db::open(&folder.path().join("platform.db")).unwrap();
            let project = db.project_id("app".parse().unwrap()).await.unwrap();
            Self { folder, db, project }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("secrets.key")
        }

        /// As after a restart.
        fn vault(&self) -> Vault {
            Vault::new(self.db.clone(), self.path())
        }
    }

    fn secrets() -> Secrets {
        Secrets { secrets: [("API_KEY".to_owned(), "the-value-itself".to_owned())].into() }
    }

    #[tokio::test]
    async fn a_set_comes_back_after_a_restart_and_no_file_holds_it() {
        let server = Server::new().await;
        let id = server.vault().store(server.project, &secrets()).await.unwrap();
        assert_eq!(fs::metadata(server.path()).unwrap().mode() & 0o777, 0o600);
        let vault = server.vault();
        assert_eq!(vault.open(server.project, &id).await.unwrap(), secrets().secrets);
        assert!(matches!(vault.open(server.project, "no-such-id").await, Err(VaultError::Gone)));
        for entry in fs::read_dir(server.folder.path()).unwrap().flatten() {
            let content = fs::read(entry.path()).unwrap();
            assert!(!content.windows(16).any(|part| part == b"the-value-itself"), "{}", entry.path().display());
        }
        assert!(!format!("{vault:?} {:?}", secrets()).contains("the-value"));
    }

    #[tokio::test]
    async fn each_set_is_a_new_one_and_the_old_ones_stay() {
        let server = Server::new().await;
        let vault = server.vault();
        let first = vault.store(server.project, &secrets()).await.unwrap();
        let second = vault.store(server.project, &Secrets::default()).await.unwrap();
        assert_ne!(first, second);
        assert_eq!(vault.open(server.project, &first).await.unwrap(), secrets().secrets);
        assert!(vault.open(server.project, &second).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn sets_are_bound_to_their_project_and_their_id() {
        let server = Server::new().await;
        let vault = server.vault();
        let id = vault.store(server.project, &secrets()).await.unwrap();
        let other = server.db.project_id("other".parse().unwrap()).await.unwrap();
        assert!(matches!(vault.open(other, &id).await, Err(VaultError::Gone)));
        // Moved by somebody who can write to the database.
        let sealed = server.db.secrets(server.project, id.clone()).await.unwrap().unwrap();
        server.db.add_secrets(other, "moved".into(), sealed.clone()).await.unwrap();
        assert!(matches!(vault.open(other, "moved").await, Err(VaultError::Broken)));
        let key = vault.key().await.unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(server.project, &id, &changed).is_err(), "byte {at}");
            assert!(key.open(server.project, &id, &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn a_lost_key_is_said_and_never_made_anew() {
        let server = Server::new().await;
        let id = server.vault().store(server.project, &secrets()).await.unwrap();
        let kept = fs::read(server.path()).unwrap();
        fs::remove_file(server.path()).unwrap();
        for error in [
            server.vault().open(server.project, &id).await.unwrap_err(),
            server.vault().store(server.project, &secrets()).await.unwrap_err(),
            server.vault().check().await.unwrap_err(),
        ] {
            assert!(matches!(error, VaultError::Lost(_)), "{error}");
            assert!(error.hint().contains("--secrets-key-file"), "{}", error.hint());
        }
        assert!(!server.path().exists());
        // Another key, made by hand: what is new works, what is old says why it does not.
        make(&server.path()).unwrap();
        let vault = server.vault();
        assert!(matches!(vault.open(server.project, &id).await, Err(VaultError::OtherKey(_))));
        let new = vault.store(server.project, &secrets()).await.unwrap();
        assert_eq!(vault.open(server.project, &new).await.unwrap(), secrets().secrets);
        fs::write(server.path(), kept).unwrap();
        assert_eq!(server.vault().open(server.project, &id).await.unwrap(), secrets().secrets);
    }

    #[tokio::test]
    async fn a_key_that_is_none_or_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let server = Server::new().await;
        make(&server.path()).unwrap();
        fs::set_permissions(server.path(), fs::Permissions::from_mode(0o640)).unwrap();
        let error = server.vault().store(server.project, &secrets()).await.unwrap_err();
        assert!(matches!(error, VaultError::Open { mode: 0o640, .. }) && error.hint().contains("chmod 600"), "{error}");
        fs::set_permissions(server.path(), fs::Permissions::from_mode(0o600)).unwrap();
        for text in ["", "abc", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66)] {
            fs::write(server.path(), text).unwrap();
            let error = server.vault().store(server.project, &secrets()).await.unwrap_err();
            assert!(matches!(error, VaultError::Malformed(_)), "{text:?}: {error}");
        }
    }
}
