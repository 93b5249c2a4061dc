//! The parts of a connection URL, for clients that take no URL.

/// A URL taken apart; nothing is decoded yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) password: Option<&'a str>,
    pub(super) host: Option<&'a str>,
    pub(super) port: Option<&'a str>,
    /// With the slash that it begins with.
    pub(super) path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    /// Of what is no URL there are none.
    pub(super) fn of(url: &'a str) -> Self {
        let Some((_, rest)) = url.split_once("://") else { return Self::default() };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (credentials, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        // The address of an IPv6 host is full of colons, and stands in brackets.
        let (host, port) = match address.strip_prefix('[').and_then(|address| address.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or("")),
            None => address.rsplit_once(':').unwrap_or((address, "")),
        };
        let [user, password, host, port] = [user, password, host, port].map(|part| Some(part).filter(|part| !part.is_empty()));
        Self { user, password, host, port, path, query }
    }

    /// A parameter of the query, such as `host` in `postgres:///db?host=/run/pg`.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// `%2F` is `/`. What does not decode to a text is none.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped =
            after.split_first_chunk::<2>().filter(|_| byte == b'%').and_then(|(hex, after)| Some((hex_byte(*hex)?, after)));
        let (byte, after) = escaped.unwrap_or((byte, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        let parts = Parts::of("postgres://me:p%40ss@db.example:6432/app?sslmode=disable#x");
        let expected = Parts {
            user: Some("me"),
            password: Some("p%40ss"),
            host: Some("db.example"),
            port: Some("6432"),
            path: "/app",
            query: "sslmode=disable",
        };
        assert_eq!(parts, expected);
        let parts = Parts::of("redis://:p:w@[::1]:6379");
        assert_eq!((parts.user, parts.password, parts.host, parts.port), (None, Some("p:w"), Some("::1"), Some("6379")));
        let parts = Parts::of("redis+unix:///run/x.sock?pass=a&db=1");
        assert_eq!((parts.host, parts.path), (None, "/run/x.sock"));
        assert_eq!((parts.parameter("db"), parts.parameter("pass"), parts.parameter("x")), (Some("1"), Some("a"), None));
    }

    #[test]
    fn what_is_no_url_has_no_parts() {
        for text in ["", "x", "://", "a://@", "a://:@:", "a://[", "a://[]:"] {
            let parts = Parts::of(text);
            assert_eq!((parts.user, parts.password, parts.port), (None, None, None), "{text}");
        }
    }

    #[test]
    fn escapes_are_decoded_and_the_rest_is_left() {
        for (text, decoded) in [("%2Frun%2fpg", "/run/pg"), ("%", "%"), ("%zz%4", "%zz%4"), ("ü%C3%BC", "üü"), ("%+1", "%+1")]
        {
            assert_eq!(decode(text).as_deref(), Some(decoded));
        }
        assert_eq!(decode("%FF"), None);
    }
}
