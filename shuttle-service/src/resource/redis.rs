//! Redis or Valkey through the crate redis.

/// The implementation for one version.
macro_rules! implement {
    ($redis:ident) => {
        use $redis::{
            Client,
            aio::{ConnectionManager, ConnectionManagerConfig},
        };

        use crate::{Error, Options, Redis, Resource, resource::failed};

        /// A client; it connects when a connection is asked of it.
        ///
        /// Options: those of [`Redis`].
        impl Resource for Client {
            type From = Redis;

            async fn make(from: Redis, _: &Options) -> Result<Self, Error> {
                Self::open(from.into_url()).map_err(|error| failed("the Redis URL is not valid", error))
            }
        }

        #[cfg(test)]
        mod tests {
            use super::*;

            #[tokio::test]
            async fn a_bad_url_is_an_error() {
                let url = "http://:secret@host";
                let client = Client::make(Redis::new(url), &Options::new()).await.unwrap_err().to_string();
                assert!(client.starts_with("the Redis URL is not valid") && !client.contains("secret"), "{client}");
            }

            #[tokio::test]
            async fn a_unix_socket_is_where_it_connects() {
                let url = "redis+unix:///no/such/redis.sock?pass=secret";
                let client = Client::make(Redis::new(url), &Options::new()).await.unwrap();
                let info = format!("{:?}", client.get_connection_info());
                assert!(info.contains("/no/such/redis.sock"), "{info}");
            }
        }
    };
}

#[cfg(feature = "redis-1")]
mod v1 {
    implement!(redis);

    /// A connection that is shared by cloning it, made when it is first used, and made anew when it breaks.
    ///
    /// Options: those of [`Redis`].
    impl Resource for ConnectionManager {
        type From = Client;

        async fn make(client: Client, _: &Options) -> Result<Self, Error> {
            Self::new_lazy_with_config(client, ConnectionManagerConfig::new())
                .map_err(|error| failed("Redis' connection cannot be managed", error))
        }
    }
}

#[cfg(feature = "redis-0-32")]
mod v0_32 {
    implement!(redis_0_32);

    /// A connection that is shared by cloning it, made before the service starts, and made anew when it breaks.
    ///
    /// Options: those of [`Redis`].
    impl Resource for ConnectionManager {
        type From = Client;

        async fn make(client: Client, _: &Options) -> Result<Self, Error> {
            Self::new_with_config(client, ConnectionManagerConfig::new())
                .await
                .map_err(|error| failed("Redis took no connection", error))
        }
    }
}
