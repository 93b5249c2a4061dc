//! Connections of clients that ask for nothing, slowly, or too often.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{Request, Response, StatusCode, body::Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use super::{BodyError, ClientBody, Config, Ending, Pace, run};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(50);
/// Long enough for a connection and a request, also on a busy machine.
const SETUP: Duration = Duration::from_secs(1);
/// More than what the kernel takes of an answer that nobody reads.
const LARGE: usize = 32 << 20;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server whose paths are what it does.
struct Server {
    address: SocketAddr,
    ending: Ending,
    /// A request for `/held` has come.
    held: Arc<Notify>,
    _running: AbortOnDropHandle<()>,
}

impl Server {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new("the test");
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let held = Arc::new(Notify::new());
        let answer = {
            let held = held.clone();
            move |request: Request<ClientBody>, _, _: &_| {
                let held = held.clone();
                async move { answer(request, &held).await }
            }
        };
        let ending = Ending::default();
        let running = tokio::spawn(run(listener, config, ending.clone(), answer, std::future::pending()));
        Self { address, ending, held, _running: AbortOnDropHandle::new(running) }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn nobody_is_left(&self) {
        self.ending.tasks.close();
        self.ending.tasks.wait().await;
    }

    /// A connection in which a request is under way.
    async fn busy(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        timeout(PATIENCE, self.held.notified()).await.unwrap();
        stream
    }
}

type AnyBody = BoxBody<Bytes, std::convert::Infallible>;

async fn answer(request: Request<ClientBody>, held: &Notify) -> Response<AnyBody> {
    match request.uri().path() {
        "/held" => {
            held.notify_one();
            std::future::pending().await
        }
        "/endless" => {
            let pieces = futures_util::stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 65536]))));
            Response::new(BodyExt::boxed(StreamBody::new(pieces)))
        }
        "/bursts" => {
            let pieces = futures_util::stream::unfold((), |()| async {
                tokio::time::sleep(Duration::from_millis(1)).await;
                Some((Ok(Frame::data(Bytes::from_static(&[0; 1 << 20]))), ()))
            });
            Response::new(BodyExt::boxed(StreamBody::new(pieces)))
        }
        "/large" => Response::new(Full::from(vec![b'x'; LARGE]).boxed()),
        "/unread" => {
            let mut response = Response::new(Full::from("no, thanks").boxed());
            *response.status_mut() = StatusCode::FORBIDDEN;
            response
        }
        path => {
            if path == "/late" {
                tokio::time::sleep(3 * SHORT).await;
            }
            read(request).await
        }
    }
}

/// Reads the body, and says how long it is.
async fn read(request: Request<ClientBody>) -> Response<AnyBody> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(Full::from(body.to_bytes().len().to_string()).boxed()),
        Err(BodyError::TooSlow(_)) => status(StatusCode::REQUEST_TIMEOUT),
        Err(BodyError::Broken(_)) => status(StatusCode::BAD_REQUEST),
    }
}

fn status(status: StatusCode) -> Response<AnyBody> {
    let mut response = Response::new(Full::default().boxed());
    *response.status_mut() = status;
    response
}

/// Everything until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection stays");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with a short body.
async fn one_answer(stream: &mut TcpStream) -> String {
    let mut bytes = vec![0; 10_000];
    let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("there is no answer").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

#[tokio::test]
async fn whoever_sends_no_whole_head_in_time_is_dropped() {
    let server = Server::start(|config| config.head_timeout = SHORT).await;
    for begin in [&b""[..], b"P", b"PRI * HTTP/2", b"GET / HTTP/1.1\r\nHo", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = server.connect().await;
        stream.write_all(begin).await.unwrap();
        rest(&mut stream).await;
    }
    // A head that comes byte by byte has no more time than another one.
    let (mut stream, began) = (server.connect().await, Instant::now());
    while stream.write_all(b"a").await.is_ok() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(SHORT / 10).await;
    }
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_answer() {
    let server = Server::start(|config| config.head_timeout = SETUP).await;
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_of_http_2_that_only_answers_pings_is_dropped() {
    let server = Server::start(|config| config.head_timeout = SETUP).await;
    for asks in [false, true] {
        let io = TokioIo::new(server.connect().await);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        // It answers pings, for as long as the connection lives.
        let connection: JoinHandle<_> = tokio::spawn(connection);
        if asks {
            let request = Request::get("http://a/").body(Empty::<Bytes>::new()).unwrap();
            assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
        }
        timeout(PATIENCE, connection).await.expect("the connection stays").unwrap().ok();
        assert!(sender.is_closed());
    }
}

#[tokio::test]
async fn a_request_that_takes_long_is_not_idleness() {
    let server = Server::start(|config| (config.head_timeout, config.write_timeout) = (SETUP, SHORT)).await;
    let mut held = server.busy().await;
    let mut idle = server.connect().await;
    rest(&mut idle).await;
    // Twice the time after which it would have been taken for idle.
    assert!(timeout(SETUP, held.read(&mut [0; 1])).await.is_err());
}

#[tokio::test]
async fn a_body_must_go_on() {
    let pace = Pace { timeout: SHORT, rate: 1_000_000 };
    let server = Server::start(|config| config.pace = pace).await;
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 408"));
    // One that trickles never pauses for long, and is too slow all the same.
    let (mut stream, began) = (server.connect().await, Instant::now());
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
    let answer = loop {
        assert!(began.elapsed() < PATIENCE);
        let _ = stream.write_all(b"x").await;
        if let Ok(read) = timeout(SHORT / 10, stream.read(&mut [0; 12])).await {
            break read.unwrap();
        }
    };
    assert_eq!(answer, 12);
}

#[tokio::test]
async fn only_waiting_for_the_client_counts_as_slowness() {
    let pace = Pace { timeout: SHORT, rate: 1 };
    let server = Server::start(|config| config.pace = pace).await;
    let mut stream = server.connect().await;
    // All of it is there, and nobody wants it for longer than it might take to come.
    stream.write_all(b"POST /late HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy").await.unwrap();
    assert!(one_answer(&mut stream).await.ends_with("\r\n\r\n2"));
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_dropped() {
    let server = Server::start(|config| (config.head_timeout, config.write_timeout) = (SETUP, SHORT)).await;
    // `/bursts` has nothing to send at times, as an event stream.
    for path in ["/endless", "/bursts"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await.unwrap();
        // The server's end is seen by writing alone.
        let began = Instant::now();
        while stream.write_all(b"\r\n").await.is_ok() {
            assert!(began.elapsed() < PATIENCE, "{path}: the connection stays");
            tokio::time::sleep(SHORT / 10).await;
        }
    }

    // HTTP/2: it answers pings, and gives no window for the body.
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(1000);
    let (mut sender, connection) = client.handshake(TokioIo::new(server.connect().await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(Request::get("http://a/endless").body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    timeout(PATIENCE, connection).await.expect("the connection stays").unwrap().ok();
    drop(response);
}

#[tokio::test]
async fn when_all_places_are_taken_the_longest_idle_one_is_closed() {
    let server = Server::start(|config| config.max_connections = 3).await;
    let mut busy = server.busy().await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for stream in [&mut first, &mut second] {
        stream.write_all(GET).await.unwrap();
        assert!(one_answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = server.connect().await;
    third.write_all(GET).await.unwrap();
    assert!(one_answer(&mut third).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut first).await, "");
    for stream in [&mut second, &mut third] {
        stream.write_all(GET).await.unwrap();
        assert!(one_answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    assert!(futures_util::poll!(std::pin::pin!(busy.read(&mut [0; 1]))).is_pending());
}

#[tokio::test]
async fn the_end_of_an_answer_is_not_cut_off() {
    let server = Server::start(|config| (config.max_connections, config.head_timeout) = (1, SETUP)).await;
    let mut slow = server.connect().await;
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    slow.readable().await.unwrap();
    // Somebody waits for its place, and it reads nothing for longer than an idle connection is kept and may take to close.
    let mut other = server.connect().await;
    other.write_all(GET).await.unwrap();
    assert!(timeout(SETUP + super::CLOSING + SETUP, other.read(&mut [0; 1])).await.is_err());
    assert_eq!(rest(&mut slow).await.split("\r\n\r\n").nth(1).unwrap().len(), LARGE);
    assert!(one_answer(&mut other).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let server = Server::start(|config| config.max_connections = 8).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        silent.push(stream);
    }
    let mut stream = server.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(one_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn one_client_does_not_take_all_places() {
    let server = Server::start(|config| config.max_connections_per_client = 2).await;
    let busy = [server.busy().await, server.busy().await];
    let mut refused = server.connect().await;
    let answer = rest(&mut refused).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("too-many-connections"), "{answer}");
    // Another address has its own places; and so has this one when it closes some.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(server.address).await.unwrap();
    other.write_all(GET).await.unwrap();
    assert!(one_answer(&mut other).await.starts_with("HTTP/1.1 200"));
    drop(busy);
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE);
        let mut stream = server.connect().await;
        let _ = stream.write_all(GET).await;
        if one_answer(&mut stream).await.starts_with("HTTP/1.1 200") {
            return;
        }
    }
}

#[tokio::test]
async fn a_client_that_still_sends_reads_the_answer() {
    let server = Server::start(|_| {}).await;
    for _ in 0..20 {
        let mut stream = server.connect().await;
        stream.write_all(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").await.unwrap();
        for _ in 0..30 {
            stream.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 403") && answer.ends_with("no, thanks"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_needs_no_lingering() {
    let server = Server::start(|config| config.head_timeout = SETUP).await;
    let began = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.ends_with("\r\n\r\n1"));
    // The place is free at once, although the client keeps its side open: nothing is waited for.
    timeout(super::io::LINGER_QUIET, server.nobody_is_left()).await.unwrap();
    assert!(began.elapsed() < super::io::LINGER_QUIET);
}
