//! The proxy's settings. Every wait and every size has its limit here.

use std::time::Duration;

use crate::connection;

/// The proxy's settings, with their defaults in [`ProxyConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Apps answer at `<project>.<domain>`. Lower case, no port, no dot at its ends.
    pub domain: String,
    /// The connections of clients. Each takes up to two file descriptors, and so many requests are taken at one time in all.
    pub(crate) clients: connection::Config,
    /// How long a request waits for an app that is starting. Default: 30 s.
    pub hold_timeout: Duration,
    /// How long connecting to an app may take, a full queue of its socket included. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long an app may take to begin its response, from the last piece of the request's body on. Default: 120 s.
    pub response_timeout: Duration,
    /// Requests and tunnels at one time to one instance. Less than half of those of all, so that two apps do
    /// not shut out the others. Default: 1536.
    pub max_requests_per_app: usize,
    /// Idle connections that are kept for one instance. Default: 128.
    pub max_idle: usize,
    /// Idle connections that are kept for all instances. Default: 1024.
    pub max_idle_of_all: usize,
    /// How long such a connection is used again; below what frameworks allow by themselves (rocket: 5 s), so that a
    /// request is not sent into a connection that is just being closed. Default: 4 s.
    pub idle_timeout: Duration,
}

impl ProxyConfig {
    /// The defaults, for apps under `domain`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            clients: connection::Config::new("the proxy"),
            hold_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(120),
            max_requests_per_app: 1536,
            max_idle: 128,
            max_idle_of_all: 1024,
            idle_timeout: Duration::from_secs(4),
        }
    }
}
