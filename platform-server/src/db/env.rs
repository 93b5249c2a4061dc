//! Rows of `variable`: the environment variables that a project has on the server, whatever its deployments bring.

use platform_wire::{Env, EnvChange};
use rusqlite::{Connection, params};

use super::{Db, DbError};

impl Db {
    pub(crate) async fn env(&self, project_id: i64) -> Result<Env, DbError> {
        self.call(move |db| read(db, project_id)).await
    }

    /// All of a change, or, where the variables are too many then, nothing of it; all that there are now.
    pub(crate) async fn change_env(&self, project_id: i64, change: EnvChange) -> Result<Env, DbError> {
        self.call(move |db| {
            let transaction = db.transaction()?;
            for name in &change.unset {
                transaction.execute("DELETE FROM variable WHERE project_id = ?1 AND name = ?2", params![project_id, name])?;
            }
            for (name, value) in &change.set {
                let sql = "INSERT INTO variable VALUES (?1, ?2, ?3) ON CONFLICT (project_id, name) DO UPDATE SET value = ?3";
                transaction.execute(sql, params![project_id, name, value])?;
            }
            let env = read(&transaction, project_id)?;
            platform_wire::env::check(&env)?;
            transaction.commit()?;
            Ok(env)
        })
        .await
    }
}

fn read(db: &Connection, project_id: i64) -> Result<Env, DbError> {
    let mut statement = db.prepare("SELECT name, value FROM variable WHERE project_id = ?1")?;
    let rows = statement.query_map([project_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use platform_wire::{InvalidEnv, env::MAX_VARIABLES};

    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[tokio::test]
    async fn variables_are_set_and_unset_for_their_project_alone() {
        let folder = tempfile::tempdir().unwrap();
        let db = Db::open(&folder.path().join("platform.db")).unwrap();
        let [one, other] =
            [db.project_id("one".parse().unwrap()).await.unwrap(), db.project_id("other".parse().unwrap()).await.unwrap()];
        let set = |variables: &[(&str, &str)]| EnvChange { set: env(variables), unset: Vec::new() };
        db.change_env(one, set(&[("A", "1"), ("B", "")])).await.unwrap();
        let both = EnvChange { set: env(&[("A", "2")]), unset: vec!["A".into(), "B".into(), "ABSENT".into()] };
        assert_eq!(db.change_env(one, both).await.unwrap(), env(&[("A", "2")]));
        assert_eq!((db.env(one).await.unwrap(), db.env(other).await.unwrap()), (env(&[("A", "2")]), Env::new()));

        // What does not fit leaves everything as it was.
        let many =
            EnvChange { set: (0..MAX_VARIABLES).map(|number| (format!("V{number}"), String::new())).collect(), unset: vec![] };
        let refused = db.change_env(one, many.clone()).await;
        assert!(matches!(refused, Err(DbError::Env(InvalidEnv::TooMany(_)))), "{refused:?}");
        assert_eq!(db.env(one).await.unwrap(), env(&[("A", "2")]));
        assert!(db.change_env(one, EnvChange { unset: vec!["A".into()], ..many }).await.is_ok());
    }
}
