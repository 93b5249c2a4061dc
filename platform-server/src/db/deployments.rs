//! Rows of `project` and `deployment`.

#[cfg(test)]
mod tests;

use platform_wire::{ArchiveIndex, BuildMode, Failure, FailureKind, Origin, ProjectName, Resource, State};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::{Db, DbError, ResourceRow, now_ms, resources};
use crate::deployment::{Built, Deployed, Deployment, Digest, Failed, Loaded, Meta, Optimised, Queued};

/// A project that is not deleted.
#[derive(Debug, Clone)]
pub(crate) struct ProjectRow {
    pub(crate) id: i64,
    pub(crate) name: ProjectName,
    pub(crate) created_at_ms: i64,
}

/// What is stored when an archive has been accepted.
#[derive(Debug)]
pub(crate) struct NewDeployment {
    pub(crate) id: String,
    pub(crate) project: ProjectName,
    pub(crate) archive: Digest,
    pub(crate) index: ArchiveIndex,
    /// The set of secrets that it names, if it names one.
    pub(crate) secrets: Option<String>,
    pub(crate) build: BuildMode,
    /// Where it is from.
    pub(crate) origin: Origin,
}

/// A row that this server cannot read: a newer one has written it, or something has damaged it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) state: String,
    pub(crate) archive: String,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
    pub(crate) why: String,
}

const SELECT: &str = "SELECT d.*, p.name AS project_name FROM deployment d JOIN project p ON p.id = d.project_id";

/// What somebody drives, or has to: it is not at rest, and does not serve.
const UNDER_WAY: &str = "(state IN ('queued', 'loaded') OR (state = 'built' AND superseded_by IS NULL))";

fn corrupt(what: impl std::fmt::Display) -> DbError {
    DbError::Corrupt(what.to_string())
}

fn project(row: &Row<'_>) -> Result<ProjectRow, DbError> {
    let name: String = row.get("name")?;
    Ok(ProjectRow { id: row.get("id")?, name: name.parse().map_err(corrupt)?, created_at_ms: row.get("created_at")? })
}

fn deployment(row: &Row<'_>) -> Result<Deployment, DbError> {
    let text = |column: &str| row.get::<_, String>(column);
    let meta = Meta {
        seq: row.get("seq")?,
        id: text("id")?,
        project_id: row.get("project_id")?,
        project: text("project_name")?.parse().map_err(corrupt)?,
        archive: text("archive")?.parse().map_err(corrupt)?,
        index: serde_json::from_str(&text("archive_index")?).map_err(corrupt)?,
        secrets: row.get("secrets")?,
        build: text("build")?.parse().map_err(corrupt)?,
        created_at_ms: row.get("created_at")?,
        updated_at_ms: row.get("updated_at")?,
    };
    let built = |meta: Meta| -> Result<Built, DbError> {
        Ok(Built {
            optimised: optimised(row, meta.build)?,
            meta,
            artifact: text("artifact")?.parse().map_err(corrupt)?,
            manifest: serde_json::from_str(&text("manifest")?).map_err(corrupt)?,
            superseded_by: row.get("superseded_by")?,
        })
    };
    Ok(match text("state")?.as_str() {
        "queued" => Deployment::Queued(Queued { meta }),
        "built" => Deployment::Built(built(meta)?),
        "loaded" => Deployment::Loaded(Loaded { built: built(meta)? }),
        "deployed" => Deployment::Deployed(Deployed { built: built(meta)? }),
        "error" => Deployment::Error(Failed { meta, failure: serde_json::from_str(&text("failure")?).map_err(corrupt)? }),
        "deleted" => Deployment::Deleted(meta),
        other => return Err(corrupt(format!("state `{other}`"))),
    })
}

fn optimised(row: &Row<'_>, build: BuildMode) -> Result<Optimised, DbError> {
    let (artifact, failure): (Option<String>, Option<String>) = (row.get("optimised")?, row.get("optimised_failure")?);
    Ok(match (build, artifact, failure) {
        (BuildMode::Fast | BuildMode::Optimised, ..) => Optimised::NotWanted,
        (BuildMode::Both, Some(artifact), _) => Optimised::Ready(artifact.parse().map_err(corrupt)?),
        (BuildMode::Both, None, Some(failure)) => Optimised::Failed(failure),
        (BuildMode::Both, None, None) => Optimised::Wanted,
    })
}

/// Every row for itself: one that cannot be read must not hide the others.
fn select_each(
    db: &Connection,
    rest: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Result<Deployment, Unreadable>>, DbError> {
    let mut statement = db.prepare(&format!("{SELECT} {rest}"))?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(match deployment(row) {
            Ok(deployment) => Ok(deployment),
            Err(error) => Err(Unreadable {
                id: row.get("id")?,
                project: row.get("project_name")?,
                state: row.get("state")?,
                archive: row.get("archive")?,
                created_at_ms: row.get("created_at")?,
                updated_at_ms: row.get("updated_at")?,
                why: error.to_string(),
            }),
        });
    }
    Ok(found)
}

/// All of them, or the first that cannot be read.
fn select(db: &Connection, rest: &str, params: impl rusqlite::Params) -> Result<Vec<Deployment>, DbError> {
    let found = select_each(db, rest, params)?.into_iter();
    found.map(|row| row.map_err(|unreadable| DbError::Unreadable(Box::new(unreadable)))).collect()
}

/// Writes `to` over the row, provided that it is still in the state `from`.
fn swap(db: &Connection, from: State, to: &Deployment) -> Result<(), DbError> {
    let built = match to {
        Deployment::Built(built) | Deployment::Loaded(Loaded { built }) | Deployment::Deployed(Deployed { built }) => Some(built),
        Deployment::Queued(_) | Deployment::Error(_) | Deployment::Deleted(_) => None,
    };
    let failure = match to {
        Deployment::Error(failed) => Some(serde_json::to_string(&failed.failure).map_err(corrupt)?),
        _ => None,
    };
    let manifest = built.map(|built| serde_json::to_string(&built.manifest)).transpose().map_err(corrupt)?;
    let changed = db.execute(
        "UPDATE deployment SET state = ?3, artifact = coalesce(?4, artifact), manifest = coalesce(?5, manifest),
                superseded_by = ?6, failure = ?7, updated_at = ?8, taken_up = iif(?3 = 'deployed', 0, taken_up)
         WHERE seq = ?1 AND state = ?2",
        params![
            to.meta().seq,
            from.as_str(),
            to.state().as_str(),
            built.map(|built| built.artifact.as_str()),
            manifest,
            built.and_then(|built| built.superseded_by.as_deref()),
            failure,
            now_ms()
        ],
    )?;
    if changed == 1 { Ok(()) } else { Err(DbError::Changed) }
}

fn serving(db: &Transaction<'_>, project_id: i64) -> Result<Option<Deployed>, DbError> {
    let found = select(db, "WHERE d.project_id = ?1 AND d.state = 'deployed'", [project_id])?;
    Ok(deployed(found))
}

/// The first that serves.
fn deployed(found: Vec<Deployment>) -> Option<Deployed> {
    found.into_iter().find_map(|deployment| match deployment {
        Deployment::Deployed(deployed) => Some(deployed),
        _ => None,
    })
}

impl Unreadable {
    /// As a client sees it.
    pub(crate) fn to_wire(&self, project: ProjectName, url: String) -> platform_wire::Deployment {
        let failure = Failure {
            kind: FailureKind::Internal,
            message: format!("the server cannot read what it has stored of this deployment: {}", self.why),
            hint: Some("deploy again; or run the platform-server that stored it, if that was a newer one".to_owned()),
            exit_status: None,
            log: Vec::new(),
        };
        platform_wire::Deployment {
            id: self.id.clone(),
            project,
            state: State::Error,
            url,
            archive_digest: self.archive.clone(),
            failure: Some(failure),
            created_at_ms: self.created_at_ms.unsigned_abs(),
            updated_at_ms: self.updated_at_ms.unsigned_abs(),
        }
    }
}

impl Db {
    /// Stores a deployment in its first state; makes its project, or takes it back from deletion, if need be.
    pub(crate) async fn create_deployment(&self, new: NewDeployment) -> Result<Queued, DbError> {
        self.call(move |db| {
            let now = now_ms();
            let transaction = db.transaction()?;
            transaction.execute(
                "INSERT INTO project (name, created_at) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET deleted_at = NULL",
                params![new.project.as_str(), now],
            )?;
            let project_id: i64 =
                transaction.query_row("SELECT id FROM project WHERE name = ?1", [new.project.as_str()], |row| row.get(0))?;
            let secrets = super::secrets::choose(&transaction, project_id, new.secrets)?;
            let index = serde_json::to_string(&new.index).map_err(corrupt)?;
            let origin = (!new.origin.is_unknown()).then(|| new.origin.to_query());
            transaction.execute(
                "INSERT INTO deployment
                    (id, project_id, state, archive, archive_index, secrets, build, origin, created_at, updated_at)
                 VALUES (?1, ?2, 'queued', ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                params![new.id, project_id, new.archive.as_str(), index, secrets, new.build.as_str(), origin, now],
            )?;
            let stored = select(&transaction, "WHERE d.id = ?1", [&new.id])?;
            transaction.commit()?;
            match stored.into_iter().next() {
                Some(Deployment::Queued(queued)) => Ok(queued),
                other => Err(corrupt(format!("a new deployment reads back as {other:?}"))),
            }
        })
        .await
    }

    /// Compare and swap: [`DbError::Changed`] when the row is not in state `from` any more.
    pub(crate) async fn swap(&self, from: State, to: Deployment) -> Result<(), DbError> {
        self.call(move |db| swap(db, from, &to)).await
    }

    /// `loaded` becomes what the project serves, and what it served until now goes back to `Built`: in one step, and also
    /// where that cannot be read.
    pub(crate) async fn go_live(&self, loaded: Loaded) -> Result<Deployed, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let meta = &loaded.built.meta;
            transaction.execute(
                "UPDATE deployment SET state = 'built', superseded_by = ?2, updated_at = ?3
                 WHERE project_id = ?1 AND state = 'deployed'",
                params![meta.project_id, meta.id, now_ms()],
            )?;
            let deployed = loaded.deployed();
            swap(&transaction, State::Loaded, &Deployment::Deployed(deployed.clone()))?;
            transaction.commit()?;
            Ok(deployed)
        })
        .await
    }

    /// Counts that a server begins to work on a deployment. How many have that did not end it.
    pub(crate) async fn take_up(&self, seq: i64) -> Result<u32, DbError> {
        let sql = "UPDATE deployment SET taken_up = taken_up + 1 WHERE seq = ?1 RETURNING taken_up";
        self.call(move |db| Ok(db.query_row(sql, [seq], |row| row.get(0))?)).await
    }

    /// Takes that back.
    pub(crate) async fn put_back(&self, seq: i64) -> Result<(), DbError> {
        let sql = "UPDATE deployment SET taken_up = max(taken_up - 1, 0) WHERE seq = ?1";
        self.call(move |db| Ok(db.execute(sql, [seq]).map(drop)?)).await
    }

    /// A deployment whose artifact is gone goes back to where it is built.
    pub(crate) async fn requeue(&self, seq: i64, from: State) -> Result<Queued, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let changed = transaction.execute(
                "UPDATE deployment SET state = 'queued', artifact = NULL, manifest = NULL, superseded_by = NULL,
                        optimised = NULL, optimised_failure = NULL, updated_at = ?3
                 WHERE seq = ?1 AND state = ?2",
                params![seq, from.as_str(), now_ms()],
            )?;
            let Some(Deployment::Queued(queued)) =
                select(&transaction, "WHERE d.seq = ?1", [seq])?.pop().filter(|_| changed == 1)
            else {
                return Err(DbError::Changed);
            };
            transaction.commit()?;
            Ok(queued)
        })
        .await
    }

    /// The optimised artifact is gone: it is to be made again.
    pub(crate) async fn forget_optimised(&self, seq: i64) -> Result<(), DbError> {
        self.call(move |db| Ok(db.execute("UPDATE deployment SET optimised = NULL WHERE seq = ?1", [seq]).map(drop)?)).await
    }

    /// Stores how the optimised build of what is deployed ended. [`DbError::Changed`] when it does not serve any more.
    pub(crate) async fn set_optimised(&self, seq: i64, ended: Result<Digest, String>) -> Result<(), DbError> {
        self.call(move |db| {
            let (artifact, failure) = match &ended {
                Ok(digest) => (Some(digest.as_str()), None),
                Err(why) => (None, Some(why)),
            };
            // When it went live is what its age is told by, so that time stays.
            let sql = "UPDATE deployment SET optimised = ?2, optimised_failure = ?3, taken_up = 0 WHERE seq = ?1 AND state = 'deployed'";
            if db.execute(sql, params![seq, artifact, failure])? == 1 { Ok(()) } else { Err(DbError::Changed) }
        })
        .await
    }

    /// What serves and still waits for its optimised build; the one that has waited longest.
    pub(crate) async fn to_optimise(&self) -> Result<Option<Built>, DbError> {
        self.call(|db| {
            let found = select_each(
                db,
                "WHERE d.state = 'deployed' AND d.build = 'both' AND d.optimised IS NULL AND d.optimised_failure IS NULL
                 ORDER BY d.updated_at",
                [],
            )?;
            Ok(deployed(found.into_iter().flatten().collect()).map(|deployed| deployed.built))
        })
        .await
    }

    /// What the project serves, where that is made of this very archive, secrets and kind of build, and nothing newer is on
    /// its way.
    pub(crate) async fn same(
        &self,
        project: ProjectName,
        archive: Digest,
        secrets: Option<String>,
        build: BuildMode,
    ) -> Result<Option<Deployed>, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let Some(project) = find_project(&transaction, &project)? else { return Ok(None) };
            let serving = match serving(&transaction, project.id) {
                Ok(Some(serving)) => serving,
                // It is not known what that is made of.
                Ok(None) | Err(DbError::Unreadable(_)) => return Ok(None),
                Err(error) => return Err(error),
            };
            let secrets = super::secrets::choose(&transaction, project.id, secrets)?;
            let newer: bool = transaction.query_row(
                &format!("SELECT EXISTS (SELECT 1 FROM deployment WHERE project_id = ?1 AND seq > ?2 AND {UNDER_WAY})"),
                params![project.id, serving.built.meta.seq],
                |row| row.get(0),
            )?;
            let meta = &serving.built.meta;
            let same = !newer && meta.archive == archive && meta.secrets == secrets && meta.build == build;
            Ok(same.then_some(serving))
        })
        .await
    }

    /// Where a project's deployments are from: the one that serves, and the newest one. Unknown where there is no such
    /// project, or nobody said.
    pub(crate) async fn origin(&self, project: ProjectName) -> Result<Origin, DbError> {
        self.call(move |db| {
            let mut statement = db.prepare(
                "SELECT d.origin FROM deployment d JOIN project p ON p.id = d.project_id
                 WHERE p.name = ?1 AND p.deleted_at IS NULL AND d.state <> 'deleted' AND d.origin IS NOT NULL
                   AND (d.state = 'deployed' OR d.seq = (SELECT max(seq) FROM deployment WHERE project_id = p.id))
                 ORDER BY d.state = 'deployed' DESC",
            )?;
            let found = statement.query_map([project.as_str()], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(found.iter().map(|text| Origin::from_query(text)).fold(Origin::default(), Origin::or))
        })
        .await
    }

    /// When a project was deleted, if it was.
    pub(crate) async fn deleted_at(&self, project: ProjectName) -> Result<Option<i64>, DbError> {
        self.call(move |db| {
            let sql = "SELECT deleted_at FROM project WHERE name = ?1";
            Ok(db.query_row(sql, [project.as_str()], |row| row.get(0)).optional()?.flatten())
        })
        .await
    }

    /// Marks a project and all its deployments deleted. `None` where there is no such project.
    pub(crate) async fn delete_project(&self, name: ProjectName) -> Result<Option<(Vec<String>, Vec<Resource>)>, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            let Some(project) = find_project(&transaction, &name)? else { return Ok(None) };
            let ids = transaction
                .prepare("SELECT id FROM deployment WHERE project_id = ?1 AND state <> 'deleted'")?
                .query_map([project.id], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            let now = now_ms();
            transaction.execute(
                "UPDATE deployment SET state = 'deleted', failure = NULL, updated_at = ?2 WHERE project_id = ?1 AND state <> 'deleted'",
                params![project.id, now],
            )?;
            transaction.execute("UPDATE project SET deleted_at = ?2 WHERE id = ?1", params![project.id, now])?;
            let kept = resources::of_project(&transaction, project.id)?.iter().map(ResourceRow::to_wire).collect();
            transaction.commit()?;
            Ok(Some((ids, kept)))
        })
        .await
    }

    pub(crate) async fn project(&self, name: ProjectName) -> Result<Option<ProjectRow>, DbError> {
        self.call(move |db| find_project(db, &name)).await
    }

    /// All projects that are not deleted, by name.
    pub(crate) async fn projects(&self) -> Result<Vec<ProjectRow>, DbError> {
        self.call(|db| {
            let mut statement = db.prepare("SELECT * FROM project WHERE deleted_at IS NULL ORDER BY name")?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                match project(row) {
                    Ok(project) => found.push(project),
                    Err(error) => tracing::error!(%error, "a project is left out"),
                }
            }
            Ok(found)
        })
        .await
    }

    pub(crate) async fn deployment(&self, id: String) -> Result<Option<Deployment>, DbError> {
        self.call(move |db| Ok(select(db, "WHERE d.id = ?1", [id])?.pop())).await
    }

    /// The newest deployments of a project, newest first.
    pub(crate) async fn deployments(&self, project_id: i64, most: u32) -> Result<Vec<Result<Deployment, Unreadable>>, DbError> {
        self.call(move |db| select_each(db, "WHERE d.project_id = ?1 ORDER BY d.seq DESC LIMIT ?2", params![project_id, most]))
            .await
    }

    /// Age and id of what the project serves, whether it can be read or not.
    pub(crate) async fn serving_age(&self, project_id: i64) -> Result<Option<(i64, String)>, DbError> {
        let sql = "SELECT seq, id FROM deployment WHERE project_id = ?1 AND state = 'deployed'";
        self.call(move |db| Ok(db.query_row(sql, [project_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)).await
    }

    /// What the project serves.
    pub(crate) async fn serving(&self, project_id: i64) -> Result<Option<Deployed>, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            serving(&transaction, project_id)
        })
        .await
    }

    /// The ids of all deployments that have files.
    pub(crate) async fn deployment_ids(&self) -> Result<std::collections::HashSet<String>, DbError> {
        self.call(|db| {
            let mut statement = db.prepare("SELECT id FROM deployment WHERE files_removed = 0")?;
            let ids = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(ids)
        })
        .await
    }

    /// Every deployment that is not at rest, oldest first: what a server that starts has to take up.
    pub(crate) async fn unfinished(&self) -> Result<Vec<Result<Deployment, Unreadable>>, DbError> {
        self.call(|db| select_each(db, &format!("WHERE d.state = 'deployed' OR {UNDER_WAY} ORDER BY d.seq"), [])).await
    }
}

fn find_project(db: &Connection, name: &ProjectName) -> Result<Option<ProjectRow>, DbError> {
    let mut statement = db.prepare("SELECT * FROM project WHERE name = ?1 AND deleted_at IS NULL")?;
    let found = statement.query_row([name.as_str()], |row| Ok(project(row))).optional()?;
    found.transpose()
}
