//! Rows of `resource`: what a project was given, with credentials that no deployment changes.

use platform_wire::Resource;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{Db, DbError, now_ms};

/// Most resources that a project may have, those of its earlier deployments included.
pub(crate) const MAX_RESOURCES: usize = 32;

/// One resource of one project.
#[derive(Clone)]
pub(crate) struct ResourceRow {
    pub(crate) kind: String,
    /// The option `name` of its parameters; empty without one.
    pub(crate) instance: String,
    /// The parameter's name when it was first asked for.
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

impl ResourceRow {
    /// As a client sees it.
    pub(crate) fn to_wire(&self) -> Resource {
        let name = if self.instance.is_empty() { &self.name } else { &self.instance };
        Resource { name: name.clone(), kind: self.kind.clone() }
    }
}

fn row(row: &Row<'_>) -> rusqlite::Result<ResourceRow> {
    Ok(ResourceRow {
        kind: row.get("kind")?,
        instance: row.get("instance")?,
        name: row.get("name")?,
        handle: row.get("handle")?,
        password: row.get("password")?,
    })
}

/// All resources of a project, oldest first.
pub(super) fn of_project(db: &Connection, project_id: i64) -> Result<Vec<ResourceRow>, DbError> {
    let mut statement = db.prepare("SELECT * FROM resource WHERE project_id = ?1 ORDER BY id")?;
    let rows = statement.query_map([project_id], row)?.collect::<Result<Vec<_>, _>>()?;
    Ok(rows)
}

impl Db {
    /// The project's resource of this kind and name; stored now, with `fresh`'s credentials, if it is asked for the first
    /// time.
    pub(crate) async fn resource(&self, project_id: i64, fresh: ResourceRow) -> Result<ResourceRow, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let found = transaction
                .query_row(
                    "SELECT * FROM resource WHERE project_id = ?1 AND kind = ?2 AND instance = ?3",
                    params![project_id, fresh.kind, fresh.instance],
                    row,
                )
                .optional()?;
            if let Some(found) = found {
                return Ok(found);
            }
            if of_project(&transaction, project_id)?.len() >= MAX_RESOURCES {
                return Err(DbError::TooManyResources);
            }
            transaction.execute(
                "INSERT INTO resource (project_id, kind, instance, name, handle, password, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![project_id, fresh.kind, fresh.instance, fresh.name, fresh.handle, fresh.password, now_ms()],
            )?;
            transaction.commit()?;
            Ok(fresh)
        })
        .await
    }

    /// All resources of a project, oldest first.
    pub(crate) async fn resources(&self, project_id: i64) -> Result<Vec<ResourceRow>, DbError> {
        self.call(move |db| of_project(db, project_id)).await
    }
}
