//! Postgres through pools of deadpool 0.13: deadpool-postgres 0.14, and diesel-async 0.9 with its feature `deadpool`.

use std::time::Duration;

use deadpool::{
    Runtime,
    managed::{Manager, Pool, WeakPool},
};

use super::{
    failed,
    pool::{ACQUIRE_TIMEOUT, IDLE_TIMEOUT, MAX, MIN, Size},
    tokio_postgres,
};
use crate::{Error, Options, Postgres, Resource};

#[cfg(feature = "deadpool-postgres-0-14")]
mod postgres {
    use ::tokio_postgres::NoTls;
    use deadpool_postgres::{Manager, Pool};

    use super::*;

    /// A pool that connects when it is first used: at most 5 connections, each closed after a minute without work; waiting
    /// for one ends with an error after 10 seconds.
    ///
    /// Options: `max_connections`, from 1 to 50, `min_connections`, which are made before the service starts and stay open,
    /// and those of [`Postgres`].
    impl Resource for Pool {
        type From = Postgres;
        const OPTIONS: &'static [&'static str] = &[MAX, MIN];

        async fn make(from: Postgres, options: &Options) -> Result<Self, Error> {
            open(Manager::new(tokio_postgres::config(&from)?, NoTls), Size::of(options)?).await
        }
    }
}

#[cfg(feature = "diesel-async-0-9")]
mod diesel {
    use diesel_async::{
        AsyncPgConnection,
        pooled_connection::{AsyncDieselConnectionManager, deadpool::Pool},
    };

    use super::*;

    /// A pool that connects when it is first used: at most 5 connections, each closed after a minute without work; waiting
    /// for one ends with an error after 10 seconds.
    ///
    /// Options: `max_connections`, from 1 to 50, `min_connections`, which are made before the service starts and stay open,
    /// and those of [`Postgres`].
    impl Resource for Pool<AsyncPgConnection> {
        type From = Postgres;
        const OPTIONS: &'static [&'static str] = &[MAX, MIN];

        async fn make(from: Postgres, options: &Options) -> Result<Self, Error> {
            // diesel would find a bad URL with the first query only.
            tokio_postgres::config(&from)?;
            open(AsyncDieselConnectionManager::new(from.into_url()), Size::of(options)?).await
        }
    }
}

/// A pool of this size.
async fn open<M>(manager: M, size: Size) -> Result<Pool<M>, Error>
where
    M: Manager<Type: Send, Error: std::error::Error + Send + Sync + 'static> + Send + Sync + 'static,
{
    let pool = Pool::builder(manager)
        .max_size(size.max as usize)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .create_timeout(Some(ACQUIRE_TIMEOUT))
        .recycle_timeout(Some(ACQUIRE_TIMEOUT))
        .build()?;
    // Each is held until all are there; otherwise the second would be the first.
    let mut first = Vec::new();
    for _ in 0..size.min {
        first.push(pool.get().await.map_err(|error| failed("Postgres took no connection", error))?);
    }
    drop(first);
    tokio::spawn(keep(pool.weak(), size.min as usize));
    Ok(pool)
}

/// Gives connections back that nobody uses, which deadpool does not do by itself.
async fn keep<M: Manager>(pool: WeakPool<M>, min: usize) {
    loop {
        tokio::time::sleep(IDLE_TIMEOUT).await;
        let Some(pool) = pool.upgrade() else { return };
        close_idle(&pool, min, IDLE_TIMEOUT);
    }
}

fn close_idle<M: Manager>(pool: &Pool<M>, min: usize, idle: Duration) {
    let mut spare = pool.status().size.saturating_sub(min);
    pool.retain(|_, metrics| {
        let close = spare > 0 && metrics.last_used() >= idle;
        spare -= usize::from(close);
        !close
    });
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use deadpool::managed::{Metrics, RecycleResult};

    use super::*;

    /// Makes nothings.
    #[derive(Debug)]
    struct Nothings;

    impl Manager for Nothings {
        type Type = ();
        type Error = Infallible;

        async fn create(&self) -> Result<(), Infallible> {
            Ok(())
        }

        async fn recycle(&self, (): &mut (), _: &Metrics) -> RecycleResult<Infallible> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn idle_connections_are_closed_down_to_the_least() {
        let pool = open(Nothings, Size { max: 5, min: 2 }).await.unwrap();
        assert_eq!(pool.status().size, 2, "the least is made at once");

        let held = [pool.get().await.unwrap(), pool.get().await.unwrap(), pool.get().await.unwrap()];
        drop(held);
        close_idle(&pool, 2, IDLE_TIMEOUT);
        assert_eq!(pool.status().size, 3, "none has been idle for so long");

        let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
        close_idle(&pool, 2, Duration::ZERO);
        assert_eq!(pool.status().size, 2, "those in use count");
        drop(held);
        close_idle(&pool, 2, Duration::ZERO);
        assert_eq!(pool.status().size, 2);
        close_idle(&pool, 0, Duration::ZERO);
        assert_eq!(pool.status().size, 0);
    }

    #[cfg(feature = "deadpool-postgres-0-14")]
    #[tokio::test]
    async fn a_pool_connects_when_it_is_used() {
        let nowhere = Postgres::new("postgres://app:secret@%2Fno%2Fsuch%2Ffolder/db");
        let pool = deadpool_postgres::Pool::make(nowhere.clone(), &Options::new().with("max_connections", 3)).await.unwrap();
        assert_eq!(pool.status().max_size, 3);
        let error = deadpool_postgres::Pool::make(nowhere, &Options::new().with("min_connections", 1)).await.unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with("Postgres took no connection") && !error.contains("secret"), "{error}");
    }

    #[cfg(feature = "diesel-async-0-9")]
    #[tokio::test]
    async fn a_bad_url_is_found_at_once() {
        type Pool = diesel_async::pooled_connection::deadpool::Pool<diesel_async::AsyncPgConnection>;
        let url = "postgres://app:secret@host:notaport/db";
        let error = Pool::make(Postgres::new(url), &Options::new()).await.err().unwrap().to_string();
        assert!(error.starts_with("the Postgres URL is not valid") && !error.contains("secret"), "{error}");
    }
}
