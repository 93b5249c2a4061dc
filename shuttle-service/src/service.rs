//! Services: what the annotated function can return, and what a service is given to serve with.

#[cfg(feature = "axum-0-8")]
mod axum;
#[cfg(feature = "rocket-0-5")]
mod rocket;

#[cfg(feature = "axum-0-8")]
pub use self::axum::ShuttleAxum;
#[cfg(feature = "rocket-0-5")]
pub use self::rocket::ShuttleRocket;

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc};

use crate::{
    Error,
    control::{Reporter, Shutdown},
};

pub use shuttle_abi::{Kind, Listen};

/// What the annotated function makes: something that serves requests until it is told to stop.
///
/// | Type | Feature of shuttle-service |
/// |---|---|
/// | `axum::Router` (axum 0.8) | `axum` |
/// | `rocket::Rocket<rocket::Build>` (rocket 0.5) | `rocket` |
///
/// `Marker` tells apart implementations for all types of a kind, such as every closure; for one type it is `()`.
///
/// An app can implement it for a type of its own, to serve with another framework:
///
/// ```
/// use shuttle_service::{Error, Listen, Service, Serving};
///
/// struct Answer(&'static str);
///
/// impl Service for Answer {
///     const FRAMEWORK: &'static str = "by hand";
///     const LISTEN: Listen = Listen::Unix;
///
///     async fn serve(self, serving: Serving) -> Result<(), Error> {
///         let listener = serving.unix_listener()?;
///         serving.ready();
///         let shutdown = serving.shutdown();
///         tokio::pin!(shutdown);
///         loop {
///             tokio::select! {
///                 () = &mut shutdown => return Ok(()),
///                 connection = listener.accept() => {
///                     let (stream, _) = connection?;
///                     stream.writable().await?;
///                     stream.try_write(self.0.as_bytes())?;
///                 }
///             }
///         }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service that the platform can run",
    label = "not a service",
    note = "return `Result<axum::Router, _>` (axum 0.8, feature `axum` of shuttle-service) or `Result<rocket::Rocket<rocket::Build>, _>` (rocket 0.5, feature `rocket`)",
    note = "if the feature is enabled, the framework's version is another one than shuttle-service's: see `cargo tree -i axum` or `cargo tree -i rocket`"
)]
pub trait Service<Marker = ()>: Sized + 'static {
    /// Name of the framework, as the platform shows it.
    const FRAMEWORK: &'static str;
    /// What the platform does with it.
    const KIND: Kind = Kind::Http;
    /// Which socket it serves on.
    const LISTEN: Listen;

    /// Serves until [`Serving::shutdown`] is done, then finishes what is in flight and returns.
    ///
    /// It must call [`Serving::ready`] or [`Serving::ready_at`] once it accepts connections; the platform sends no request
    /// before. It is dropped when the platform's time for stopping is over.
    ///
    /// # Errors
    /// Anything that ended the service early. An `Ok` without having been told to stop is a failure as well.
    fn serve(self, serving: Serving) -> impl Future<Output = Result<(), Error>>;
}

/// What a service serves with: the listening socket, a way to say that it is ready, and the signal to stop.
#[derive(Debug)]
pub struct Serving {
    listener: OwnedFd,
    reporter: Arc<Reporter>,
    shutdown: Shutdown,
}

impl Serving {
    pub(crate) fn new(listener: OwnedFd, reporter: Arc<Reporter>, shutdown: Shutdown) -> Self {
        Self { listener, reporter, shutdown }
    }

    /// The listening socket of a service with [`Listen::Unix`]. It is bound: connections wait in it already.
    ///
    /// # Errors
    /// When it is no socket, which a service of another `LISTEN` will find.
    pub fn unix_listener(&self) -> Result<tokio::net::UnixListener, Error> {
        let listener = std::os::unix::net::UnixListener::from(self.listener.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(tokio::net::UnixListener::from_std(listener)?)
    }

    /// The listening socket of a service with [`Listen::Tcp`].
    ///
    /// # Errors
    /// When it is no socket, which a service of another `LISTEN` will find.
    pub fn tcp_listener(&self) -> Result<tokio::net::TcpListener, Error> {
        let listener = std::net::TcpListener::from(self.listener.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }

    /// Says that connections on the listening socket are accepted. Only the first call counts.
    pub fn ready(&self) {
        self.reporter.ready(None);
    }

    /// Says that connections are accepted at this loopback address: for a service with [`Listen::Own`].
    pub fn ready_at(&self, address: SocketAddr) {
        self.reporter.ready(Some(address));
    }

    /// The listening Unix socket, with "ready" said, as connections wait in it already. Nothing else keeps the socket open: it
    /// is closed when the framework closes it.
    #[cfg(feature = "axum-0-8")]
    pub(crate) fn unix(self) -> Result<(tokio::net::UnixListener, impl Future<Output = ()> + Send + use<>), Error> {
        let listener = self.unix_listener()?;
        self.ready();
        Ok((listener, self.shutdown()))
    }

    /// Another handle to say [`ready_at`](Self::ready_at) with, from a callback.
    #[cfg(feature = "rocket-0-5")]
    pub(crate) fn reporter(&self) -> Arc<Reporter> {
        Arc::clone(&self.reporter)
    }

    /// Done when the platform wants the service to stop: take no new connections, finish those in flight.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut shutdown = self.shutdown.clone();
        async move {
            shutdown.requested().await;
        }
    }
}
