//! Resources: what a parameter of the annotated function can be.
//!
//! A resource crosses the boundary as data ([`shuttle_abi::ResourceData`]); its client or pool is made here, from the app's
//! own version of the client's crate. What the platform itself provides are the *plain* resources ([`Postgres`],
//! [`Redis`](crate::Redis), [`SecretStore`](crate::SecretStore), …), each a [`Parameter`] by itself; everything else is a
//! [`Resource`]: made from plain ones, from other resources, or from several of them. One module for each supported crate
//! and major version.

#[cfg(any(feature = "deadpool-postgres-0-14", feature = "diesel-async-0-9"))]
mod deadpool;
#[cfg(any(feature = "deadpool-redis-0-22", feature = "deadpool-redis-0-23"))]
mod deadpool_redis;
mod given;
mod metadata;
mod needs;
mod options;
mod persist;
mod plain;
#[cfg(any(
    feature = "deadpool-postgres-0-14",
    feature = "deadpool-redis-0-22",
    feature = "deadpool-redis-0-23",
    feature = "diesel-async-0-9",
    feature = "sqlx-0-8",
    feature = "sqlx-0-9"
))]
mod pool;
#[cfg(any(feature = "redis-0-32", feature = "redis-1"))]
mod redis;
#[cfg(feature = "sea-orm-2")]
mod sea_orm;
mod secrets;
#[cfg(any(feature = "sqlx-0-8", feature = "sqlx-0-9"))]
mod sqlx;
#[cfg(any(feature = "deadpool-postgres-0-14", feature = "diesel-async-0-9", feature = "tokio-postgres-0-7"))]
mod tokio_postgres;
mod url;

pub(crate) use self::{given::Given, needs::contains};
pub use self::{
    given::Slot,
    metadata::Metadata,
    needs::{Accepts, Needs},
    options::{IntoOption, OptionEntry, OptionValue, Options},
    persist::PersistDir,
    plain::{Postgres, Redis},
    secrets::SecretStore,
};

use crate::Error;

/// A type of an app's or of a client crate's that the annotated function can have as a parameter.
///
/// | Type | Feature of shuttle-service |
/// |---|---|
/// | `sqlx::PgPool` | `sqlx-postgres` (sqlx 0.9), `sqlx-0-8` |
/// | `tokio_postgres::Client` | `tokio-postgres` (0.7) |
/// | `deadpool_postgres::Pool` | `deadpool-postgres` (0.14) |
/// | `diesel_async::pooled_connection::deadpool::Pool<AsyncPgConnection>` | `diesel-async` (0.9) |
/// | `sea_orm::DatabaseConnection` | `sea-orm` (2) |
/// | `redis::Client`, `redis::aio::ConnectionManager` | `redis` (redis 1), `redis-0-32` |
/// | `deadpool_redis::Pool` | `deadpool-redis` (0.23, redis 1), `deadpool-redis-0-22` (redis 0.32) |
///
/// Their options are documented at their implementations, below. For a client of another crate or version, take
/// [`Postgres`] or [`Redis`](crate::Redis) and make it from the URL.
///
/// An app implements it for a type of its own, to put together what the platform provides. The platform reads what that
/// is from the built artifact, without running it.
///
/// ```
/// use shuttle_service::{Error, Metadata, Options, Resource, SecretStore};
///
/// struct Mailer {
///     key: String,
///     sender: String,
/// }
///
/// impl Resource for Mailer {
///     // Any parameter's type, or a tuple of several.
///     type From = (SecretStore, Metadata);
///     const OPTIONS: &'static [&'static str] = &["sender"];
///
///     async fn make((secrets, metadata): Self::From, options: &Options) -> Result<Self, Error> {
///         let sender = options.text("sender")?.map_or_else(|| format!("app@{}", metadata.project()), str::to_owned);
///         Ok(Self { key: secrets.require("MAIL_KEY")?, sender })
///     }
/// }
///
/// #[shuttle_service::main]
/// async fn app(#[resource(sender = "{secrets.SENDER}")] mailer: Mailer) -> shuttle_service::ShuttleAxum {
///     println!("mail goes out as {} ({} characters of key)", mailer.sender, mailer.key.len());
///     Ok(axum::Router::new())
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a resource that the platform can provide",
    label = "not a resource",
    note = "a client's type needs its feature of shuttle-service: `sqlx::PgPool` needs `sqlx-postgres` (sqlx 0.9) or `sqlx-0-8`, `redis::Client` needs `redis` (redis 1) or `redis-0-32`; `tokio-postgres`, `deadpool-postgres`, `diesel-async`, `sea-orm` and `deadpool-redis` are named as their crates",
    note = "if the feature is enabled, the crate's version is another one than shuttle-service's: see `cargo tree --duplicates`",
    note = "for a type of your own, implement `shuttle_service::Resource`"
)]
pub trait Resource: Sized + 'static {
    /// What it is made of: a [`Parameter`], or a tuple of up to six; `()` where its options are all that it needs.
    ///
    /// ```
    /// use shuttle_service::{Error, Options, Resource};
    ///
    /// struct Limits {
    ///     most: i64,
    /// }
    ///
    /// impl Resource for Limits {
    ///     type From = ();
    ///     const OPTIONS: &'static [&'static str] = &["most"];
    ///
    ///     async fn make((): (), options: &Options) -> Result<Self, Error> {
    ///         Ok(Self { most: options.number("most")?.unwrap_or(10) })
    ///     }
    /// }
    ///
    /// #[shuttle_service::main]
    /// async fn app(#[resource(most = 3)] limits: Limits) -> shuttle_service::ShuttleAxum {
    ///     println!("at most {}", limits.most);
    ///     Ok(axum::Router::new())
    /// }
    /// ```
    type From: Parameter;

    /// The options that it reads: `#[resource(sender = "…")]` on the parameter. An option that is not in here is handed on to
    /// what it is made from, where that is one thing and not a tuple.
    const OPTIONS: &'static [&'static str] = &[];

    /// Makes it, on the app's runtime.
    ///
    /// # Errors
    /// Anything that makes it unusable; the deployment then fails with it, and the version before goes on serving.
    fn make(from: Self::From, options: &Options) -> impl Future<Output = Result<Self, Error>>;
}

/// What a parameter of the annotated function can be: a [`Resource`], a tuple of parameters, or one of the plain types
/// [`Postgres`], [`Redis`], [`SecretStore`], [`PersistDir`] and [`Metadata`].
///
/// It is not implemented by hand: implement [`Resource`].
///
/// ```
/// use std::sync::Arc;
///
/// use shuttle_service::{Error, Options, Parameter, Resource};
///
/// /// Whatever it is made of, for several handlers at once.
/// struct Shared<T>(Arc<T>);
///
/// impl<T: Parameter> Resource for Shared<T> {
///     type From = T;
///
///     async fn make(from: T, _: &Options) -> Result<Self, Error> {
///         Ok(Self(Arc::new(from)))
///     }
/// }
///
/// #[shuttle_service::main]
/// async fn app(client: Shared<tokio_postgres::Client>) -> shuttle_service::ShuttleAxum {
///     Ok(axum::Router::new().with_state(client.0))
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a resource that the platform can provide",
    label = "not a resource",
    note = "for a type of your own, implement `shuttle_service::Resource`"
)]
pub trait Parameter: Sized + 'static {
    /// What the platform has to provide.
    #[doc(hidden)]
    const NEEDS: Needs;
    /// Which options it knows.
    #[doc(hidden)]
    const ACCEPTS: Accepts;
    #[doc(hidden)]
    fn take(slot: Slot<'_>) -> impl Future<Output = Result<Self, Error>>;
}

impl<T: Resource> Parameter for T {
    const NEEDS: Needs = T::From::NEEDS;
    const ACCEPTS: Accepts = Accepts { own: T::OPTIONS, rest: Some(&T::From::ACCEPTS) };

    async fn take(slot: Slot<'_>) -> Result<Self, Error> {
        let from = T::From::take(slot).await?;
        T::make(from, slot.options()).await
    }
}

/// Nothing: for a [`Resource`] that is made of its options alone.
impl Parameter for () {
    const NEEDS: Needs = Needs::All(&[]);
    const ACCEPTS: Accepts = Accepts::NONE;

    async fn take(_: Slot<'_>) -> Result<Self, Error> {
        Ok(())
    }
}

/// Several things that a [`Resource`] is made of. Options on the parameter are not theirs.
macro_rules! tuples {
    ($(($($part:ident $index:tt),+))+) => {$(
        impl<$($part: Parameter),+> Parameter for ($($part,)+) {
            const NEEDS: Needs = Needs::All(&[$($part::NEEDS),+]);
            const ACCEPTS: Accepts = Accepts::NONE;

            async fn take(slot: Slot<'_>) -> Result<Self, Error> {
                Ok(($($part::take(slot.part($index).slot()).await?,)+))
            }
        }
    )+};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
}

/// What could not be done, and why: the whole chain, as many clients keep the reason in an error's source.
#[allow(dead_code, reason = "only what makes clients needs it")]
fn failed(what: &str, why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::msg(format!("{what}: {}", Error::new(why).chain()))
}
