//! Connection data as it is, for clients that shuttle-service does not know.

use std::{fmt, path::PathBuf};

use super::{
    Accepts, Needs, Parameter, Slot,
    url::{Parts, decode},
};
use crate::Error;

macro_rules! connection {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $options:expr, $honoured:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            url: String,
        }

        impl $name {
            /// For tests, and for running without the platform.
            ///
            /// ```
            #[doc = concat!("let given = shuttle_service::", stringify!($name), "::new(\"", $kind, "://localhost\");")]
            #[doc = concat!("assert_eq!(given.url(), \"", $kind, "://localhost\");")]
            /// ```
            #[must_use]
            pub fn new(url: impl Into<String>) -> Self {
                Self { url: url.into() }
            }

            /// Where it is, credentials included.
            ///
            /// ```
            #[doc = concat!("let given = shuttle_service::", stringify!($name), "::new(\"", $kind, "://me:secret@localhost\");")]
            #[doc = concat!("assert_eq!(given.url(), \"", $kind, "://me:secret@localhost\");")]
            /// ```
            #[must_use]
            pub fn url(&self) -> &str {
                &self.url
            }

            /// As [`url`](Self::url), without a copy.
            ///
            /// ```
            #[doc = concat!("let given = shuttle_service::", stringify!($name), "::new(\"", $kind, "://me:secret@localhost\");")]
            #[doc = concat!("assert_eq!(given.into_url(), \"", $kind, "://me:secret@localhost\");")]
            /// ```
            #[must_use]
            pub fn into_url(self) -> String {
                self.url
            }
        }

        /// Without the URL: there is a password in it.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }

        impl Parameter for $name {
            const NEEDS: Needs = Needs::One { kind: $kind, options: $honoured };
            const ACCEPTS: Accepts = Accepts { own: $options, rest: None };

            async fn take(slot: Slot<'_>) -> Result<Self, Error> {
                Ok(Self::new(slot.data($kind)?.url.clone()))
            }
        }
    };
}

connection! {
    /// A Postgres database of the project's own, as a URL: `postgres://user:password@%2Ffolder%2Fof%2Fsocket/database`.
    ///
    /// The host is the percent-encoded folder of the server's Unix socket, a form that libpq, sqlx and tokio-postgres read.
    ///
    /// Options: `name = "analytics"` asks for a second database, apart from the project's unnamed one;
    /// `extensions = ["pgcrypto"]` for extensions to be created in it.
    ///
    /// ```
    /// use shuttle_service::Postgres;
    ///
    /// async fn app(database: Postgres) -> shuttle_service::ShuttleAxum {
    ///     println!("{} characters of URL", database.url().len());
    ///     Ok(axum::Router::new())
    /// }
    ///
    /// // In a test:
    /// # let _ =
    /// app(Postgres::new("postgres://me@localhost/test"));
    /// ```
    // Of how many connections a pool has, the platform has to know: it gives them.
    Postgres, "postgres", &["name", "extensions"], &["name", "extensions", "max_connections"]
}

connection! {
    /// A Redis or Valkey server of the project's own, as a URL: `redis+unix:///path/to.sock?pass=…`.
    ///
    /// Option: `name = "cache"` asks for a second server, apart from the project's unnamed one.
    ///
    /// ```
    /// use shuttle_service::Redis;
    ///
    /// async fn app(cache: Redis) -> shuttle_service::ShuttleAxum {
    ///     println!("{} characters of URL", cache.url().len());
    ///     Ok(axum::Router::new())
    /// }
    ///
    /// // In a test:
    /// # let _ =
    /// app(Redis::new("redis://localhost"));
    /// ```
    Redis, "redis", &["name"], &["name"]
}

/// The URL's parts, for clients that take no URL. A part that the URL does not have is `None`.
///
/// ```
/// let database = shuttle_service::Postgres::new("postgres://app:p%40ss@%2Frun%2Fpostgres/data");
/// assert_eq!(database.host().unwrap(), "/run/postgres");
/// assert_eq!((database.user().unwrap(), database.password().unwrap()), ("app".to_owned(), "p@ss".to_owned()));
/// assert_eq!(database.database().unwrap(), "data");
/// assert_eq!(database.port(), None);
/// ```
impl Postgres {
    /// The server's name or address; where it begins with a slash, it is the folder of the server's Unix socket, as on
    /// the platform. Most clients take both as "host".
    ///
    /// ```
    /// let given = shuttle_service::Postgres::new("postgres://app@%2Frun%2Fpostgres/data");
    /// assert_eq!(given.host().unwrap(), "/run/postgres");
    /// ```
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let parts = Parts::of(&self.url);
        decode(parts.parameter("host").or(parts.host)?)
    }

    /// The port, which is a part of the socket's name as well. Postgres' own is 5432.
    ///
    /// ```
    /// let given = shuttle_service::Postgres::new("postgres://localhost:6432/test");
    /// assert_eq!(given.port(), Some(6432));
    /// ```
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        Parts::of(&self.url).port?.parse().ok()
    }

    /// The role.
    ///
    /// ```
    /// let given = shuttle_service::Postgres::new("postgres://me@localhost/test");
    /// assert_eq!(given.user().unwrap(), "me");
    /// ```
    #[must_use]
    pub fn user(&self) -> Option<String> {
        decode(Parts::of(&self.url).user?)
    }

    /// The role's password.
    ///
    /// ```
    /// let given = shuttle_service::Postgres::new("postgres://me:p%40ss@localhost/test");
    /// assert_eq!(given.password().unwrap(), "p@ss");
    /// ```
    #[must_use]
    pub fn password(&self) -> Option<String> {
        decode(Parts::of(&self.url).password?)
    }

    /// The database's name.
    ///
    /// ```
    /// let given = shuttle_service::Postgres::new("postgres://me@localhost/test");
    /// assert_eq!(given.database().unwrap(), "test");
    /// ```
    #[must_use]
    pub fn database(&self) -> Option<String> {
        decode(Parts::of(&self.url).path.strip_prefix('/')?).filter(|name| !name.is_empty())
    }
}

/// The URL's parts, for clients that take no URL. A part that the URL does not have is `None`.
///
/// ```
/// let cache = shuttle_service::Redis::new("redis+unix:///run/redis/7.sock?pass=secret");
/// assert_eq!(cache.socket().unwrap(), std::path::Path::new("/run/redis/7.sock"));
/// assert_eq!(cache.password().unwrap(), "secret");
///
/// let cache = shuttle_service::Redis::new("redis://:secret@localhost:6379");
/// assert_eq!((cache.socket(), cache.password()), (None, Some("secret".to_owned())));
/// ```
impl Redis {
    /// The server's Unix socket, as on the platform.
    ///
    /// ```
    /// let given = shuttle_service::Redis::new("redis+unix:///run/redis/7.sock");
    /// assert_eq!(given.socket().unwrap(), std::path::Path::new("/run/redis/7.sock"));
    /// ```
    #[must_use]
    pub fn socket(&self) -> Option<PathBuf> {
        let (scheme, _) = self.url.split_once("://")?;
        matches!(scheme, "redis+unix" | "unix" | "valkey+unix")
            .then(|| Parts::of(&self.url).path)
            .and_then(decode)
            .map(PathBuf::from)
    }

    /// The server's password.
    ///
    /// ```
    /// let given = shuttle_service::Redis::new("redis://:secret@localhost");
    /// assert_eq!(given.password().unwrap(), "secret");
    /// ```
    #[must_use]
    pub fn password(&self) -> Option<String> {
        let parts = Parts::of(&self.url);
        decode(parts.password.or_else(|| parts.parameter("pass"))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_postgres_url_has_its_host() {
        for (url, host) in [
            ("postgres://u@%2Frun%2Fsome%20place/db", "/run/some place"),
            ("postgres://u@/db?host=/run/pg", "/run/pg"),
            ("postgresql://u@[::1]:5433/db", "::1"),
            ("postgres://db.example", "db.example"),
        ] {
            assert_eq!(Postgres::new(url).host().as_deref(), Some(host));
        }
        let bare = Postgres::new("postgres://db.example:6432/");
        assert_eq!((bare.port(), bare.user(), bare.password(), bare.database()), (Some(6432), None, None, None));
    }

    #[test]
    fn passwords_are_not_printed() {
        let printed = format!("{:?}{:?}", Postgres::new("postgres://u:secret@h"), Redis::new("redis://:secret@h"));
        assert!(!printed.contains("secret"), "{printed}");
    }
}
