//! Gives projects the resources that their parameters ask for.
//!
//! Idempotent: asked again, it makes sure that the thing exists and runs, and returns the same connection data. It
//! never drops anything. Postgres is one cluster with a database and a role for each project ([`postgres`]); Redis is a
//! server for each project ([`redis`]), because a shared one shows tenants each other's keys. What the platform runs
//! itself starts when the first app asks ([`service`]).

mod postgres;
mod redis;
mod service;

use std::{collections::BTreeMap, io};

use platform_wire::ProjectName;
use shuttle_abi::{ResourceData, ResourceManifest};

use crate::db::{Db, DbError, ResourceRow};
pub(crate) use postgres::{Postgres, PostgresSource};
pub(crate) use redis::RedisServers;

/// Why a resource could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    #[error("the parameter `{name}` asks for a resource of type `{kind}`, which this server does not provide")]
    Unknown { name: String, kind: String },
    #[error("the parameter `{name}` has the option `{option}`, which this server cannot honour")]
    Option { name: String, option: String },
    #[error("{what} is not installed on the server")]
    NotInstalled { what: &'static str, packages: &'static str },
    #[error("{what} does not run: {why}")]
    NotRunning { what: &'static str, why: String },
    #[error("Postgres: {0}")]
    Postgres(String),
    #[error(transparent)]
    Db(#[from] DbError),
    #[error("preparing a resource: {0}")]
    Io(#[from] io::Error),
}

impl ProvisionError {
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::Unknown { .. } | Self::Option { .. } => {
                "the app's shuttle-service may be newer than the server: update platform-server".into()
            }
            Self::NotInstalled { packages, .. } => {
                format!("on the server: apt install {packages}; it is found with the next deployment, without a restart")
            }
            Self::NotRunning { .. } | Self::Postgres(_) | Self::Db(_) | Self::Io(_) => "the server's log has more".into(),
        }
    }
}

/// All provisioners.
#[derive(Debug)]
pub(crate) struct Provisioner {
    pub(crate) db: Db,
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisServers,
}

impl Provisioner {
    /// Connection data for every parameter, by the parameter's name.
    pub(crate) async fn provide(
        &self,
        project_id: i64,
        project: &ProjectName,
        wanted: &[ResourceManifest],
    ) -> Result<BTreeMap<String, ResourceData>, ProvisionError> {
        let mut given = BTreeMap::new();
        for resource in wanted {
            if let Some(option) = resource.options.keys().next() {
                return Err(ProvisionError::Option { name: resource.name.clone(), option: option.clone() });
            }
            let row = || async {
                let fresh = ResourceRow {
                    kind: resource.kind.clone(),
                    name: resource.name.clone(),
                    handle: format!("app_{}", secret(8)?),
                    password: secret(24)?,
                };
                Ok::<_, ProvisionError>(self.db.resource(project_id, fresh).await?)
            };
            let url = match resource.kind.as_str() {
                "postgres" => self.postgres.provide(&row().await?).await?,
                "redis" => self.redis.provide(project_id, project, &row().await?).await?,
                _ => return Err(ProvisionError::Unknown { name: resource.name.clone(), kind: resource.kind.clone() }),
            };
            given.insert(resource.name.clone(), ResourceData { kind: resource.kind.clone(), url, ..ResourceData::default() });
        }
        Ok(given)
    }

    /// Stops what the platform runs itself, keeping its data.
    pub(crate) async fn stop(&self) {
        tokio::join!(self.postgres.stop(), self.redis.stop());
    }
}

/// So many random bytes, in hexadecimal: safe in URLs, SQL and configuration files.
pub(crate) fn secret(bytes: usize) -> io::Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The first of `names` in any of `folders`.
fn find_program(folders: impl IntoIterator<Item = std::path::PathBuf>, names: &[&str]) -> Option<std::path::PathBuf> {
    folders.into_iter().find_map(|folder| names.iter().map(|name| folder.join(name)).find(|path| path.is_file()))
}

/// The folders of the server's own `PATH`, and those where Debian puts servers.
fn program_folders() -> Vec<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(["/usr/local/bin", "/usr/bin", "/usr/sbin"].map(Into::into)).collect()
}
