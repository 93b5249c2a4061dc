//! The proxies that the server's own environment names: a fetch goes through them as everything else on the machine does.

use std::{io, sync::Arc};

use http::{HeaderMap, HeaderValue, Uri, header};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Every variable that says which proxy to use.
const VARIABLES: [&str; 9] = [
    "ALL_PROXY",
    "CARGO_HTTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];
/// Longest answer of a proxy to `CONNECT`, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// The default port of a proxy, as curl has it.
const PORT: u16 = 1080;

/// The proxy for each scheme, and what needs none.
#[derive(Debug, Clone)]
pub(crate) struct Upstreams(Arc<Matcher>);

/// A proxy of a kind that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the variable {variable} names a {scheme}:// proxy, and fetches go through http:// proxies only: no dependencies can be fetched. Set CARGO_HTTP_PROXY to an http:// proxy, which goes before the other variables, or unset {variable} for the server"
)]
pub(crate) struct UnknownProxy {
    variable: &'static str,
    scheme: String,
}

/// One proxy, spoken to in HTTP.
#[derive(Debug)]
pub(super) struct Upstream {
    host: String,
    port: u16,
    /// What `Proxy-Authorization` says.
    authorization: Option<HeaderValue>,
}

impl Upstreams {
    /// As curl reads the variables, and cargo its own, which goes before them.
    pub(crate) fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, UnknownProxy> {
        let first = |names: &[&'static str]| {
            let value = |name: &&'static str| Some((*name, variable(name).filter(|value| !value.is_empty())?));
            names.iter().find_map(value).unwrap_or_default()
        };
        let (http, http_proxy) = first(&["CARGO_HTTP_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]);
        let (https, https_proxy) = first(&["CARGO_HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
        let (_, no_proxy) = first(&["no_proxy", "NO_PROXY"]);
        let matcher = Matcher::builder().http(http_proxy).https(https_proxy).no(no_proxy).build();
        // Any name shows which proxies there are.
        for (variable, url) in [(http, "http://host.invalid"), (https, "https://host.invalid")] {
            if let Some(proxy) =
                matcher.intercept(&Uri::from_static(url)).filter(|proxy| proxy.uri().scheme_str() != Some("http"))
            {
                let scheme = proxy.uri().scheme_str().unwrap_or_default().to_owned();
                return Err(UnknownProxy { variable, scheme });
            }
        }
        Ok(Self(Arc::new(matcher)))
    }

    /// As the server's own environment says.
    pub(crate) fn of_environment() -> Result<Self, UnknownProxy> {
        Self::of(|name| VARIABLES.contains(&name).then(|| std::env::var(name).ok()).flatten())
    }

    /// The proxy for a host, if there is one.
    pub(super) fn of_host(&self, scheme: &str, host: &str) -> Option<Upstream> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let uri = Uri::builder().scheme(scheme).authority(host).path_and_query("/").build().ok()?;
        self.0.intercept(&uri).and_then(|proxy| Upstream::of(&proxy))
    }
}

impl Upstream {
    fn of(proxy: &Intercept) -> Option<Self> {
        let host = proxy.uri().host()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = proxy.uri().port_u16().unwrap_or(PORT);
        Some(Self { host: host.to_owned(), port, authorization: proxy.basic_auth().cloned() })
    }

    /// Connects to it, at whatever address it is: it is the owner's choice.
    pub(super) async fn connect(&self) -> io::Result<TcpStream> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        tokio::time::timeout(super::CONNECT, connecting).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    pub(super) fn authorize(&self, headers: &mut HeaderMap) {
        headers.remove(header::PROXY_AUTHORIZATION);
        if let Some(value) = &self.authorization {
            headers.insert(header::PROXY_AUTHORIZATION, value.clone());
        }
    }

    /// Connects to it, and has it connect further.
    pub(super) async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = self.connect().await?;
        let target = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(value) = &self.authorization {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        let mut head = Vec::new();
        // Byte by byte: what comes after the head is not the proxy's.
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                return Err(io::Error::other("the proxy's answer is too long"));
            }
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let line = head.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(stream),
            _ => Err(io::Error::other(format!("the proxy answered `{}`", line.chars().take(100).collect::<String>()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Upstreams, UnknownProxy> {
        Upstreams::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_variables_are_read_as_curl_reads_them() {
        let upstreams = of(&[
            ("HTTPS_PROXY", "http://user:pass@proxy.example.com:3128/"),
            ("http_proxy", "10.0.0.1:8080"),
            ("HTTP_PROXY", "other:1"),
            ("NO_PROXY", "example.org, .internal,10.0.0.2"),
        ])
        .unwrap();
        let https = upstreams.of_host("https", "crates.io").unwrap();
        assert_eq!((https.host.as_str(), https.port), ("proxy.example.com", 3128));
        assert_eq!(https.authorization.as_ref().unwrap(), "Basic dXNlcjpwYXNz");
        let http = upstreams.of_host("http", "crates.io").unwrap();
        assert_eq!((http.host.as_str(), http.port, &http.authorization), ("10.0.0.1", 8080, &None));
        for (host, direct) in [
            ("example.org", true),
            ("a.example.org", true),
            ("myexample.org", false),
            ("git.internal", true),
            ("10.0.0.2", true),
            ("10.0.0.3", false),
        ] {
            assert_eq!(upstreams.of_host("https", host).is_none(), direct, "{host}");
        }
        assert!(of(&[]).unwrap().of_host("https", "crates.io").is_none());
        let own = of(&[("CARGO_HTTP_PROXY", "http://mine:1"), ("https_proxy", "http://other:2")]).unwrap();
        assert_eq!(own.of_host("https", "crates.io").unwrap().host, "mine");
        for (name, url) in [("ALL_PROXY", "socks5://user:secret@localhost:1080"), ("https_proxy", "https://proxy:443")] {
            let error = of(&[(name, url)]).unwrap_err().to_string();
            let scheme = url.split("://").next().unwrap();
            assert!(error.contains(&format!("{name} names a {scheme}:// proxy")), "{error}");
            assert!(!error.contains("secret") && !error.contains("localhost"), "{error}");
            assert!(of(&[("CARGO_HTTP_PROXY", "http://proxy:3128"), (name, url)]).is_ok(), "cargo's own goes before it");
        }
    }
}
