//! Redis or Valkey through pools of deadpool-redis.

/// The implementation for one version.
macro_rules! implement {
    ($deadpool:ident) => {
        use $deadpool::{Manager, Pool, Runtime};

        use crate::{
            Error, Options, Redis, Resource,
            resource::{
                failed,
                pool::{ACQUIRE_TIMEOUT, MAX, MIN, Size},
            },
        };

        /// A pool that connects when it is first used: at most 5 connections; waiting for one ends with an error after 10
        /// seconds.
        ///
        /// Options: `max_connections`, from 1 to 50, `min_connections`, which are made before the service starts, and those
        /// of [`Redis`].
        impl Resource for Pool {
            type From = Redis;
            const OPTIONS: &'static [&'static str] = &[MAX, MIN];

            async fn make(from: Redis, options: &Options) -> Result<Self, Error> {
                let manager = Manager::new(from.into_url()).map_err(|error| failed("the Redis URL is not valid", error))?;
                let size = Size::of(options)?;
                let pool = Self::builder(manager)
                    .max_size(size.max as usize)
                    .runtime(Runtime::Tokio1)
                    .wait_timeout(Some(ACQUIRE_TIMEOUT))
                    .create_timeout(Some(ACQUIRE_TIMEOUT))
                    .recycle_timeout(Some(ACQUIRE_TIMEOUT))
                    .build()?;
                // Each is held until all are there; otherwise the second would be the first.
                let mut first = Vec::new();
                for _ in 0..size.min {
                    first.push(pool.get().await.map_err(|error| failed("Redis took no connection", error))?);
                }
                drop(first);
                Ok(pool)
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[tokio::test]
            async fn it_connects_when_it_is_used() {
                let nowhere = Redis::new("redis+unix:///no/such/redis.sock?pass=secret");
                let pool = Pool::make(nowhere.clone(), &Options::new().with("max_connections", 3)).await.unwrap();
                assert_eq!(pool.status().max_size, 3);
                let error = Pool::make(nowhere, &Options::new().with("min_connections", 1)).await.unwrap_err().to_string();
                assert!(error.starts_with("Redis took no connection") && !error.contains("secret"), "{error}");
            }
        }
    };
}

#[cfg(feature = "deadpool-redis-0-23")]
mod v0_23 {
    implement!(deadpool_redis);
}
#[cfg(feature = "deadpool-redis-0-22")]
mod v0_22 {
    implement!(deadpool_redis_0_22);
}
