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
mod gate;
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
    listing::{self, names, shown},
    uids::Uids,
    vault::{Vault, VaultError},
};
pub(crate) use cluster::{MAX_APP_CONNECTIONS, OwnCluster};
pub(crate) use gate::most_of_one;
pub(crate) use persist::PersistFolders;
use postgres::Wanted;
pub(crate) use postgres::{Postgres, PostgresLimits, PostgresSource};
pub(crate) use redis::RedisServers;
use wish::Wish;

/// Why a resource could not be given.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProvisionError {
    #[error("the parameter `{}` asks for a resource of type `{}`, which this server does not provide", shown(.name), shown(.kind))]
    Unknown { name: String, kind: String },
    #[error("the parameter `{}` has the option `{}`, which this server cannot honour", shown(.name), shown(.option))]
    Option { name: String, option: String },
    #[error("the parameter `{name}` has the option `{option}`, which has to be {wanted}")]
    BadOption { name: String, option: &'static str, wanted: String },
    #[error("the parameter `{name}` requires secrets that the project does not have: {}", names(.missing))]
    MissingSecrets { name: String, missing: Vec<String> },
    #[error("the Postgres of this server has no extension `{name}`; it has {}", names(.available))]
    NoExtension { name: String, available: Vec<String> },
    #[error("the Postgres extension `{name}` is not one that an app may have here; these are: {}", names(.allowed))]
    ExtensionNotAllowed { name: String, allowed: Vec<String> },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("{what} is not installed on the server")]
    NotInstalled { what: &'static str, packages: &'static str },
    #[error("{what} does not run: {why}")]
    NotRunning { what: &'static str, why: String },
    #[error("{} may open {asked} connections to one database in each instance of the app, which may have {limit}", parameters(.names))]
    TooManyConnections { names: Vec<String>, asked: u32, limit: u32 },
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
                let lines = names(missing.iter().map(|name| format!("`{name} = \"…\"`")));
                format!("add {lines} to Secrets.toml beside the package's Cargo.toml and deploy again")
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
            Self::TooManyConnections { names, asked, .. } => {
                let other = if names.len() > 1 { ", or give one of them a database of its own (`name = \"…\"`)" } else { "" };
                format!(
                    "lower `max_connections` in the attribute{other}; whoever runs the server can allow more: platform-server serve --database-connections {asked}"
                )
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

/// Parameters by their names, for people.
fn parameters(names: &[String]) -> String {
    match names {
        [name] => format!("the parameter `{}`", shown(name)),
        all => format!("the parameters {} together", listing::names(all.iter().map(|name| format!("`{}`", shown(name))))),
    }
}

/// What an app is given.
#[derive(Debug)]
pub(crate) struct Provided {
    /// What every parameter gets, by the parameter's name.
    pub(crate) resources: BTreeMap<String, ResourceData>,
    /// What its users are to know of it.
    pub(crate) notes: Vec<String>,
}

/// All provisioners.
#[derive(Debug)]
pub(crate) struct Provisioner {
    pub(crate) db: Db,
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisServers,
    pub(crate) persist: PersistFolders,
    pub(crate) vault: Vault,
    pub(crate) uids: Uids,
}

impl Provisioner {
    /// What every parameter gets.
    pub(crate) async fn provide(&self, meta: &Meta, wanted: &[ResourceManifest]) -> Result<Provided, ProvisionError> {
        let wishes: Vec<(&ResourceManifest, Wish)> =
            wanted.iter().map(|resource| Ok((resource, Wish::read(resource)?))).collect::<Result<_, ProvisionError>>()?;
        // First what can only be mended by the user: nothing is made for an app that will not start.
        let pools = pools(&wishes, self.postgres.limits.an_instance)?;
        let secrets = self.secrets(meta, &wishes).await?;
        let (mut given, mut notes) = (BTreeMap::new(), BTreeSet::new());
        for (resource, wish) in &wishes {
            let mut data = ResourceData { kind: resource.kind.clone(), ..ResourceData::default() };
            match wish {
                Wish::Postgres { name, extensions, .. } => {
                    let row = self.row(meta, resource, name).await?;
                    let connections = pools.get(name.as_str()).copied().unwrap_or_default();
                    let in_all = pools.values().fold(0, |sum: u32, pool| sum.saturating_add(*pool));
                    let wanted = Wanted { uid: self.uids.app(meta.project_id), row: &row, extensions, connections, in_all };
                    let database = self.postgres.provide(wanted).await?;
                    data.url = database.url;
                    notes.extend(database.note);
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
        Ok(Provided { resources: given, notes: notes.into_iter().collect() })
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

/// How many connections one instance opens to each of the app's databases, by its name, as far as the parameters say; an error where
/// that is more than it may have.
fn pools<'a>(wishes: &'a [(&ResourceManifest, Wish)], limit: u32) -> Result<BTreeMap<&'a str, u32>, ProvisionError> {
    let mut pools = BTreeMap::<&str, (u32, Vec<String>)>::new();
    for (resource, wish) in wishes {
        if let Wish::Postgres { name, connections: Some(connections), .. } = wish {
            let (sum, names) = pools.entry(name).or_default();
            *sum = sum.saturating_add(*connections);
            names.push(resource.name.clone());
        }
    }
    match pools.values().find(|(sum, _)| *sum > limit) {
        Some((sum, names)) => Err(ProvisionError::TooManyConnections { names: names.clone(), asked: *sum, limit }),
        None => Ok(pools.into_iter().map(|(name, (sum, _))| (name, sum)).collect()),
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pools_of(wanted: &[(&str, serde_json::Value)]) -> Result<BTreeMap<String, u32>, ProvisionError> {
        let of = |(name, options): &(&str, serde_json::Value)| ResourceManifest {
            name: (*name).to_owned(),
            kind: "postgres".to_owned(),
            options: options.as_object().unwrap().clone(),
        };
        let manifests: Vec<ResourceManifest> = wanted.iter().map(of).collect();
        let wishes: Vec<_> = manifests.iter().map(|manifest| (manifest, Wish::read(manifest).unwrap())).collect();
        Ok(pools(&wishes, 50)?.into_iter().map(|(name, sum)| (name.to_owned(), sum)).collect())
    }

    #[test]
    fn what_pools_may_open_together_is_counted_for_each_database() {
        let fits = [
            ("a", json!({"max_connections": 30})),
            ("b", json!({"max_connections": 20})),
            ("c", json!({"name": "other", "max_connections": 50})),
            ("d", json!({})),
        ];
        assert_eq!(pools_of(&fits).unwrap(), BTreeMap::from([(String::new(), 50), ("other".to_owned(), 50)]));
        let error = pools_of(&[("a", json!({"max_connections": 30})), ("b", json!({"max_connections": 21}))]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the parameters `a`, `b` together may open 51 connections to one database in each instance of the app, which may have 50"
        );
        assert!(error.hint().contains("`name = ") && error.hint().ends_with("--database-connections 51"), "{}", error.hint());
        let many: Vec<_> = (0..60).map(|number| format!("p{number}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), json!({"max_connections": 1}))).collect();
        assert!(pools_of(&many).unwrap_err().to_string().contains("`p19` and 40 more together may open 60 "));
        let error = pools_of(&[("a", json!({"max_connections": 51}))]).unwrap_err();
        assert!(error.to_string().starts_with("the parameter `a` may open 51 "), "{error}");
    }
}
