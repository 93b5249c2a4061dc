//! The proxy's settings. Every wait and every size has its limit here.

use std::time::Duration;

/// The proxy's settings, with their defaults in [`ProxyConfig::new`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Apps answer at `<project>.<domain>`. Lower case, no port, no dot at its ends.
    pub domain: String,
    /// Client connections at one time; more wait in the kernel's queue. Each takes up to two file descriptors.
    /// Default: 4096.
    pub max_connections: usize,
    /// Requests at one time in one HTTP/2 connection. Default: 128.
    pub max_streams: u32,
    /// Longest head of a request or of an app's response, in bytes; at least 8192. Default: 64 KiB.
    pub max_header_bytes: usize,
    /// How long a client may take to send a request's head; also how long an idle connection is kept. Default: 30 s.
    pub header_read_timeout: Duration,
    /// How long a request waits for an app that is starting. Default: 30 s.
    pub hold_timeout: Duration,
    /// How long connecting to an app may take, a full queue of its socket included. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long an app may take to begin its response, from the last piece of the request's body on. Default: 120 s.
    pub response_timeout: Duration,
    /// Idle connections that are kept for one instance. Default: 128.
    pub max_idle: usize,
    /// How long such a connection is used again; below what frameworks allow by themselves (rocket: 5 s), so that a
    /// request is not sent into a connection that is just being closed. Default: 4 s.
    pub idle_timeout: Duration,
    /// How long requests in flight may take to finish when the proxy stops. Default: 10 s.
    pub shutdown_grace: Duration,
    /// Whether clients are believed in what they say of other clients (`X-Forwarded-*`): only where every client is a
    /// proxy of the owner's, such as one that does TLS. Default: false.
    pub trust_forwarded: bool,
}

impl ProxyConfig {
    /// The defaults, for apps under `domain`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self {
            domain: domain.trim_matches('.').to_ascii_lowercase(),
            max_connections: 4096,
            max_streams: 128,
            max_header_bytes: 64 * 1024,
            header_read_timeout: Duration::from_secs(30),
            hold_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(120),
            max_idle: 128,
            idle_timeout: Duration::from_secs(4),
            shutdown_grace: Duration::from_secs(10),
            trust_forwarded: false,
        }
    }
}
