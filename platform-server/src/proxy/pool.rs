//! Connections to one instance, kept for the next request.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    runtime::Handle,
    task::AbortHandle,
};

use super::{
    ProxyConfig,
    body::RequestBody,
    target::Upstream,
    upstream::{UpstreamIo, Wire},
};

/// A Unix socket with a full queue refuses at once (EAGAIN) instead of waiting, as TCP does; this is how often to ask.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// Idle connections to all apps, kept in number because file descriptors are the whole process's.
static IDLE: AtomicUsize = AtomicUsize::new(0);

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("connecting takes too long")]
    ConnectTimeout,
    #[error("the connection broke: {0}")]
    Broken(#[source] hyper::Error),
}

/// The connections to one upstream. Dropping it closes those that are idle.
#[derive(Debug)]
pub(super) struct Pool {
    upstream: Upstream,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// In the order in which they became idle.
    idle: Vec<Idle>,
    /// A task is there that closes them when they are old; one, however often they come and go.
    watched: bool,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    _counted: Counted,
}

/// One of [`IDLE`].
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new(most: usize) -> Option<Self> {
        let one_more = |count| (count < most).then_some(count + 1);
        IDLE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok().then_some(Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        IDLE.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One connection. Dropping it closes it, whatever it is doing.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    wire: Arc<Wire>,
    driver: AbortHandle,
}

impl Connection {
    /// Whether it can carry another request, now or when its last one has been sent to the end.
    fn is_usable(&self) -> bool {
        !self.sender.is_closed() && !self.wire.is_deaf()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A connection in use. It is closed when dropped, and kept with [`Lease::give_back`].
#[derive(Debug)]
pub(super) struct Lease {
    connection: Connection,
    /// Weak, so that a pool that was replaced meanwhile gets nothing back.
    pool: Weak<Pool>,
    max_idle: usize,
    max_idle_of_all: usize,
    idle_timeout: Duration,
}

impl Lease {
    /// The response has been read to its end: the connection is free, or will be in a moment.
    pub(super) fn give_back(self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut kept = pool.lock();
        if !self.connection.is_usable() || kept.idle.len() >= self.max_idle {
            return;
        }
        let Some(counted) = Counted::new(self.max_idle_of_all) else { return };
        kept.idle.push(Idle { connection: self.connection, since: Instant::now(), _counted: counted });
        // Without a runtime everything is ending anyway.
        if !kept.watched
            && let Ok(runtime) = Handle::try_current()
        {
            kept.watched = true;
            runtime.spawn(close_when_old(self.pool, self.idle_timeout));
        }
    }
}

/// Closes connections that nobody wanted in time, for as long as there are any.
async fn close_when_old(pool: Weak<Pool>, idle_timeout: Duration) {
    loop {
        tokio::time::sleep(idle_timeout).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut kept = pool.lock();
        kept.close_old(idle_timeout);
        if kept.idle.is_empty() {
            kept.watched = false;
            return;
        }
    }
}

impl Kept {
    fn close_old(&mut self, idle_timeout: Duration) {
        let now = Instant::now();
        let old = self.idle.iter().take_while(|idle| now.duration_since(idle.since) >= idle_timeout).count();
        self.idle.drain(..old);
    }
}

impl Pool {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self { upstream, kept: Mutex::default() }
    }

    /// Sends a request and waits for the head of its response.
    ///
    /// An app may close a kept connection at the very moment at which it is used again. Then the request is sent once more
    /// where that does no harm: always if nothing of it was sent, and over a new connection if it has no body, may be
    /// repeated by its method, and got not one byte of an answer.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        config: &ProxyConfig,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        let mut may_keep = true;
        loop {
            let idle = if may_keep { self.take_idle(config.idle_timeout) } else { None };
            let (mut connection, kept) = match idle {
                Some(connection) => (connection, true),
                None => (self.connect(config).await?, false),
            };
            let again = if kept { copy(&request) } else { None };
            connection.wire.begin();
            let mut error = match connection.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok((response, self.lease(connection, config)));
                }
                Err(error) => error,
            };
            request = match (error.take_message(), again) {
                (Some(unsent), _) if kept => unsent,
                (None, Some(again)) if !connection.wire.was_heard() => {
                    may_keep = false;
                    again
                }
                _ => return Err(SendError::Broken(error.into_error())),
            };
        }
    }

    fn lease(self: &Arc<Self>, connection: Connection, config: &ProxyConfig) -> Lease {
        Lease {
            connection,
            pool: Arc::downgrade(self),
            max_idle: config.max_idle,
            max_idle_of_all: config.max_idle_of_all,
            idle_timeout: config.idle_timeout,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last, so that those which are not needed grow old.
    fn take_idle(&self, idle_timeout: Duration) -> Option<Connection> {
        let mut kept = self.lock();
        kept.close_old(idle_timeout);
        // One that is not ready is still busy with the rest of its last request, or was closed by the app.
        let at = kept.idle.iter().rposition(|idle| idle.connection.is_usable() && idle.connection.sender.is_ready())?;
        Some(kept.idle.remove(at).connection)
    }

    async fn connect(&self, config: &ProxyConfig) -> Result<Connection, SendError> {
        let connecting = async {
            match &self.upstream {
                Upstream::Unix(path) => {
                    let stream = connect_unix(path).await.map_err(SendError::Connect)?;
                    open(stream, config).await
                }
                Upstream::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(SendError::Connect)?;
                    stream.set_nodelay(true).map_err(SendError::Connect)?;
                    open(stream, config).await
                }
            }
        };
        tokio::time::timeout(config.connect_timeout, connecting).await.unwrap_or(Err(SendError::ConnectTimeout))
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_PAUSE).await,
            connected => return connected,
        }
    }
}

async fn open(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: &ProxyConfig,
) -> Result<Connection, SendError> {
    let (stream, wire) = UpstreamIo::new(stream);
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(config.clients.max_header_bytes)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(SendError::Broken)?;
    let driver = tokio::spawn(async move {
        // What goes wrong is told to the request that it concerns.
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection { sender, wire, driver: driver.abort_handle() })
}

/// The request once more, if it may be sent twice.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::none());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}
