//! Which headers pass, in both directions, and what the proxy adds.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Version,
    header::{self, Entry, HeaderName, HeaderValue},
};
use ipnet::IpNet;

use super::forwarded;

/// Marks an answer of the proxy's own; an app cannot set it.
pub(super) const OF_PROXY: HeaderName = HeaderName::from_static("x-shuttle-proxy");

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(super) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// What rocket reads a client's address from.
pub(super) const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers that concern one connection, not the message. `Trailer` is not among them: it announces what passes.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What is known of a request beside its headers.
pub(super) struct RequestFacts<'a> {
    pub(super) version: Version,
    pub(super) peer: IpAddr,
    /// The host by which it was routed, as it came.
    pub(super) authority: &'a str,
    /// The protocol to change to, where that was asked for.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// A body is coming whose length is not known.
    pub(super) streams: bool,
    /// The owner's own proxies.
    pub(super) trusted: &'a [IpNet],
}

/// Turns a client's headers into those for an app.
pub(super) fn to_upstream(headers: &mut HeaderMap, facts: &RequestFacts<'_>) {
    let wants_trailers = has_token(headers, &header::TE, "trailers");
    remove_hop_by_hop(headers);
    if wants_trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
    if let Some(protocol) = facts.upgrade {
        headers.append(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol.clone());
    }
    if facts.streams {
        // Said explicitly, because hyper's client takes a GET without a length for one without a body.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if facts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    // An authority was checked to be a host name, which is a valid value.
    if let Ok(host) = HeaderValue::from_str(facts.authority) {
        set_forwarding(headers, facts, &host);
        headers.insert(header::HOST, host);
    }
}

/// Says who the client is. An app may read the first address or the last one: there is one only.
fn set_forwarding(headers: &mut HeaderMap, facts: &RequestFacts<'_>, host: &HeaderValue) {
    let said = forwarded::said(headers, facts.peer, facts.trusted);
    forwarded::remove(headers, said.is_some());
    let said = said.unwrap_or_default();
    if let Ok(client) = HeaderValue::from_str(&said.client.unwrap_or(facts.peer).to_string()) {
        headers.insert(FORWARDED_FOR, client.clone());
        headers.insert(REAL_IP, client);
    }
    headers.insert(FORWARDED_HOST, said.host.unwrap_or_else(|| host.clone()));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(said.proto.unwrap_or("http")));
}

/// Turns an app's headers into those for the client.
pub(super) fn to_client(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        // Both at once is how two readers come to disagree on where a message ends.
        headers.remove(header::CONTENT_LENGTH);
    }
    remove_hop_by_hop(headers);
    headers.remove(OF_PROXY);
}

/// The protocol that a request asks to change to. Not `h2c`: whoever speaks it would speak to the app past the rules
/// of this file.
pub(super) fn wanted_upgrade(version: Version, headers: &HeaderMap) -> Option<HeaderValue> {
    if version != Version::HTTP_11 || !has_token(headers, &header::CONNECTION, "upgrade") {
        return None;
    }
    let protocol = headers.get(header::UPGRADE)?;
    (!has_token(headers, &header::UPGRADE, "h2c")).then(|| protocol.clone())
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Whether a header that is a list has this member.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|member| member.split(';').next().is_some_and(|member| member.trim().eq_ignore_ascii_case(token)))
}

/// HTTP/2 may send one cookie a header; HTTP/1.1 knows one header only.
fn join_cookies(headers: &mut HeaderMap) {
    if let Entry::Occupied(cookies) = headers.entry(header::COOKIE)
        && cookies.iter().nth(1).is_some()
    {
        let all: Vec<Vec<u8>> = cookies.iter().map(|cookie| cookie.as_bytes().to_vec()).collect();
        if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> RequestFacts<'static> {
        RequestFacts {
            version: Version::HTTP_11,
            peer: [192, 0, 2, 1].into(),
            authority: "App.localhost:8000",
            upgrade: None,
            streams: false,
            trusted: &[],
        }
    }

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    const ADDED: [(&str, &str); 5] = [
        ("host", "App.localhost:8000"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-host", "App.localhost:8000"),
        ("x-forwarded-proto", "http"),
        ("x-real-ip", "192.0.2.1"),
    ];

    fn assert_sent(mut headers: HeaderMap, facts: &RequestFacts<'_>, wanted: &[(&'static str, &'static str)]) {
        to_upstream(&mut headers, facts);
        let wanted = map(&[wanted, &ADDED].concat());
        assert_eq!(headers, wanted);
    }

    #[test]
    fn headers_of_the_connection_do_not_pass() {
        let headers = map(&[
            ("connection", "close, X-Secret"),
            ("connection", "host"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
            ("trailer", "x-sum"),
        ]);
        assert_sent(headers, &facts(), &[("accept", "*/*"), ("trailer", "x-sum")]);
    }

    #[test]
    fn te_passes_as_trailers_only() {
        assert_sent(
            map(&[("te", "gzip, Trailers;q=0.5"), ("connection", "te")]),
            &facts(),
            &[("te", "trailers"), ("connection", "te")],
        );
    }

    #[test]
    fn what_a_client_says_of_others_is_not_believed() {
        let lies = [
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-host", "bank.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "203.0.113.9"),
            ("forwarded", "for=203.0.113.9"),
            ("x-client-ip", "203.0.113.9"),
            ("true-client-ip", "203.0.113.9"),
            ("cf-connecting-ip", "203.0.113.9"),
            ("x_forwarded_for", "203.0.113.9"),
            ("x-real_ip", "203.0.113.9"),
            ("true_client_ip", "203.0.113.9"),
        ];
        assert_sent(map(&lies), &facts(), &[]);
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        let mut headers = map(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-real-ip", "203.0.113.7"),
            ("x-forwarded-port", "443"),
            // It may have passed these on as they came.
            ("cf-connecting-ip", "203.0.113.8"),
            ("true-client-ip", "203.0.113.8"),
            ("x-client-ip", "203.0.113.8"),
            ("x-original-url", "/admin"),
            ("x_forwarded_for", "203.0.113.8"),
        ]);
        let trusted = ["192.0.2.0/24".parse().unwrap()];
        to_upstream(&mut headers, &RequestFacts { trusted: &trusted, ..facts() });
        let wanted = map(&[
            ("host", "App.localhost:8000"),
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
            ("x-real-ip", "203.0.113.9"),
            ("x-forwarded-port", "443"),
        ]);
        assert_eq!(headers, wanted);
    }

    #[test]
    fn a_length_and_chunks_are_never_sent_together() {
        let facts = RequestFacts { streams: true, ..facts() };
        assert_sent(
            map(&[("content-length", "5"), ("transfer-encoding", "chunked")]),
            &facts,
            &[("transfer-encoding", "chunked")],
        );
        let mut response = map(&[("content-length", "5"), ("transfer-encoding", "chunked"), ("x-shuttle-proxy", "down")]);
        to_client(&mut response);
        assert_eq!(response, HeaderMap::new());
    }

    #[test]
    fn cookies_of_http_2_are_joined() {
        let facts = RequestFacts { version: Version::HTTP_2, ..facts() };
        assert_sent(map(&[("cookie", "a=1"), ("cookie", "b=2")]), &facts, &[("cookie", "a=1; b=2")]);
    }

    #[test]
    fn an_upgrade_passes_unless_it_is_to_http_2() {
        let headers = map(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]);
        let protocol = wanted_upgrade(Version::HTTP_11, &headers).unwrap();
        let facts = RequestFacts { upgrade: Some(&protocol), ..facts() };
        assert_sent(headers.clone(), &facts, &[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert_eq!(wanted_upgrade(Version::HTTP_10, &headers), None);
        for other in [map(&[("upgrade", "websocket")]), map(&[("connection", "upgrade"), ("upgrade", "H2C, websocket")])] {
            assert_eq!(wanted_upgrade(Version::HTTP_11, &other), None);
        }
    }
}
