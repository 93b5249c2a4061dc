//! Services: what the annotated function can return, and what a service is given to serve with.

#[cfg(feature = "actix-web-4")]
mod actix_web_4;
#[cfg(feature = "axum-0-7")]
mod axum_0_7;
#[cfg(feature = "axum-0-8")]
mod axum_0_8;
mod background;
#[cfg(any(feature = "_hyper-1", feature = "thruster-1", feature = "tide-0-16"))]
mod connections;
#[cfg(feature = "_hyper-1")]
mod hyper;
mod listener;
#[cfg(feature = "poem-3")]
mod poem_3;
#[cfg(feature = "rocket-0-5")]
mod rocket_0_5;
#[cfg(feature = "salvo-1")]
mod salvo_1;
mod shutdown;
#[cfg(any(feature = "axum-0-7", feature = "axum-0-8"))]
mod sync_wrapper;
#[cfg(feature = "thruster-1")]
mod thruster_1;
#[cfg(feature = "tide-0-16")]
mod tide_0_16;
#[cfg(feature = "tower-hyper-1")]
mod tower;
#[cfg(feature = "warp-0-4")]
mod warp_0_4;

#[cfg(feature = "actix-web-4")]
pub use self::actix_web_4::{ActixWebConfig, ShuttleActixWeb};
#[cfg(feature = "axum-0-7")]
pub use self::axum_0_7::ShuttleAxum07;
#[cfg(feature = "axum-0-8")]
pub use self::axum_0_8::ShuttleAxum;
#[cfg(feature = "poem-3")]
pub use self::poem_3::{PoemEndpoint, ShuttlePoem};
#[cfg(feature = "rocket-0-5")]
pub use self::rocket_0_5::ShuttleRocket;
#[cfg(feature = "salvo-1")]
pub use self::salvo_1::ShuttleSalvo;
#[cfg(feature = "thruster-1")]
pub use self::thruster_1::ShuttleThruster;
#[cfg(feature = "tide-0-16")]
pub use self::tide_0_16::ShuttleTide;
#[cfg(feature = "tower-hyper-1")]
pub use self::tower::{ShuttleTower, Tower};
#[cfg(feature = "warp-0-4")]
pub use self::warp_0_4::{ShuttleWarp, WarpFilter};
pub use self::{
    background::{Background, background},
    listener::{OnTcp, OnUnix, on_tcp, on_unix},
    shutdown::Shutdown,
};

use std::{net::SocketAddr, os::fd::OwnedFd, pin::Pin, sync::Arc};

use tokio::net::{TcpListener, UnixListener};

use crate::{
    Error,
    control::{self, Reporter},
};

/// Most header fields of a request: those that the platform's proxy takes from a client, and its own. hyper takes 100.
#[cfg(any(feature = "_hyper-1", feature = "salvo-1"))]
const MAX_HEADERS: usize = 160;

/// Whether a [`Service`] is sent requests:
///
/// ```
/// use shuttle_service::{Background, Kind, Service};
///
/// assert_eq!(<Background as Service>::KIND, Kind::Background);
/// assert_eq!(<axum::Router as Service>::KIND, Kind::Http);
/// ```
pub use shuttle_abi::Kind;
/// Which socket a [`Service`] finds in its [`Serving`]:
///
/// ```
/// use shuttle_service::{Listen, OnTcp, Service};
///
/// assert_eq!(<OnTcp as Service>::LISTEN, Listen::Tcp);
/// assert_eq!(<axum::Router as Service>::LISTEN, Listen::Unix);
/// assert_eq!(<rocket::Rocket<rocket::Build> as Service>::LISTEN, Listen::Own);
/// ```
pub use shuttle_abi::Listen;

/// A service that serves, its type put aside.
type Served = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

/// What the annotated function makes: something that serves requests until it is told to stop.
///
/// | Type | Feature of shuttle-service |
/// |---|---|
/// | `axum::Router` (axum 0.8) | `axum` |
/// | `axum::Router` (axum 0.7) | `axum-0-7` |
/// | `rocket::Rocket<rocket::Build>` (rocket 0.5) | `rocket` |
/// | a closure over `&mut actix_web::web::ServiceConfig` (actix-web 4) | `actix-web` |
/// | any `poem::Endpoint` (poem 3) | `poem` |
/// | any `warp::Filter` that gives a reply (warp 0.4) | `warp` |
/// | `salvo::Router`, `salvo::Service` (salvo 1) | `salvo` |
/// | `tide::Server<State>` (tide 0.16) | `tide` |
/// | `thruster::App<HyperRequest, …>` (thruster 1) | `thruster` |
/// | `Tower`: any `tower::Service` over requests of hyper 1 | `tower` |
/// | `SyncWrapper` of one of these (sync_wrapper 1), as apps of 2022 have it | `axum` or `axum-0-7`; `web-axum` for sync_wrapper 0.1 too |
/// | [`OnUnix`], [`OnTcp`]: a closure that gets the listening socket, for every other framework | |
/// | [`Background`]: a closure that serves nobody | |
///
/// `Marker` tells apart implementations for all types of a kind, such as every closure; for one type it is `()`.
///
/// An app can implement it for a type of its own; most often [`on_unix`] is simpler.
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
    note = "a `tower::Service` over requests of hyper 1 is wrapped: return `Ok(shuttle_service::Tower(service))`, with shuttle-service's feature `tower`",
    note = "thruster's service is its `App`, not a `HyperServer` made of it; actix-web's is a closure over `&mut ServiceConfig`, not an `App`",
    note = "enable the framework's feature of shuttle-service: `axum` (0.8), `axum-0-7`, `rocket` (0.5), `actix-web` (4), `poem` (3), `warp` (0.4), `salvo` (1), `tide` (0.16), `thruster` (1), `tower`",
    note = "if the feature is enabled, the framework's version is another one than shuttle-service's: see `cargo tree -i axum`",
    note = "any other framework, or another version, can serve from `shuttle_service::on_unix`"
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
///
/// ```
/// use shuttle_service::{Error, Listen, Service, Serving};
///
/// struct Api(axum::Router);
///
/// impl Service for Api {
///     const FRAMEWORK: &'static str = "axum";
///     const LISTEN: Listen = Listen::Unix;
///
///     async fn serve(self, serving: Serving) -> Result<(), Error> {
///         let listener = serving.unix_listener()?;
///         serving.ready();
///         axum::serve(listener, self.0).with_graceful_shutdown(serving.shutdown()).await?;
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Serving {
    listener: OwnedFd,
    reporter: Arc<Reporter>,
    shutdown: control::Shutdown,
}

impl Serving {
    pub(crate) fn new(listener: OwnedFd, reporter: Arc<Reporter>, shutdown: control::Shutdown) -> Self {
        Self { listener, reporter, shutdown }
    }

    /// The listening socket of a service with [`Listen::Unix`]. It is bound: connections wait in it already.
    ///
    /// ```
    /// use shuttle_service::{Error, Serving};
    /// use tokio::net::UnixStream;
    ///
    /// async fn first(serving: &Serving) -> Result<UnixStream, Error> {
    ///     let (stream, _) = serving.unix_listener()?.accept().await?;
    ///     Ok(stream)
    /// }
    /// ```
    ///
    /// # Errors
    /// When it is no socket, which a service of another `LISTEN` will find.
    pub fn unix_listener(&self) -> Result<UnixListener, Error> {
        let listener = std::os::unix::net::UnixListener::from(self.listener.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(UnixListener::from_std(listener)?)
    }

    /// The listening socket of a service with [`Listen::Tcp`].
    ///
    /// ```
    /// use shuttle_service::{Error, Serving};
    /// use tokio::net::TcpStream;
    ///
    /// async fn first(serving: &Serving) -> Result<TcpStream, Error> {
    ///     let (stream, _) = serving.tcp_listener()?.accept().await?;
    ///     Ok(stream)
    /// }
    /// ```
    ///
    /// # Errors
    /// When it is no socket, which a service of another `LISTEN` will find.
    pub fn tcp_listener(&self) -> Result<TcpListener, Error> {
        let listener = std::net::TcpListener::from(self.listener.try_clone()?);
        listener.set_nonblocking(true)?;
        Ok(TcpListener::from_std(listener)?)
    }

    /// Says that connections on the listening socket are accepted. Only the first call counts.
    ///
    /// ```
    /// use shuttle_service::{Error, Serving};
    /// use tokio::net::UnixListener;
    ///
    /// fn listen(serving: &Serving) -> Result<UnixListener, Error> {
    ///     let listener = serving.unix_listener()?;
    ///     serving.ready();
    ///     Ok(listener)
    /// }
    /// ```
    pub fn ready(&self) {
        self.reporter.ready(None);
    }

    /// Says that connections are accepted at this loopback address: for a service with [`Listen::Own`].
    ///
    /// ```
    /// use shuttle_service::{Error, Serving};
    /// use tokio::net::TcpListener;
    ///
    /// async fn listen(serving: &Serving) -> Result<TcpListener, Error> {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     serving.ready_at(listener.local_addr()?);
    ///     Ok(listener)
    /// }
    /// ```
    pub fn ready_at(&self, address: SocketAddr) {
        self.reporter.ready(Some(address));
    }

    /// The listening Unix socket, with "ready" said, as connections wait in it already. Nothing else keeps the socket open: it
    /// is closed when the framework closes it.
    fn unix(self) -> Result<(UnixListener, Shutdown), Error> {
        let listener = self.unix_listener()?;
        self.ready();
        Ok((listener, self.shutdown()))
    }

    /// As [`unix`](Self::unix), the TCP socket.
    fn tcp(self) -> Result<(TcpListener, Shutdown), Error> {
        let listener = self.tcp_listener()?;
        self.ready();
        Ok((listener, self.shutdown()))
    }

    /// Another handle to say [`ready_at`](Self::ready_at) with, from a callback.
    #[cfg(feature = "rocket-0-5")]
    pub(crate) fn reporter(&self) -> Arc<Reporter> {
        Arc::clone(&self.reporter)
    }

    /// Done when the platform wants the service to stop: take no new connections, finish those in flight.
    ///
    /// ```
    /// use shuttle_service::Serving;
    ///
    /// async fn until_told_to_stop(serving: &Serving) {
    ///     serving.ready();
    ///     serving.shutdown().await;
    ///     println!("no new connections from here on");
    /// }
    /// ```
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(self.shutdown.clone())
    }
}
