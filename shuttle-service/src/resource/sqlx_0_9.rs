//! Postgres through sqlx 0.9.

use std::time::Duration;

use sqlx_core::pool::PoolOptions;
use sqlx_postgres::{PgConnectOptions, PgPool, Postgres};

use crate::{Error, Options, Postgres as Plain, Resource};

/// The most connections of one app. A small box serves many apps from one Postgres, whose own limit is 100 by default.
const MAX_CONNECTIONS: u32 = 5;
/// A request that gets no connection for so long fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle app gives its connections back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool that connects when it is first used: at most 5 connections, each closed after a minute without work; waiting for
/// one ends with an error after 10 seconds.
///
/// Options: `max_connections`, `min_connections`, and those of [`Postgres`](crate::Postgres).
impl Resource for PgPool {
    type From = Plain;
    const OPTIONS: &'static [&'static str] = &["max_connections", "min_connections"];

    async fn make(from: Plain, options: &Options) -> Result<Self, Error> {
        // The URL holds the password, so it is not repeated.
        let connect: PgConnectOptions =
            with_host(from.url()).parse().map_err(|error| Error::msg(format!("the Postgres URL is not valid: {error}")))?;
        Ok(PoolOptions::<Postgres>::new()
            .max_connections(connections(options, "max_connections")?.unwrap_or(MAX_CONNECTIONS))
            .min_connections(connections(options, "min_connections")?.unwrap_or(0))
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_lazy_with(connect))
    }
}

fn connections(options: &Options, name: &str) -> Result<Option<u32>, Error> {
    let Some(number) = options.number(name)? else { return Ok(None) };
    u32::try_from(number)
        .map(Some)
        .map_err(|_| Error::msg(format!("the option `{name}` is {number}, which is no number of connections")))
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

    #[tokio::test]
    async fn a_socket_folder_is_where_it_connects() {
        let url = "postgres://app:p%40ss@/db?host=/run/pg".to_owned();
        let pool = PgPool::make(Plain::new(url), &Options::new()).await.unwrap();
        let options = pool.connect_options();
        assert_eq!(options.get_socket().map(|path| path.as_path()), Some(std::path::Path::new("/run/pg")));
        assert_eq!((options.get_username(), options.get_database()), ("app", Some("db")));
    }

    #[test]
    fn a_url_with_a_host_is_left_alone() {
        for url in ["postgres://u:p@h:5432/db", "postgres:///db?host=/run/pg", "postgres://h/db?a=@"] {
            assert_eq!(with_host(url), url);
        }
    }

    #[tokio::test]
    async fn a_bad_url_is_told_without_its_password() {
        let url = "postgres://app:secret@host:notaport/db".to_owned();
        let error = PgPool::make(Plain::new(url), &Options::new()).await.unwrap_err().to_string();
        assert!(error.contains("the Postgres URL is not valid") && !error.contains("secret"), "{error}");
    }
}
