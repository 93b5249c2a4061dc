//! Connection data as it is, for clients that shuttle-service does not know.

use std::fmt;

use super::{Accepts, Needs, Parameter, Slot};
use crate::Error;

macro_rules! connection {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $options:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq)]
        pub struct $name {
            url: String,
        }

        impl $name {
            /// For tests, and for running without the platform.
            #[must_use]
            pub fn new(url: impl Into<String>) -> Self {
                Self { url: url.into() }
            }

            /// Where it is, credentials included.
            #[must_use]
            pub fn url(&self) -> &str {
                &self.url
            }

            /// As [`url`](Self::url), without a copy.
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
            const NEEDS: Needs = Needs::One { kind: $kind, options: $options };
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
    Postgres, "postgres", &["name", "extensions"]
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
    Redis, "redis", &["name"]
}
