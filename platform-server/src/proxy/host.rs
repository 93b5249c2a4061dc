//! Which host a request is for, and which project that is.

use std::borrow::Cow;

use hyper::{HeaderMap, Method, Uri, Version, header};

/// Why a request has no host that could be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostFault {
    Missing,
    Several,
    Malformed,
}

/// The host of a request, with its port, as it came: from an absolute URI or `:authority`, which count more than the
/// header, else from the header `Host`.
pub(super) fn authority_of<'a>(uri: &'a Uri, version: Version, headers: &'a HeaderMap) -> Result<&'a str, HostFault> {
    let mut values = headers.get_all(header::HOST).iter();
    let (first, more) = (values.next(), values.next());
    if more.is_some() {
        return Err(HostFault::Several);
    }
    let from_header = first.map(|host| host.to_str().map_err(|_| HostFault::Malformed)).transpose()?;
    match (uri.authority(), from_header) {
        // Two hosts that differ would let the app see another one than was routed by.
        (Some(uri), Some(header)) if version >= Version::HTTP_2 && !uri.as_str().eq_ignore_ascii_case(header) => {
            Err(HostFault::Several)
        }
        (Some(_), None) if version == Version::HTTP_11 => Err(HostFault::Missing),
        (Some(uri), _) => Ok(uri.as_str()),
        (None, Some("")) | (None, None) => Err(HostFault::Missing),
        (None, Some(header)) => Ok(header),
    }
}

/// Longest method that is taken; the longest registered one, `UPDATEREDIRECTREF`, has 17 letters.
const MAX_METHOD: usize = 64;

/// What is wrong with a request's first line: something that no app can be asked.
pub(super) fn target_fault(method: &Method, uri: &Uri, version: Version) -> Option<&'static str> {
    if method.as_str().len() > MAX_METHOD {
        return Some("The request's method is longer than any that exists.");
    }
    match uri.scheme_str() {
        None if uri.authority().is_some() && version <= Version::HTTP_11 => return Some("The request names a host and no path."),
        None | Some("http" | "https") => {}
        Some(_) => return Some("The request's URL is neither of http nor of https."),
    }
    (uri.path() == "*" && method != Method::OPTIONS).then_some("Only an OPTIONS request may be for `*`.")
}

/// The name alone: lower case, without port and trailing dot. An IPv6 address keeps its brackets.
pub(super) fn name_of(authority: &str) -> Result<Cow<'_, str>, HostFault> {
    let (name, port) = if authority.starts_with('[') {
        let end = authority.find(']').ok_or(HostFault::Malformed)? + 1;
        (&authority[..end], &authority[end..])
    } else {
        authority.split_at(authority.find(':').unwrap_or(authority.len()))
    };
    let is_a_port = |port: &str| port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    let port_is_sane = port.is_empty() || port.strip_prefix(':').is_some_and(is_a_port);
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    let is_of_an_address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'[' | b']');
    let name_is_sane = name.bytes().all(is_of_a_name) || (name.starts_with('[') && name.bytes().all(is_of_an_address));
    if name.is_empty() || !port_is_sane || !name_is_sane {
        return Err(HostFault::Malformed);
    }
    Ok(if name.bytes().any(|b| b.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() })
}

/// The project in `<project>.<domain>`: exactly one label before the domain.
pub(super) fn project_of<'a>(name: &'a str, domain: &str) -> Option<&'a str> {
    let label = name.strip_suffix(domain)?.strip_suffix('.')?;
    (!label.is_empty() && !label.contains('.')).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_port_and_trailing_dot_do_not_matter() {
        for authority in ["app.localhost", "app.localhost:8000", "APP.LocalHost.:80", "app.localhost.", "app.localhost:"] {
            let name = name_of(authority).unwrap();
            assert_eq!(project_of(&name, "localhost"), Some("app"), "{authority}");
        }
    }

    #[test]
    fn only_one_label_below_the_domain_is_a_project() {
        for authority in ["localhost", ".localhost", "a.b.localhost", "app.localhost.example.org", "applocalhost", "127.0.0.1:80"]
        {
            let name = name_of(authority).unwrap();
            assert_eq!(project_of(&name, "localhost"), None, "{authority}");
        }
        assert_eq!(project_of("app.apps.example.org", "apps.example.org"), Some("app"));
        assert_eq!(name_of("[::1]:8000").unwrap(), "[::1]");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for authority in [
            "",
            ":80",
            ".",
            "a b",
            "user@app.localhost",
            "app.localhost:80:80",
            "a/b",
            "[::1",
            "[::1]x",
            "app:x",
            "<x>",
            "app.localhost:65536",
            "app:+80",
        ] {
            assert_eq!(name_of(authority), Err(HostFault::Malformed), "{authority:?}");
        }
    }

    #[test]
    fn the_uri_counts_more_than_the_header() {
        let uri = Uri::from_static("http://app.localhost/x");
        let mut headers = HeaderMap::new();
        assert_eq!(authority_of(&uri, Version::HTTP_11, &headers), Err(HostFault::Missing));
        assert_eq!(authority_of(&uri, Version::HTTP_2, &headers), Ok("app.localhost"));
        headers.insert(header::HOST, "other.localhost".parse().unwrap());
        assert_eq!(authority_of(&uri, Version::HTTP_11, &headers), Ok("app.localhost"));
        assert_eq!(authority_of(&uri, Version::HTTP_2, &headers), Err(HostFault::Several));
        assert_eq!(authority_of(&Uri::from_static("/x"), Version::HTTP_11, &headers), Ok("other.localhost"));
        headers.append(header::HOST, "other.localhost".parse().unwrap());
        assert_eq!(authority_of(&uri, Version::HTTP_11, &headers), Err(HostFault::Several));
    }
}
