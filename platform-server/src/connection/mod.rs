//! Connections of clients, for the proxy and the API alike: who may have how many, how long they may be silent, and how
//! they end. What is said in them is not this module's business.
//!
//! No client can keep others out. A connection has a limit on each wait: for a request's head, for the next piece of its
//! body, for the client to read the answer, for the next request. Where places run out, the longest idle connection is
//! closed for a new one; where one client has too many, one of its own.
//!
//! | File | Owns |
//! |---|---|
//! | this one | the limits, the accept loop, the life of one connection |
//! | `table` | who is connected |
//! | `watch` | what one connection is doing |
//! | `io` | the socket, and its closing |
//! | `body` | bodies that must go on |

mod body;
mod io;
mod table;
#[cfg(test)]
mod tests;
mod watch;

use std::{convert::Infallible, io as std_io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http_body::Body;
use hyper::{Request, Response, Version, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use ipnet::IpNet;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use self::{
    body::{AnswerBody, BodyError, ClientBody, Pace},
    table::Place,
};
use self::{
    io::ClientIo,
    table::{NoPlace, Table},
    watch::Verdict,
};

/// How long to wait after `accept` failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often such a failure is told.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// How long a connection may take to end once it is told to.
const CLOSING: Duration = Duration::from_secs(2);
/// Tells a client that has too many connections. There is no request yet, so this is all that can be said.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nx-shuttle-proxy: too-many-connections\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\nretry-after: 5\r\n\r\n\
    503: Too many connections\n\nThis address has too many connections and requests under way.\n";

/// The limits of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// What listens, for the log.
    pub(crate) what: &'static str,
    /// Connections at one time; when all are busy, more wait in the kernel's queue. Default: 4096.
    pub(crate) max_connections: usize,
    /// Connections of one client at one time: of an IPv4 address, or of a /64 of IPv6. Of the requests in an HTTP/2
    /// connection, each but the first counts as another one. Default: 1024.
    pub(crate) max_connections_per_client: usize,
    /// Proxies of the owner's: each speaks for many clients, and is believed in what it says of them. Default: none.
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Requests at one time in one HTTP/2 connection. Default: 128.
    pub(crate) max_streams: u32,
    /// Longest head of a message, in bytes; at least 8192. Default: 64 KiB.
    pub(crate) max_header_bytes: usize,
    /// Most header fields of a request over HTTP/1. Default: 128.
    pub(crate) max_headers: usize,
    /// How long a client may take to send a request's head; also how long an idle connection is kept. Default: 30 s.
    pub(crate) head_timeout: Duration,
    /// How a request's body must come. Default: something within 30 s, and 500 bytes a second.
    pub(crate) pace: Pace,
    /// How long a client may take none of its answer. Default: 60 s.
    pub(crate) write_timeout: Duration,
    /// How long requests in flight may take to finish at the end. Default: 10 s.
    pub(crate) shutdown_grace: Duration,
}

impl Config {
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            max_connections: 4096,
            max_connections_per_client: 1024,
            trusted_proxies: Vec::new(),
            max_streams: 128,
            max_header_bytes: 64 * 1024,
            max_headers: 128,
            head_timeout: Duration::from_secs(30),
            pace: Pace { timeout: Duration::from_secs(30), rate: 500 },
            write_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Ends connections, and what belongs to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// Every connection and every tunnel.
    pub(crate) tasks: TaskTracker,
    /// Finish what is in flight, take nothing new.
    pub(crate) stop: CancellationToken,
    /// End now.
    pub(crate) end: CancellationToken,
}

/// Serves connections from `listener` until `shutdown` resolves, then finishes what is in flight, within
/// [`Config::shutdown_grace`]. `answer` gets each request with its client's address and its connection's place, which is to
/// be kept by whatever goes on after the answer, such as a tunnel.
pub(crate) async fn run<A, F, B>(
    listener: TcpListener,
    config: Config,
    ending: Ending,
    answer: A,
    shutdown: impl Future<Output = ()>,
) where
    A: Fn(Request<ClientBody>, SocketAddr, &Arc<Place>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let table = Table::new(&config);
    let config = Arc::new(config);
    // However this future ends, dropped included, its connections end with it.
    let _end = ending.end.clone().drop_guard();
    let mut shutdown = pin!(shutdown);
    loop {
        // One at a time: what cannot be served waits in the kernel's queue, not in our memory.
        let next = async {
            let (stream, peer) = accept(&listener, &table, config.what).await;
            (place_for(&table, peer).await, stream, peer)
        };
        let (place, stream, peer) = tokio::select! {
            () = &mut shutdown => break,
            next = next => next,
        };
        let Some(place) = place else {
            refuse(stream).await;
            continue;
        };
        let (config, ending_here, answer) = (config.clone(), ending.clone(), answer.clone());
        ending.tasks.spawn(async move { serve(&config, &ending_here, stream, peer, Arc::new(place), answer).await });
    }
    drop(listener);
    ending.stop.cancel();
    ending.tasks.close();
    if tokio::time::timeout(config.shutdown_grace, ending.tasks.wait()).await.is_err() {
        let connections = ending.tasks.len();
        tracing::info!(connections, "{} ends connections that did not finish in time", config.what);
        ending.end.cancel();
        ending.tasks.wait().await;
    }
}

async fn accept(listener: &TcpListener, table: &Table, what: &str) -> (TcpStream, SocketAddr) {
    let mut told: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has gone again: its own business.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
                    told = Some(Instant::now());
                    tracing::warn!(%error, "{what} cannot accept connections");
                }
                // Where descriptors have run out, this gives one back.
                table.make_room();
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &std_io::Error) -> bool {
    use std_io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}

/// `None` if the client has too many.
async fn place_for(table: &Arc<Table>, peer: SocketAddr) -> Option<Place> {
    loop {
        // Watched before the table is looked at, so that no place is missed.
        let mut freed = pin!(table.freed());
        freed.as_mut().enable();
        match table.take(peer.ip()) {
            Ok(place) => return Some(place),
            Err(NoPlace::OfClient) => return None,
            Err(NoPlace::Closing) => {}
            Err(NoPlace::Full) => {
                table.make_room();
            }
        }
        // Meanwhile one may become idle without a place becoming free.
        let _ = tokio::time::timeout(ACCEPT_PAUSE, freed).await;
    }
}

/// Says why, if that is possible without waiting.
async fn refuse(mut stream: TcpStream) {
    let _ = tokio::time::timeout(Duration::from_millis(10), stream.write_all(TOO_MANY)).await;
}

/// Serves one connection to its end.
async fn serve<A, F, B>(config: &Config, ending: &Ending, stream: TcpStream, peer: SocketAddr, place: Arc<Place>, answer: A)
where
    A: Fn(Request<ClientBody>, SocketAddr, &Arc<Place>) -> F + Send + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    prepare(&stream, config);
    let connection = place.connection.clone();
    let pace = config.pace;
    let service = service_fn({
        let place = place.clone();
        move |request: Request<Incoming>| {
            let busy = place.connection.enter(request.version() == Version::HTTP_2);
            let request = request.map(|body| ClientBody::new(body, place.connection.clone(), pace));
            let answered = answer(request, peer, &place);
            async move { Ok::<_, Infallible>(answered.await.map(|body| AnswerBody::new(body, busy))) }
        }
    });
    // The place is given back with the last thing that belongs to the connection.
    drop(place);
    let io = TokioIo::new(ClientIo::new(stream, connection.clone()));
    let server = server(config);
    let mut serving = pin!(server.serve_connection_with_upgrades(io, service));
    let mut check = pin!(tokio::time::sleep(config.head_timeout));
    let (mut stopping, mut closing) = (false, false);
    loop {
        let must_close = tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%peer, error = %error, "a client's connection ended");
                }
                return;
            }
            () = check.as_mut() => match connection.judge(config) {
                Verdict::Keep(_) if closing && connection.is_idle() => return,
                Verdict::Keep(until) => {
                    // It may become idle before: that has its own, shorter limit.
                    check.as_mut().reset(until.min(Instant::now() + config.head_timeout));
                    false
                }
                Verdict::Idle => true,
                Verdict::Stalled => return,
            },
            () = connection.close.notified() => true,
            () = ending.stop.cancelled(), if !stopping => {
                stopping = true;
                serving.as_mut().graceful_shutdown();
                false
            }
            () = ending.end.cancelled() => return,
        };
        if must_close {
            // Whoever never said anything is owed no goodbye.
            if closing || !connection.has_spoken() {
                return;
            }
            closing = true;
            serving.as_mut().graceful_shutdown();
            check.as_mut().reset(Instant::now() + CLOSING);
        }
    }
}

/// Nothing of it is fatal where it cannot be had.
fn prepare(stream: &TcpStream, config: &Config) {
    use rustix::net::sockopt;
    // Small answers must not wait for the acknowledgement of the ones before.
    let _ = stream.set_nodelay(true);
    // A peer that has vanished without a word would keep its place for ever, in a tunnel above all.
    let _ = sockopt::set_socket_keepalive(stream, true);
    let _ = sockopt::set_tcp_keepidle(stream, config.write_timeout);
    let _ = sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15));
    let _ = sockopt::set_tcp_keepcnt(stream, 4);
}

fn server(config: &Config) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        // Its clock runs while the end of the answer before is still being written. `watch` knows better.
        .header_read_timeout(None)
        .max_buf_size(config.max_header_bytes)
        .max_headers(config.max_headers);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        // A peer that has vanished without a word would keep its place until the requests in it end.
        .keep_alive_interval(config.head_timeout)
        .keep_alive_timeout(config.head_timeout);
    server
}
