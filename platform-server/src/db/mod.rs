//! The database: one SQLite file, one connection, every access a short transaction on a blocking thread.
//!
//! It owns the mapping between rows and [`crate::deployment`]'s types. It decides nothing: which state follows which is
//! the deployment driver's business, and the driver is its only writer of deployments.

mod deployments;
mod env;
mod names;
mod resources;
mod retention;
mod secrets;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::data_dir::private_file;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

pub(crate) use deployments::{NewDeployment, ProjectRow, Unreadable};
pub(crate) use names::project_names;
pub(crate) use resources::{MAX_RESOURCES, ResourceRow};

/// What makes each version of the schema out of the one before. The file's `user_version` says how many it has had.
const MIGRATIONS: [&str; 6] = [
    include_str!("schema/1.sql"),
    include_str!("schema/2.sql"),
    include_str!("schema/3.sql"),
    include_str!("schema/4.sql"),
    include_str!("schema/5.sql"),
    include_str!("schema/6.sql"),
];

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
    #[error("the deployment {} cannot be read: {}", .0.id, .0.why)]
    Unreadable(Box<Unreadable>),
    /// Another change came first: the row is not in the state it was read in.
    #[error("the deployment has changed meanwhile")]
    Changed,
    #[error("the project has no set of secrets `{0}`")]
    UnknownSecrets(String),
    #[error(transparent)]
    Env(#[from] platform_wire::InvalidEnv),
    #[error("the project has {MAX_RESOURCES} databases and the like already")]
    TooManyResources,
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
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // FULL: what was acknowledged to a client survives a loss of power, not only a crash.
        connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")?;
        migrate(&mut connection, &MIGRATIONS)?;
        connection.execute_batch("PRAGMA foreign_keys = ON;")?;
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
            // What is so already is not written: the disk may be full.
            let sql = "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2 WHERE value <> ?2";
            db.execute(sql, params![key, value])?;
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
            let keys = transaction
                .prepare("SELECT hash FROM api_key WHERE label = ?1")?
                .query_map([label], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            if keys == [hash.as_str()] {
                return Ok(());
            }
            transaction.execute("DELETE FROM api_key WHERE label = ?1", [label])?;
            transaction.execute("INSERT INTO api_key VALUES (?1, ?2, ?3)", params![hash, label, now_ms()])?;
            Ok(transaction.commit()?)
        })
        .await
    }
}

/// Brings the schema up to date: all of it, or nothing.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), DbError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let missing = migrations.get(version as usize..).ok_or(DbError::Newer(version))?;
    if missing.is_empty() {
        // Nothing is written: the disk may be full.
        return Ok(());
    }
    for migration in missing {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", migrations.len() as u32)?;
    Ok(transaction.commit()?)
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(db: &Connection) -> Vec<(String, String, String)> {
        let sql = "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table' ORDER BY 1, 2";
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[tokio::test]
    async fn a_file_of_version_1_becomes_one_of_today_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let mut old = Connection::open(&path).unwrap();
        migrate(&mut old, &MIGRATIONS[..1]).unwrap();
        let digest = "0".repeat(64);
        old.execute_batch(&format!(
            "INSERT INTO project VALUES (7, 'app', 1, NULL);
             INSERT INTO deployment VALUES (3, 'd3', 7, 'queued', '{digest}', '{{}}', NULL, NULL, NULL, NULL, 5, 6);
             INSERT INTO resource VALUES (4, 7, 'postgres', 'pool', 'app_01', 'ff', 2);"
        ))
        .unwrap();
        drop(old);

        let db = Db::open(&path).unwrap();
        let kept = db.resources(7).await.unwrap();
        assert_eq!((kept[0].instance.as_str(), kept[0].name.as_str(), kept[0].handle.as_str()), ("", "pool", "app_01"));
        let fresh = ResourceRow { handle: "app_02".into(), ..kept[0].clone() };
        assert_eq!(db.resource(7, fresh.clone()).await.unwrap().handle, "app_01", "the unnamed one is the old one");
        let second = ResourceRow { instance: "second".into(), ..fresh };
        assert_eq!(db.resource(7, second).await.unwrap().handle, "app_02");
        assert_eq!(db.deployment_ids().await.unwrap(), ["d3".to_owned()].into());

        let new = Db::open(&folder.path().join("new.db")).unwrap();
        assert_eq!(columns(&db.connection.lock().unwrap()), columns(&new.connection.lock().unwrap()));
        drop(db);
        assert_eq!(Db::open(&path).unwrap().resources(7).await.unwrap().len(), 2, "opened again, nothing is lost");
    }

    #[test]
    fn a_file_of_a_newer_server_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("platform.db");
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99; CREATE TABLE theirs (a);").unwrap();
        assert!(matches!(Db::open(&path), Err(DbError::Newer(99))));
        let left: u32 = Connection::open(&path).unwrap().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 99);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut db, &["CREATE TABLE a (b);", "CREATE TABLE c (d); not SQL"]).is_err());
        assert_eq!(columns(&db), []);
    }
}
