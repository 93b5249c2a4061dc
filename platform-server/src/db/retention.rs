//! Which deployments are too old to be kept, and what still refers to files.

use std::collections::HashSet;

use platform_wire::ProjectName;
use rusqlite::params;

use super::{Db, DbError, secrets::remove_unused};

/// What rows still refer to.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) archives: HashSet<String>,
    pub(crate) artifacts: HashSet<String>,
}

/// Deployments at rest whose files are there, each with its place among those of its project, the one that last served or
/// ended first. Those of a deleted project are all out of place.
const AT_REST: &str = "SELECT seq, id, iif(state = 'deleted', ?1 + 1, row_number() OVER (
        PARTITION BY project_id, state = 'deleted' ORDER BY updated_at DESC, seq DESC)) AS place
    FROM deployment
    WHERE files_removed = 0 AND (state IN ('error', 'deleted') OR (state = 'built' AND superseded_by IS NOT NULL))";

impl Db {
    /// Marks deployments as without files: those at rest beyond the newest `keep` of each project, and those of deleted
    /// projects, but none of `in_use`. Their ids; their secrets are gone when this returns.
    pub(crate) async fn expire(&self, keep: u32, in_use: HashSet<String>) -> Result<Vec<String>, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let expired = transaction
                .prepare(&format!("SELECT seq, id FROM ({AT_REST}) WHERE place > ?1"))?
                .query_map([keep], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<Vec<(i64, String)>, _>>()?;
            let mut ids = Vec::new();
            for (seq, id) in expired {
                if !in_use.contains(&id) {
                    transaction.execute("UPDATE deployment SET files_removed = 1 WHERE seq = ?1", [seq])?;
                    ids.push(id);
                }
            }
            let projects = transaction
                .prepare("SELECT DISTINCT project_id FROM secret_set")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            for project_id in projects {
                remove_unused(&transaction, project_id)?;
            }
            transaction.commit()?;
            Ok(ids)
        })
        .await
    }

    /// The digests of all files that some deployment still needs.
    pub(crate) async fn kept_files(&self) -> Result<Kept, DbError> {
        self.call(|db| {
            let digests = |column: &str| -> Result<Vec<String>, DbError> {
                let sql = format!("SELECT DISTINCT {column} FROM deployment WHERE files_removed = 0 AND {column} IS NOT NULL");
                let found = db.prepare(&sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok(found)
            };
            let artifacts = [digests("artifact")?, digests("optimised")?].concat();
            Ok(Kept { archives: digests("archive")?.into_iter().collect(), artifacts: artifacts.into_iter().collect() })
        })
        .await
    }

    /// Projects that were deleted before this time.
    pub(crate) async fn deleted_before(&self, time_ms: i64) -> Result<Vec<ProjectName>, DbError> {
        self.call(move |db| {
            let mut statement = db.prepare("SELECT name FROM project WHERE deleted_at < ?1")?;
            let names = statement.query_map(params![time_ms], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            // One that is no name has no log.
            Ok(names.into_iter().filter_map(|name| name.parse().ok()).collect())
        })
        .await
    }
}
