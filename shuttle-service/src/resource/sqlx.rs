//! Postgres through sqlx. The versions have the same API where it is used here.

use std::path::{Path, PathBuf};

use super::pool;
use crate::Error;

/// Where the migrations are.
const MIGRATIONS: &str = "migrations";
const OPTIONS: &[&str] = &[pool::MAX, pool::MIN, MIGRATIONS];

/// The implementation for one version.
macro_rules! implement {
    ($core:ident, $postgres:ident) => {
        use $core::{migrate::Migrator, pool::PoolOptions};
        use $postgres::{PgConnectOptions, PgPool, Postgres};

        use crate::{
            Error, Options, Postgres as Plain, Resource,
            resource::{
                failed,
                pool::{ACQUIRE_TIMEOUT, IDLE_TIMEOUT, Size},
            },
        };

        /// A pool that connects when it is first used: at most 5 connections, each closed after a minute without work;
        /// waiting for one ends with an error after 10 seconds.
        ///
        /// Options:
        /// - `max_connections`, from 1 to 50, and `min_connections`, which stay open;
        /// - `migrations = "migrations"`: a folder of sqlx's migrations beside the package's `Cargo.toml`. Those that the
        ///   database does not have yet are run before the service starts; when one fails, so does the deployment. Some that
        ///   the database has and the folder does not are left alone, so that an older deployment can be put back;
        /// - those of [`Postgres`](crate::Postgres).
        impl Resource for PgPool {
            type From = Plain;
            const OPTIONS: &'static [&'static str] = super::OPTIONS;

            async fn make(from: Plain, options: &Options) -> Result<Self, Error> {
                // The URL holds the password, so it is not repeated.
                let connect: PgConnectOptions =
                    super::with_host(from.url()).parse().map_err(|error| failed("the Postgres URL is not valid", error))?;
                let size = Size::of(options)?;
                let pool = PoolOptions::<Postgres>::new()
                    .max_connections(size.max)
                    .min_connections(size.min)
                    .acquire_timeout(ACQUIRE_TIMEOUT)
                    .idle_timeout(IDLE_TIMEOUT)
                    .connect_lazy_with(connect);
                if let Some(folder) = options.text(super::MIGRATIONS)? {
                    migrate(&pool, folder).await?;
                }
                Ok(pool)
            }
        }

        async fn migrate(pool: &PgPool, folder: &str) -> Result<(), Error> {
            let path = super::migrations(folder)?;
            let mut migrator = Migrator::new(path.as_path())
                .await
                .map_err(|error| failed(&format!("the folder `{folder}` of migrations cannot be used"), error))?;
            migrator.set_ignore_missing(true);
            migrator.run(pool).await.map_err(|error| failed(&format!("the migrations in `{folder}` failed"), error))
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[tokio::test]
            async fn a_socket_folder_is_where_it_connects() {
                for url in ["postgres://app:p%40ss@/db?host=/run/pg", "postgres://app:p%40ss@%2Frun%2Fpg/db"] {
                    let pool = PgPool::make(Plain::new(url), &Options::new()).await.unwrap();
                    let options = pool.connect_options();
                    assert_eq!(options.get_socket().map(|path| path.as_path()), Some(std::path::Path::new("/run/pg")));
                    assert_eq!((options.get_username(), options.get_database()), ("app", Some("db")));
                }
            }

            #[tokio::test]
            async fn a_bad_url_is_told_without_its_password() {
                let url = "postgres://app:secret@host:notaport/db";
                let error = PgPool::make(Plain::new(url), &Options::new()).await.unwrap_err().to_string();
                assert!(error.starts_with("the Postgres URL is not valid") && !error.contains("secret"), "{error}");
            }

            #[tokio::test]
            async fn options_are_taken() {
                let options = Options::new().with("min_connections", 2).with("max_connections", 7);
                let pool = PgPool::make(Plain::new("postgres://localhost/db"), &options).await.unwrap();
                assert_eq!((pool.options().get_min_connections(), pool.options().get_max_connections()), (2, 7));
            }

            #[tokio::test]
            async fn a_missing_folder_of_migrations_is_named() {
                let options = Options::new().with("migrations", "no/such/folder");
                let error = PgPool::make(Plain::new("postgres://localhost/db"), &options).await.unwrap_err().to_string();
                assert!(error.contains("`no/such/folder`") && error.contains("Cargo.toml"), "{error}");
            }
        }
    };
}

#[cfg(feature = "sqlx-0-9")]
mod v0_9 {
    implement!(sqlx_core, sqlx_postgres);
}
#[cfg(feature = "sqlx-0-8")]
mod v0_8 {
    implement!(sqlx_core_0_8, sqlx_postgres_0_8);
}

/// The folder of migrations. The working directory of an app is its package's folder among the deployed files.
fn migrations(folder: &str) -> Result<PathBuf, Error> {
    if Path::new(folder).is_absolute() {
        return Err(Error::msg(format!(
            "the option `{MIGRATIONS}` is `{folder}`: it has to be relative to the folder of the package's Cargo.toml"
        )));
    }
    let path = std::env::current_dir()?.join(folder);
    if path.is_dir() {
        return Ok(path);
    }
    Err(Error::msg(format!(
        "the option `{MIGRATIONS}` names the folder `{folder}`, which is not among the deployed files: it has to be beside the package's Cargo.toml, and git must not ignore it"
    )))
}

/// `postgres://user:password@/database?host=/folder` is how libpq names a Unix socket. sqlx's parser refuses an empty host
/// after an `@`; any host will do, as the query's one comes first.
fn with_host(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_end);
    if authority.ends_with('@') { format!("{scheme}://{authority}localhost{path}") } else { url.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_with_a_host_is_left_alone() {
        for url in ["postgres://u:p@h:5432/db", "postgres:///db?host=/run/pg", "postgres://h/db?a=@"] {
            assert_eq!(with_host(url), url);
        }
    }

    #[test]
    fn migrations_are_in_a_folder_below_the_working_directory() {
        assert_eq!(migrations("src").unwrap(), std::env::current_dir().unwrap().join("src"));
        assert!(migrations("/tmp").unwrap_err().to_string().contains("relative"));
        assert!(migrations("Cargo.toml").is_err(), "a file is no folder");
    }
}
