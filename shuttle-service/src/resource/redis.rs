//! Redis or Valkey through the crate redis 1.

use redis::Client;

use crate::{Error, Resource, ResourceData};

/// A client; it connects when a connection is asked of it.
impl Resource for Client {
    const TYPE: &'static str = "redis";

    async fn from_data(data: ResourceData) -> Result<Self, Error> {
        Self::open(data.url).map_err(|error| Error::msg(format!("the Redis URL is not valid: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_unix_socket_is_where_it_connects() {
        let data = ResourceData { kind: "redis".into(), url: "redis+unix:///run/x/redis.sock".into() };
        let client = Client::from_data(data).await.unwrap();
        assert_eq!(client.get_connection_info().addr().to_string(), "/run/x/redis.sock");
    }

    #[tokio::test]
    async fn a_bad_url_is_an_error() {
        let data = ResourceData { kind: "redis".into(), url: "http://x".into() };
        assert!(Client::from_data(data).await.unwrap_err().to_string().starts_with("the Redis URL is not valid"));
    }
}
