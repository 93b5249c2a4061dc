//! A proxy on a port of its own, apps on Unix sockets, and a client that writes requests byte by byte.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UnixListener},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

use crate::proxy::{ProxyConfig, Routes, Target, TargetState, Upstream, run};

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).boxed()
}

/// Waits until it is so. Only a failing test waits long.
#[track_caller]
pub(super) fn until(what: &'static str, mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let (begun, caller) = (Instant::now(), std::panic::Location::caller());
    async move {
        while !is_so() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{caller}: {what}");
            tokio::task::yield_now().await;
        }
    }
}

/// A running proxy.
pub(super) struct TestProxy {
    pub(super) address: SocketAddr,
    pub(super) routes: Arc<Routes>,
    shutdown: Option<oneshot::Sender<()>>,
    pub(super) running: JoinHandle<()>,
}

impl TestProxy {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let mut config = ProxyConfig::new("localhost");
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Arc::new(Routes::default());
        let (shutdown, stopped) = oneshot::channel();
        let running = tokio::spawn(run(listener, routes.clone(), config, async {
            let _ = stopped.await;
        }));
        Self { address, routes, shutdown: Some(shutdown), running }
    }

    /// Sends the project `app` to this target.
    pub(super) fn route(&self, target: &Arc<Target>) {
        self.routes.set(&"app".parse().unwrap(), target.clone());
    }

    /// Sends the project `app` to a new target of this app.
    pub(super) fn route_to(&self, app: &TestApp) -> Arc<Target> {
        let target = Target::new(TargetState::Ready(app.upstream()));
        self.route(&target);
        target
    }

    pub(super) async fn connect(&self) -> Client {
        Client { stream: BufReader::new(TcpStream::connect(self.address).await.unwrap()) }
    }

    /// One GET with this host, on a connection of its own.
    pub(super) async fn get(&self, host: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(&format!("GET /path?q=1 HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        client.answer().await
    }

    pub(super) fn stop(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }
}

/// An app on a Unix socket.
pub(super) struct TestApp {
    dir: TempDir,
    /// Takes connections for as long as the app lives.
    accepting: Option<AbortOnDropHandle<()>>,
    /// Connections that it has accepted.
    pub(super) connections: Arc<AtomicUsize>,
}

impl TestApp {
    /// One that answers each request with what `answer` makes of it.
    pub(super) fn serving<F, A>(answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let (mut app, listener) = Self::listening();
        let connections = app.connections.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                let service = service_fn(move |request| {
                    let answered = answer(request);
                    async move { Ok::<_, Infallible>(answered.await) }
                });
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection.with_upgrades());
            }
        });
        app.accepting = Some(AbortOnDropHandle::new(accepting));
        app
    }

    /// One that always says `text`.
    pub(super) fn saying(text: &'static str) -> Self {
        Self::serving(move |_| async move { Response::new(full(text)) })
    }

    /// One that answers with the head of the request that it got, a header a line, in order of their names.
    pub(super) fn echoing() -> Self {
        Self::serving(|request| async move {
            let mut lines: Vec<String> =
                request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            lines.sort();
            Response::new(full(format!("{} {}\n{}", request.method(), request.uri(), lines.join("\n"))))
        })
    }

    /// A socket that a test serves by hand.
    pub(super) fn listening() -> (Self, UnixListener) {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("app.sock")).unwrap();
        (Self { dir, accepting: None, connections: Arc::default() }, listener)
    }

    pub(super) fn upstream(&self) -> Upstream {
        Upstream::Unix(self.dir.path().join("app.sock"))
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A client's connection.
pub(super) struct Client {
    pub(super) stream: BufReader<TcpStream>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The head without its first line, names in lower case.
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Value of `x-shuttle-proxy`: which page it is.
    pub(super) fn page(&self) -> Option<&str> {
        self.header("x-shuttle-proxy")
    }
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.get_mut().write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Reads a head; the body is still to come.
    pub(super) async fn head(&mut self) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).await.unwrap(), 0, "the connection ended after {lines:?}");
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let status = lines.remove(0).split(' ').nth(1).unwrap().parse().unwrap();
        let lower = |line: &String| {
            let (name, value) = line.split_once(": ").unwrap();
            format!("{}: {value}", name.to_ascii_lowercase())
        };
        Answer { status, head: lines.iter().map(lower).collect::<Vec<_>>().join("\n"), body: String::new() }
    }

    /// Reads an answer whose length is announced, or which comes in chunks.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        if let Some(length) = answer.header("content-length") {
            let mut body = vec![0; length.parse().unwrap()];
            self.stream.read_exact(&mut body).await.unwrap();
            answer.body = String::from_utf8(body).unwrap();
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                answer.body.push_str(&chunk);
            }
        }
        answer
    }

    /// Reads a chunk; `None` for the last one.
    pub(super) async fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.stream.read_line(&mut size).await.unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size];
        self.stream.read_exact(&mut chunk).await.unwrap();
        let mut end = String::new();
        self.stream.read_line(&mut end).await.unwrap();
        (size > 0).then(|| String::from_utf8(chunk).unwrap())
    }

    /// Whether the other side has ended the connection, with nothing more to read.
    pub(super) async fn ended(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]).await, Ok(0) | Err(_))
    }
}
