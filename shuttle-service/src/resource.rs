//! Resources: what a parameter of the annotated function can be.
//!
//! A resource crosses the boundary as connection data; its client or pool is made here, from the app's own version of the
//! client's crate. One module for each supported crate and major version.

#[cfg(feature = "sqlx-0-9")]
mod postgres;
#[cfg(feature = "redis-1")]
mod redis;

use crate::{Error, ResourceData};

/// A type that the annotated function can ask for by having a parameter of it.
///
/// | Type | Feature of shuttle-service |
/// |---|---|
/// | `sqlx::PgPool` (sqlx 0.9) | `sqlx-postgres` |
/// | `redis::Client` (redis 1) | `redis` |
///
/// The platform reads [`TYPE`](Self::TYPE) from the built artifact, without running it, provides what it names, and hands
/// the connection data to [`from_data`](Self::from_data) when the app starts. An app can implement it for a type of its
/// own, on top of a type of resource that the platform knows:
///
/// ```
/// use shuttle_service::{Error, Resource, ResourceData};
///
/// /// For a client that is not supported directly.
/// struct DatabaseUrl(String);
///
/// impl Resource for DatabaseUrl {
///     const TYPE: &'static str = "postgres";
///
///     async fn from_data(data: ResourceData) -> Result<Self, Error> {
///         Ok(Self(data.url))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a resource that the platform can provide",
    label = "not a resource",
    note = "for `sqlx::PgPool` (sqlx 0.9) enable the feature `sqlx-postgres` of shuttle-service, for `redis::Client` (redis 1) the feature `redis`",
    note = "if the feature is enabled, the crate's version is another one than shuttle-service's: see `cargo tree -i sqlx-postgres` or `cargo tree -i redis`"
)]
pub trait Resource: Sized + 'static {
    /// What the platform provides: `postgres` or `redis`.
    const TYPE: &'static str;

    /// Makes the resource from its connection data, on the app's runtime.
    ///
    /// # Errors
    /// Anything that makes the resource unusable; the deployment then fails with it.
    fn from_data(data: ResourceData) -> impl Future<Output = Result<Self, Error>>;
}
