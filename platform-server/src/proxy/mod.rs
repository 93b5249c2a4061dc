//! The proxy: takes HTTP requests from the world and hands each to the app that its host name names.
//!
//! `<project>.<domain>` is looked up in [`Routes`], which leads to a [`Target`]: one live instance of an app. A request
//! for a target that is starting is held until it is ready. Bodies pass through in both directions piece by piece,
//! upgraded connections (WebSockets) as bytes. Whatever the proxy has to say itself is a short page with the header
//! `x-shuttle-proxy`, so that it cannot be mistaken for the app's own answer.
//!
//! The proxy never starts, stops or probes anything, never decides which instance serves, never buffers a body, and
//! believes no forwarding header of a client unless it is told to.
//!
//! | File | Owns |
//! |---|---|
//! | this one | the accept loop, connections, shutting down |
//! | `config` | the limits |
//! | `routes`, `target` | which instance serves a project; what is in flight to it |
//! | `forward` | the way of one request |
//! | `host`, `headers` | what a request is about; which headers pass |
//! | `pool`, `body` | connections to one instance, and when they are free again |
//! | `tunnel` | connections after an upgrade |
//! | `pages` | the proxy's own answers |

mod body;
mod config;
mod forward;
mod headers;
mod host;
mod pages;
mod pool;
mod routes;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::forward::Forwarder;
pub use self::{
    config::ProxyConfig,
    routes::Routes,
    target::{Target, TargetState, Upstream},
};

/// How long to wait after `accept` failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection shares.
struct Shared {
    routes: Arc<Routes>,
    config: ProxyConfig,
    /// Every connection and every tunnel.
    tasks: TaskTracker,
    /// Finish what is in flight, take nothing new.
    stop: CancellationToken,
    /// End now.
    end: CancellationToken,
}

/// Serves connections from `listener` until `shutdown` resolves, then finishes what is in flight, within
/// [`ProxyConfig::shutdown_grace`].
pub async fn run(listener: TcpListener, routes: Arc<Routes>, config: ProxyConfig, shutdown: impl Future<Output = ()>) {
    let permits = Arc::new(Semaphore::new(config.max_connections));
    let shared = Arc::new(Shared {
        routes,
        config,
        tasks: TaskTracker::new(),
        stop: CancellationToken::new(),
        end: CancellationToken::new(),
    });
    // However this future ends, dropped included, its connections end with it.
    let _end = shared.end.clone().drop_guard();
    let mut shutdown = pin!(shutdown);
    loop {
        // The permit comes first: what cannot be served waits in the kernel's queue, not in our memory.
        let next = async {
            let permit = permits.clone().acquire_owned().await.ok();
            let (stream, peer) = accept(&listener).await;
            (permit, stream, peer)
        };
        let (permit, stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let shared_here = shared.clone();
        shared.tasks.spawn(async move {
            serve(shared_here, stream, peer).await;
            drop(permit);
        });
    }
    drop(listener);
    shared.stop.cancel();
    shared.tasks.close();
    if tokio::time::timeout(shared.config.shutdown_grace, shared.tasks.wait()).await.is_err() {
        tracing::info!(connections = shared.tasks.len(), "the proxy ends connections that did not finish in time");
        shared.end.cancel();
        shared.tasks.wait().await;
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has gone again: its own business.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "the proxy cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}

/// Serves one connection to its end.
async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // Small answers must not wait for the acknowledgement of the ones before. Not fatal where it cannot be had.
    let _ = stream.set_nodelay(true);
    let forwarder = Arc::new(Forwarder { shared: shared.clone(), peer: peer.ip().to_canonical() });
    let spoke = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let spoke = spoke.clone();
        move |request| {
            spoke.store(true, Ordering::Relaxed);
            let forwarder = forwarder.clone();
            async move { Ok::<_, Infallible>(forwarder.answer(request).await) }
        }
    });
    let server = server(&shared.config);
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
    // The server's own timeout begins only once it knows which version of HTTP is spoken.
    let mut first_request = pin!(tokio::time::sleep(shared.config.header_read_timeout));
    let (mut waits_for_first, mut stopping) = (true, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%peer, error = %error, "a client's connection ended");
                }
                return;
            }
            () = first_request.as_mut(), if waits_for_first => {
                waits_for_first = false;
                if !spoke.load(Ordering::Relaxed) {
                    return;
                }
            }
            () = shared.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = shared.end.cancelled() => return,
        }
    }
}

fn server(config: &ProxyConfig) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(config.header_read_timeout).max_buf_size(config.max_header_bytes);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        // A peer that has vanished without a word would keep its place for ever.
        .keep_alive_interval(config.header_read_timeout)
        .keep_alive_timeout(config.header_read_timeout);
    server
}
