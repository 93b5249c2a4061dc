//! Closures that get the listening socket itself: any framework of any version can be served with.

use std::fmt;

use tokio::net::{TcpListener, UnixListener};

use super::{Served, Shutdown};
use crate::{Error, Listen, Service, Serving};

/// Serves HTTP over the listening Unix socket that the platform has made, with any framework of any version.
///
/// The closure's future is the service: when the [`Shutdown`] is done, it takes no new connections, finishes those that it
/// has, and returns. Connections wait in the socket already; the closure need not say that it is ready. A framework that
/// takes no tokio socket is given the one of `listener.into_std()`, which is in non-blocking mode.
///
/// ```
/// use std::convert::Infallible;
///
/// use http_body_util::Full;
/// use hyper::{Request, Response, body::{Bytes, Incoming}, server::conn::http1, service::service_fn};
/// use hyper_util::rt::TokioIo;
/// use shuttle_service::{Error, OnUnix, on_unix};
///
/// async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("Hello, world!")))
/// }
///
/// #[shuttle_service::main]
/// async fn app() -> Result<OnUnix, Error> {
///     Ok(on_unix(|listener, mut shutdown| async move {
///         let mut connections = tokio::task::JoinSet::new();
///         loop {
///             let (stream, _) = tokio::select! {
///                 accepted = listener.accept() => accepted?,
///                 () = &mut shutdown => break,
///             };
///             let shutdown = shutdown.clone();
///             connections.spawn(async move {
///                 let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello));
///                 let mut connection = std::pin::pin!(connection);
///                 tokio::select! {
///                     ended = &mut connection => return ended,
///                     () = shutdown => connection.as_mut().graceful_shutdown(),
///                 }
///                 connection.await
///             });
///         }
///         drop(listener);
///         connections.join_all().await;
///         Ok(())
///     }))
/// }
/// ```
pub fn on_unix<F, Fut>(serve: F) -> OnUnix
where
    F: FnOnce(UnixListener, Shutdown) -> Fut + 'static,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    OnUnix(Box::new(|listener, shutdown| Box::pin(serve(listener, shutdown))))
}

/// Serves HTTP over a TCP socket on loopback that the platform has made: as [`on_unix`], for a framework that cannot listen on
/// a Unix socket. That one is faster, and no other user of the machine can connect to it.
///
/// ```
/// use axum::{Router, routing::get};
/// use shuttle_service::{Error, OnTcp, on_tcp};
///
/// #[shuttle_service::main]
/// async fn app() -> Result<OnTcp, Error> {
///     Ok(on_tcp(|listener, shutdown| async move {
///         let router = Router::new().route("/", get(async || "Hello, world!"));
///         axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
///         Ok(())
///     }))
/// }
/// ```
pub fn on_tcp<F, Fut>(serve: F) -> OnTcp
where
    F: FnOnce(TcpListener, Shutdown) -> Fut + 'static,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    OnTcp(Box::new(|listener, shutdown| Box::pin(serve(listener, shutdown))))
}

/// What [`on_unix`] gives.
///
/// ```
/// use shuttle_service::{OnUnix, on_unix};
///
/// fn serve(router: axum::Router) -> OnUnix {
///     on_unix(|listener, shutdown| async move {
///         axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
///         Ok(())
///     })
/// }
/// ```
pub struct OnUnix(Box<dyn FnOnce(UnixListener, Shutdown) -> Served>);

/// What [`on_tcp`] gives.
///
/// ```
/// use shuttle_service::{OnTcp, on_tcp};
///
/// fn serve(router: axum::Router) -> OnTcp {
///     on_tcp(|listener, shutdown| async move {
///         axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
///         Ok(())
///     })
/// }
/// ```
pub struct OnTcp(Box<dyn FnOnce(TcpListener, Shutdown) -> Served>);

impl Service for OnUnix {
    const FRAMEWORK: &'static str = "listener";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        let (listener, shutdown) = serving.unix()?;
        (self.0)(listener, shutdown).await
    }
}

impl Service for OnTcp {
    const FRAMEWORK: &'static str = "listener";
    const LISTEN: Listen = Listen::Tcp;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        let (listener, shutdown) = serving.tcp()?;
        (self.0)(listener, shutdown).await
    }
}

impl fmt::Debug for OnUnix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnUnix")
    }
}

impl fmt::Debug for OnTcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnTcp")
    }
}
