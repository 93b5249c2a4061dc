//! Gives projects the resources that their parameters ask for.
//!
//! Idempotent: asked again, it makes sure that the thing exists and runs, and returns the same connection data. It
//! never drops anything. What a parameter may ask for is read in [`wish`].
//!
//! Postgres is one cluster with a database and a role for each project ([`postgres`]), or several, by name; Redis is a server
//! for each project ([`redis`]), because a shared one shows tenants each other's keys. What the platform runs itself starts
//! when the first app asks ([`service`]). A folder that persists is the app's own ([`persist`]); secrets come out of the
//! [`Vault`].

mod cluster;
mod extensions;
mod locks;
mod persist;
mod postgres;
mod redis;
mod service;
mod session;
mod wish;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    time::Duration,
};

use shuttle_abi::{ResourceData, ResourceManifest};

use crate::{
    db::{Db, DbError, ResourceRow},
    deployment::Meta,
    vault::{Vault, VaultError},
};
pub(crate) use cluster::OwnCluster;
pub(crate) use persist::PersistFolders;
pub(crate) use postgres::{Postgres, PostgresSource};
pub(crate) use redis::RedisServers;
use wish::Wish;

/// Why a resource could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    #[error("the parameter `{name}` asks for a resource of type `{kind}`, which this server does not provide")]
    Unknown { name: String, kind: String },
    #[error("the parameter `{name}` has the option `{option}`, which this server cannot honour")]
    Option { name: String, option: String },
    #[error("the parameter `{name}` has the option `{option}`, which has to be {wanted}")]
    BadOption { name: String, option: &'static str, wanted: String },
    #[error("the parameter `{name}` requires secrets that the project does not have: {}", list(.missing))]
    MissingSecrets { name: String, missing: Vec<String> },
    #[error("the Postgres of this server has no extension `{name}`; it has {}", list(.available))]
    NoExtension { name: String, available: Vec<String> },
    #[error("the Postgres extension `{name}` is not one that an app may have here; these are: {}", list(.allowed))]
    ExtensionNotAllowed { name: String, allowed: Vec<String> },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{what} is not installed on the server")]
    NotInstalled { what: &'static str, packages: &'static str },
    #[error("{what} does not run: {why}")]
    NotRunning { what: &'static str, why: String },
    #[error("{0}")]
    Postgres(String),
    #[error("{server} cannot be reached: {why}")]
    Unreachable { server: String, why: String },
    #[error("{server} gave no answer within {} s", .limit.as_secs_f32())]
    NoAnswer { server: String, limit: Duration },
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
            Self::BadOption { option, .. } => format!("change `{option}` in the attribute on the parameter"),
            Self::MissingSecrets { missing, .. } => {
                let lines: Vec<String> = missing.iter().map(|name| format!("`{name} = \"…\"`")).collect();
                format!("add {} to Secrets.toml beside the package's Cargo.toml and deploy again", lines.join(" and "))
            }
            Self::NoExtension { .. } => {
                "install it on the server: Postgres' own are in the package postgresql-contrib, others in packages of their own"
                    .into()
            }
            Self::ExtensionNotAllowed { name, .. } => format!(
                "whoever runs the server can allow it: platform-server serve --postgres-extensions {name}; it must be safe for apps that share one Postgres"
            ),
            Self::Vault(error) => error.hint(),
            Self::Db(DbError::TooManyResources) => "use the names that earlier deployments used".into(),
            Self::NotInstalled { packages, .. } => {
                format!("on the server: apt install {packages}; it is found with the next deployment, without a restart")
            }
            Self::Unreachable { .. } => {
                "whoever runs the server: see whether that Postgres runs, and whether --postgres-url is still right; then try again".into()
            }
            Self::NoAnswer { .. } => {
                "whoever runs the server: see whether it hangs or is overloaded (its log, `ps`), and start it again; if it only needs longer, raise --database-timeout".into()
            }
            Self::NotRunning { .. } | Self::Postgres(_) | Self::Db(_) | Self::Io(_) => "the server's log has more".into(),
        }
    }
}

/// Names for people.
fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    }
}

/// All provisioners.
#[derive(Debug)]
pub(crate) struct Provisioner {
    pub(crate) db: Db,
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisServers,
    pub(crate) persist: PersistFolders,
    pub(crate) vault: Vault,
}

impl Provisioner {
    /// What every parameter gets, by the parameter's name.
    pub(crate) async fn provide(
        &self,
        meta: &Meta,
        wanted: &[ResourceManifest],
    ) -> Result<BTreeMap<String, ResourceData>, ProvisionError> {
        let wishes: Vec<(&ResourceManifest, Wish)> =
            wanted.iter().map(|resource| Ok((resource, Wish::read(resource)?))).collect::<Result<_, ProvisionError>>()?;
        // First what can only be mended by the user: nothing is made for an app that will not start.
        let secrets = self.secrets(meta, &wishes).await?;
        let mut given = BTreeMap::new();
        for (resource, wish) in &wishes {
            let mut data = ResourceData { kind: resource.kind.clone(), ..ResourceData::default() };
            match wish {
                Wish::Postgres { name, extensions } => {
                    data.url = self.postgres.provide(&self.row(meta, resource, name).await?, extensions).await?;
                }
                Wish::Redis { name } => {
                    let row = self.row(meta, resource, name).await?;
                    data.url = self.redis.provide(meta.project_id, &meta.project, &row).await?;
                }
                Wish::Persist => {
                    self.row(meta, resource, "").await?;
                    data.url = self.persist.provide(meta.project_id).await?.display().to_string();
                }
                Wish::Secrets { .. } => data.values.clone_from(&secrets),
                // What it tells is in every launch.
                Wish::Metadata => {}
            }
            given.insert(resource.name.clone(), data);
        }
        Ok(given)
    }

    /// The secrets of the deployment, if it asks for any; an error if one that it requires is missing.
    async fn secrets(
        &self,
        meta: &Meta,
        wishes: &[(&ResourceManifest, Wish)],
    ) -> Result<BTreeMap<String, String>, ProvisionError> {
        let asked = wishes.iter().filter_map(|(resource, wish)| match wish {
            Wish::Secrets { required } => Some((resource, required)),
            _ => None,
        });
        let asked: Vec<_> = asked.collect();
        let secrets = match &meta.secrets {
            Some(id) if !asked.is_empty() => self.vault.open(meta.project_id, id).await?,
            _ => BTreeMap::new(),
        };
        for (resource, required) in asked {
            let missing: BTreeSet<&String> = required.iter().filter(|name| !secrets.contains_key(*name)).collect();
            if !missing.is_empty() {
                let missing = missing.into_iter().cloned().collect();
                return Err(ProvisionError::MissingSecrets { name: resource.name.clone(), missing });
            }
        }
        Ok(secrets)
    }

    /// The project's row for a resource of this name; credentials are made with it, once.
    async fn row(&self, meta: &Meta, resource: &ResourceManifest, name: &str) -> Result<ResourceRow, ProvisionError> {
        let fresh = ResourceRow {
            kind: resource.kind.clone(),
            instance: name.to_owned(),
            name: resource.name.clone(),
            handle: format!("app_{}", secret(8)?),
            password: secret(24)?,
        };
        Ok(self.db.resource(meta.project_id, fresh).await?)
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

/// Random bytes as they are.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
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
