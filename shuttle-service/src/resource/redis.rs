//! Redis or Valkey through the crate redis 1.

use redis::Client;

use crate::{Error, Options, Redis, Resource};

/// A client; it connects when a connection is asked of it.
impl Resource for Client {
    type From = Redis;

    async fn make(from: Redis, _: &Options) -> Result<Self, Error> {
        Self::open(from.into_url()).map_err(|error| Error::msg(format!("the Redis URL is not valid: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_where_it_connects() {
        let client = Client::make(Redis::new("redis+unix:///run/x/redis.sock"), &Options::new()).await.unwrap();
        assert_eq!(client.get_connection_info().addr().to_string(), "/run/x/redis.sock");
    }

    #[tokio::test]
    async fn a_bad_url_is_an_error() {
        assert!(
            Client::make(Redis::new("http://x"), &Options::new())
                .await
                .unwrap_err()
                .to_string()
                .starts_with("the Redis URL is not valid")
        );
    }
}
