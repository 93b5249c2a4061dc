//! Resources: what a parameter of the annotated function can be.
//!
//! A resource crosses the boundary as data ([`shuttle_abi::ResourceData`]); its client or pool is made here, from the app's
//! own version of the client's crate. What the platform itself provides are the *plain* resources ([`Postgres`],
//! [`Redis`](crate::Redis), [`SecretStore`](crate::SecretStore), …), each a [`Parameter`] by itself; everything else is a
//! [`Resource`]: made from plain ones, from other resources, or from several of them. One module for each supported crate
//! and major version.

mod given;
mod metadata;
mod needs;
mod options;
mod persist;
mod plain;
#[cfg(feature = "redis-1")]
mod redis;
mod secrets;
#[cfg(feature = "sqlx-0-9")]
mod sqlx_0_9;

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
/// | `sqlx::PgPool` (sqlx 0.9) | `sqlx-postgres` |
/// | `redis::Client` (redis 1) | `redis` |
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
    note = "for `sqlx::PgPool` (sqlx 0.9) enable the feature `sqlx-postgres` of shuttle-service, for `redis::Client` (redis 1) the feature `redis`",
    note = "if the feature is enabled, the crate's version is another one than shuttle-service's: see `cargo tree -i sqlx-postgres` or `cargo tree -i redis`",
    note = "for a type of your own, implement `shuttle_service::Resource`"
)]
pub trait Resource: Sized + 'static {
    /// What it is made of: a [`Parameter`], or a tuple of up to six.
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
