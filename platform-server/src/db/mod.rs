//! The database: one SQLite file, one connection, every access a short transaction on a blocking thread.
//!
//! It owns the mapping between rows and [`crate::deployment`]'s types. It decides nothing: which state follows which is
//! the deployment driver's business, and the driver is its only writer of deployments.

mod deployments;
mod resources;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::data_dir::private_file;
use rusqlite::{Connection, OptionalExtension, params};

pub(crate) use deployments::{NewDeployment, ProjectRow};
pub(crate) use resources::ResourceRow;

/// Version of `schema.sql`, kept in the file's `user_version`.
const SCHEMA_VERSION: u32 = 1;

/// Why the database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DbError {
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("{}: {}", .0.display(), .1)]
    File(PathBuf, std::io::Error),
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    #[error("the data directory belongs to a newer platform-server (schema {0}); update the server")]
    Newer(u32),
    /// Another change came first: the row is not in the state it was read in.
    #[error("the deployment has changed meanwhile")]
    Changed,
}

impl DbError {
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(self, Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) if error.code == rusqlite::ErrorCode::DiskFull)
    }
}

/// Handle on the database; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    connection: Arc<Mutex<Connection>>,
}

impl Db {
    /// Opens the file, making it if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        // It holds credentials, and the folders around it let others pass. SQLite's other files take this one's mode.
        private_file(path).map_err(|error| DbError::File(path.to_path_buf(), error))?;
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // FULL: what was acknowledged to a client survives a loss of power, not only a crash.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        match version {
            0 => connection.execute_batch(&format!(
                "BEGIN IMMEDIATE; {} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;",
                include_str!("schema.sql")
            ))?,
            SCHEMA_VERSION => {}
            newer => return Err(DbError::Newer(newer)),
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let connection = Arc::clone(&self.connection);
        tokio::task::spawn_blocking(move || {
            // A panic inside a transaction has rolled it back; the connection is still good.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        })
        .await
        .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    pub(crate) async fn setting(&self, key: &'static str) -> Result<Option<String>, DbError> {
        self.call(move |db| Ok(db.query_row("SELECT value FROM setting WHERE key = ?1", [key], |row| row.get(0)).optional()?))
            .await
    }

    pub(crate) async fn set_setting(&self, key: &'static str, value: String) -> Result<(), DbError> {
        self.call(move |db| {
            db.execute("INSERT INTO setting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2", params![key, value])?;
            Ok(())
        })
        .await
    }

    /// Whether a key with this hash exists.
    pub(crate) async fn knows_key(&self, hash: String) -> Result<bool, DbError> {
        self.call(move |db| Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM api_key WHERE hash = ?1)", [hash], |row| row.get(0))?))
            .await
    }

    /// Makes `hash` the only key of that label.
    pub(crate) async fn set_key(&self, label: &'static str, hash: String) -> Result<(), DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute("DELETE FROM api_key WHERE label = ?1", [label])?;
            transaction.execute("INSERT INTO api_key VALUES (?1, ?2, ?3)", params![hash, label, now_ms()])?;
            Ok(transaction.commit()?)
        })
        .await
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
