//! Rows of `secret_set`: what a project's secrets were at a time, encrypted.

use platform_wire::ProjectName;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Db, DbError, now_ms};

/// Sets of a project that are kept though no deployment has them yet: two clients may have sent theirs at the same time,
/// and each is about to deploy with its own.
const NEWEST: u32 = 8;

impl Db {
    /// The id of a project's row, made if it is missing. A deleted project stays deleted.
    pub(crate) async fn project_id(&self, name: ProjectName) -> Result<i64, DbError> {
        self.call(move |db| {
            db.execute(
                "INSERT INTO project (name, created_at) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                params![name.as_str(), now_ms()],
            )?;
            Ok(db.query_row("SELECT id FROM project WHERE name = ?1", [name.as_str()], |row| row.get(0))?)
        })
        .await
    }

    /// Stores a new set.
    pub(crate) async fn add_secrets(&self, project_id: i64, id: String, sealed: Vec<u8>) -> Result<(), DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "INSERT INTO secret_set (id, project_id, sealed, created_at) VALUES (?1, ?2, ?3, ?4)",
                params![id, project_id, sealed, now_ms()],
            )?;
            remove_unused(&transaction, project_id)?;
            Ok(transaction.commit()?)
        })
        .await
    }

    /// Whether any project has a set.
    pub(crate) async fn has_secrets(&self) -> Result<bool, DbError> {
        self.call(|db| Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM secret_set)", [], |row| row.get(0))?)).await
    }

    /// A set of the project as it was stored; `None` where there is none with this id.
    pub(crate) async fn secrets(&self, project_id: i64, id: String) -> Result<Option<Vec<u8>>, DbError> {
        self.call(move |db| {
            let sql = "SELECT sealed FROM secret_set WHERE project_id = ?1 AND id = ?2";
            Ok(db.query_row(sql, params![project_id, id], |row| row.get(0)).optional()?)
        })
        .await
    }
}

/// Removes sets that no deployment will be started with again.
pub(super) fn remove_unused(db: &Connection, project_id: i64) -> Result<(), DbError> {
    db.execute(
        "DELETE FROM secret_set WHERE project_id = ?1
         AND id NOT IN (SELECT secrets FROM deployment
                        WHERE project_id = ?1 AND secrets IS NOT NULL AND files_removed = 0 AND state <> 'deleted')
         AND seq NOT IN (SELECT seq FROM secret_set WHERE project_id = ?1 ORDER BY seq DESC LIMIT ?2)",
        params![project_id, NEWEST],
    )?;
    Ok(())
}

/// The set that a new deployment gets: the one it names, else the newest.
pub(super) fn choose(db: &Connection, project_id: i64, named: Option<String>) -> Result<Option<String>, DbError> {
    let Some(named) = named else {
        let sql = "SELECT id FROM secret_set WHERE project_id = ?1 ORDER BY seq DESC LIMIT 1";
        return Ok(db.query_row(sql, [project_id], |row| row.get(0)).optional()?);
    };
    let sql = "SELECT EXISTS (SELECT 1 FROM secret_set WHERE project_id = ?1 AND id = ?2)";
    if db.query_row(sql, params![project_id, named], |row| row.get(0))? {
        Ok(Some(named))
    } else {
        Err(DbError::UnknownSecrets(named))
    }
}
