//! Postgres through sqlx 0.9.

use std::time::Duration;

use sqlx_core::pool::PoolOptions;
use sqlx_postgres::{PgConnectOptions, PgPool, Postgres};

use crate::{Error, Resource, ResourceData};

/// The most connections of one app. A small box serves many apps from one Postgres, whose own limit is 100 by default.
const MAX_CONNECTIONS: u32 = 5;
/// A request that gets no connection for so long fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// An idle app gives its connections back.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A pool that connects when it is first used: at most 5 connections, each closed after a minute without work; waiting for
/// one ends with an error after 10 seconds.
impl Resource for PgPool {
    const TYPE: &'static str = "postgres";

    async fn from_data(data: ResourceData) -> Result<Self, Error> {
        // The URL holds the password, so it is not repeated.
        let options: PgConnectOptions =
            with_host(&data.url).parse().map_err(|error| Error::msg(format!("the Postgres URL is not valid: {error}")))?;
        Ok(PoolOptions::<Postgres>::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(IDLE_TIMEOUT)
            .connect_lazy_with(options))
    }
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
        let pool = PgPool::from_data(ResourceData { kind: "postgres".into(), url }).await.unwrap();
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
        let error = PgPool::from_data(ResourceData { kind: "postgres".into(), url }).await.unwrap_err().to_string();
        assert!(error.contains("the Postgres URL is not valid") && !error.contains("secret"), "{error}");
    }
}
