//! What the owner's own proxies say of a client: `X-Forwarded-For`, `-Proto`, `-Host`, or `Forwarded` (RFC 7239). From
//! everybody else such headers are lies, and are dropped with all the others that apps read an address from.

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use ipnet::IpNet;

use super::{
    headers::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, REAL_IP},
    host,
};

/// What a trusted proxy said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The last address on the way that is not a trusted proxy's: whatever stands before it, the client may have written.
    pub(super) client: Option<IpAddr>,
    pub(super) proto: Option<&'static str>,
    pub(super) host: Option<HeaderValue>,
}

/// What the peer says, if it is trusted.
pub(super) fn said(headers: &HeaderMap, peer: IpAddr, trusted: &[IpNet]) -> Option<Said> {
    if !is_trusted(peer, trusted) {
        return None;
    }
    let client = if headers.contains_key(FORWARDED_FOR) {
        client(list(headers, &FORWARDED_FOR), trusted)
    } else if headers.contains_key(header::FORWARDED) {
        client(parameters(headers, "for"), trusted)
    } else {
        client(list(headers, &REAL_IP), trusted)
    };
    // Of several values the last one is the peer's own.
    let proto = list(headers, &FORWARDED_PROTO).last().or_else(|| parameters(headers, "proto").last()).and_then(proto);
    let host = list(headers, &FORWARDED_HOST).last().or_else(|| parameters(headers, "host").last());
    let host = host.filter(|host| host::name_of(host).is_ok()).and_then(|host| HeaderValue::from_str(host).ok());
    Some(Said { client, proto, host })
}

/// Drops every header that says something of a client. Of a trusted proxy's, those of the family of `X-Forwarded-For` may
/// stay, which such a proxy sets; the others it may only have passed on from its client. Names with underscores are dropped in any case: to many a framework `x_real_ip` and `x-real-ip` are the same, and no proxy writes
/// the former.
pub(super) fn remove(headers: &mut HeaderMap, trusted: bool) {
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            // The beginnings of all the names that are looked for.
            if !name.starts_with(['x', 'f', 'c', 't', 'd']) {
                return false;
            }
            let is_set_by_proxies = || name.starts_with("x-forwarded") || name == REAL_IP.as_str();
            if name.contains('_') {
                is_of_client(&name.replace('_', "-"))
            } else {
                is_of_client(name) && !(trusted && is_set_by_proxies())
            }
        })
        .cloned()
        .collect();
    for name in &gone {
        headers.remove(name);
    }
    headers.remove(header::FORWARDED);
}

/// Whether frameworks, libraries or other proxies take what this header says for the client's address, scheme or host.
fn is_of_client(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("x-original-")
        || matches!(
            name,
            "forwarded"
                | "forwarded-for"
                | "x-real-ip"
                | "x-client-ip"
                | "x-remote-ip"
                | "x-remote-addr"
                | "x-originating-ip"
                | "x-cluster-client-ip"
                | "x-envoy-external-address"
                | "x-envoy-original-path"
                | "x-azure-clientip"
                | "x-azure-socketip"
                | "x-appengine-user-ip"
                | "x-proxyuser-ip"
                | "x-url-scheme"
                | "x-scheme"
                | "x-host"
                | "front-end-https"
                | "client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "cf-pseudo-ipv4"
                | "cf-visitor"
                | "cloudfront-viewer-address"
                | "cloudfront-forwarded-proto"
                | "fastly-client-ip"
                | "fly-client-ip"
                | "do-connecting-ip"
        )
}

fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// From the end of the way to its beginning, as long as the addresses are trusted ones.
fn client<'a>(way: impl DoubleEndedIterator<Item = &'a str>, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = None;
    for hop in way.rev() {
        // What a trusted proxy did not understand, or hides, says nothing of what stands before it.
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// An address, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

fn proto(text: &str) -> Option<&'static str> {
    ["https", "http", "wss", "ws"].into_iter().find(|proto| text.eq_ignore_ascii_case(proto))
}

/// The members of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'a str> {
    let values = headers.get_all(name).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
}

/// The values of one parameter in `Forwarded`.
fn parameters<'a>(headers: &'a HeaderMap, name: &'static str) -> impl DoubleEndedIterator<Item = &'a str> {
    list(headers, &header::FORWARDED).filter_map(move |element| {
        element.split(';').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said_with(pairs: &[(&'static str, &'static str)]) -> Option<Said> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let trusted = ["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        said(&headers, "192.0.2.1".parse().unwrap(), &trusted)
    }

    fn client_with(pairs: &[(&'static str, &'static str)]) -> Option<String> {
        said_with(pairs).unwrap().client.map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy_of_ours() {
        for (way, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("198.51.100.66, 203.0.113.9", "203.0.113.9"),
            ("198.51.100.66, 203.0.113.9, 192.0.2.7", "203.0.113.9"),
            ("203.0.113.9:4711, [2001:db8::7]:443", "203.0.113.9"),
            ("198.51.100.66, unknown, 192.0.2.7", "192.0.2.7"),
            ("[2a00::1]", "2a00::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("192.0.2.8, 192.0.2.7", "192.0.2.8"),
        ] {
            assert_eq!(client_with(&[("x-forwarded-for", way)]).as_deref(), Some(client), "{way}");
        }
        // Several headers are one list.
        let several = [("x-forwarded-for", "198.51.100.66"), ("x-forwarded-for", "203.0.113.9, 192.0.2.7")];
        assert_eq!(client_with(&several).as_deref(), Some("203.0.113.9"));
        assert_eq!(client_with(&[("x-forwarded-for", "nonsense"), ("x-real-ip", "203.0.113.9")]), None);
        assert_eq!(client_with(&[("x-real-ip", "203.0.113.9")]).as_deref(), Some("203.0.113.9"));
        assert_eq!(client_with(&[]), None);
    }

    #[test]
    fn forwarded_is_understood() {
        let said = said_with(&[("forwarded", "for=198.51.100.66, For=\"[2a00::1]:443\";proto=HTTPS;host=shop.example")]).unwrap();
        assert_eq!(said.client.unwrap().to_string(), "2a00::1");
        assert_eq!((said.proto, said.host), (Some("https"), Some(HeaderValue::from_static("shop.example"))));
    }

    #[test]
    fn nonsense_is_not_passed_on() {
        let said = said_with(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "a b")]).unwrap();
        assert_eq!(said, Said::default());
    }

    #[test]
    fn others_are_not_believed() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("203.0.113.9"));
        for (peer, trusted) in [("127.0.0.1", vec![]), ("192.0.2.1", vec!["192.0.3.0/24".parse().unwrap()])] {
            assert_eq!(said(&headers, peer.parse().unwrap(), &trusted), None, "{peer}");
        }
    }
}
