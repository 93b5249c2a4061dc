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

    /// The project's newest set, as it was stored, and its id.
    pub(crate) async fn newest_secrets(&self, project_id: i64) -> Result<Option<(String, Vec<u8>)>, DbError> {
        self.call(move |db| {
            let sql = "SELECT id, sealed FROM secret_set WHERE project_id = ?1 ORDER BY seq DESC LIMIT 1";
            Ok(db.query_row(sql, [project_id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        })
        .await
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

#[cfg(test)]
mod tests {
    use platform_wire::{BuildMode, Failure, FailureKind, State};

    use super::*;
    use crate::{
        db::NewDeployment,
        deployment::{Deployment, Digest, Queued},
    };

    fn open() -> (tempfile::TempDir, Db) {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("platform.db")).unwrap();
        (folder, db)
    }

    fn name(name: &str) -> ProjectName {
        name.parse().unwrap()
    }

    async fn deploy(db: &Db, id: &str, project: &str, secrets: Option<&str>) -> Result<Queued, DbError> {
        let index = r#"{"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
            "sdk_version": "0.1.0", "cli_version": "0.1.0"}"#;
        db.create_deployment(NewDeployment {
            id: id.into(),
            project: name(project),
            archive: Digest::new(&[0; 32]),
            index: serde_json::from_str(index).unwrap(),
            secrets: secrets.map(str::to_owned),
            build: BuildMode::Fast,
            origin: platform_wire::Origin::default(),
        })
        .await
    }

    #[tokio::test]
    async fn a_deployment_gets_the_set_that_it_names_or_the_newest_and_keeps_it() {
        let (_folder, db) = open();
        assert_eq!(deploy(&db, "d0", "app", None).await.unwrap().meta.secrets, None);
        let project = db.project_id(name("app")).await.unwrap();
        for id in ["s1", "s2"] {
            db.add_secrets(project, id.into(), vec![1]).await.unwrap();
        }
        assert_eq!(deploy(&db, "d1", "app", Some("s1")).await.unwrap().meta.secrets.as_deref(), Some("s1"));
        assert_eq!(deploy(&db, "d2", "app", None).await.unwrap().meta.secrets.as_deref(), Some("s2"));
        db.add_secrets(project, "s3".into(), vec![1]).await.unwrap();
        let kept = db.deployment("d2".into()).await.unwrap().unwrap();
        assert_eq!(kept.meta().secrets.as_deref(), Some("s2"));
        // Another project's is none of its own, and nothing is left of what was refused.
        for (project, id) in [("other", "s1"), ("app", "s9")] {
            let refused = deploy(&db, "d3", project, Some(id)).await;
            assert!(matches!(refused, Err(DbError::UnknownSecrets(named)) if named == id));
        }
        assert!(db.project(name("other")).await.unwrap().is_none());
        assert!(db.deployment("d3".into()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn sets_go_that_nobody_will_start_with() {
        let (_folder, db) = open();
        let project = db.project_id(name("app")).await.unwrap();
        db.add_secrets(project, "used".into(), vec![1]).await.unwrap();
        let queued = deploy(&db, "d1", "app", None).await.unwrap();
        db.add_secrets(project, "unused".into(), vec![1]).await.unwrap();
        for number in 0..NEWEST {
            db.add_secrets(project, format!("newer{number}"), vec![1]).await.unwrap();
        }
        let there = async |id: &str| db.secrets(project, id.into()).await.unwrap().is_some();
        assert!(there("used").await && !there("unused").await && there("newer0").await);
        let failure = Failure { kind: FailureKind::Build, message: "no".into(), hint: None, exit_status: None, log: Vec::new() };
        db.swap(State::Queued, Deployment::Error(queued.failed(failure))).await.unwrap();
        db.expire(0, ["d1".to_owned()].into()).await.unwrap();
        assert!(there("used").await, "its deployment's files are in use");
        assert_eq!(db.expire(0, Default::default()).await.unwrap(), ["d1"]);
        assert!(!there("used").await && there("newer0").await);
        assert_eq!(db.deployment("d1".into()).await.unwrap().unwrap().meta().secrets, None);
    }

    #[tokio::test]
    async fn a_deleted_project_stays_deleted_and_keeps_its_newest_secrets() {
        let (_folder, db) = open();
        deploy(&db, "d1", "app", None).await.unwrap();
        let project = db.project_id(name("app")).await.unwrap();
        db.delete_project(name("app")).await.unwrap();
        db.add_secrets(db.project_id(name("app")).await.unwrap(), "s1".into(), vec![1]).await.unwrap();
        assert!(db.project(name("app")).await.unwrap().is_none());
        let queued = deploy(&db, "d2", "app", None).await.unwrap();
        assert_eq!((queued.meta.project_id, queued.meta.secrets.as_deref()), (project, Some("s1")));
    }
}
