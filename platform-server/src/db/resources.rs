//! Rows of `resource`: what a project was given, with credentials that no deployment changes.

use rusqlite::{OptionalExtension, params};

use super::{Db, DbError, now_ms};

/// One resource of one project.
#[derive(Clone)]
pub(crate) struct ResourceRow {
    pub(crate) kind: String,
    pub(crate) name: String,
    /// Name of database and role, or of whatever the resource is made of.
    pub(crate) handle: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for ResourceRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResourceRow").field("kind", &self.kind).field("name", &self.name).finish_non_exhaustive()
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ResourceRow> {
    Ok(ResourceRow { kind: row.get("kind")?, name: row.get("name")?, handle: row.get("handle")?, password: row.get("password")? })
}

impl Db {
    /// The project's resource of this kind; stored now, with `fresh`'s credentials, if it is asked for the first time.
    pub(crate) async fn resource(&self, project_id: i64, fresh: ResourceRow) -> Result<ResourceRow, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            transaction.execute(
                "INSERT INTO resource (project_id, kind, name, handle, password, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (project_id, kind) DO NOTHING",
                params![project_id, fresh.kind, fresh.name, fresh.handle, fresh.password, now_ms()],
            )?;
            let stored = transaction
                .query_row("SELECT * FROM resource WHERE project_id = ?1 AND kind = ?2", params![project_id, fresh.kind], row)
                .optional()?
                .ok_or_else(|| DbError::Corrupt("a resource vanished inside a transaction".into()))?;
            transaction.commit()?;
            Ok(stored)
        })
        .await
    }

    /// All resources of a project, oldest first.
    pub(crate) async fn resources(&self, project_id: i64) -> Result<Vec<ResourceRow>, DbError> {
        self.call(move |db| {
            let mut statement = db.prepare("SELECT * FROM resource WHERE project_id = ?1 ORDER BY id")?;
            let rows = statement.query_map([project_id], row)?.collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        })
        .await
    }
}
