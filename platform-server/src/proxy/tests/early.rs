//! Apps that answer before they have read the request, and close the connection: what they said arrives.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode, client::conn::http2::SendRequest, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::support::{Body, TestProxy, full};
use crate::proxy::{Target, TargetState, Upstream};

const WORDS: &str = "go away";

/// How an app answers at once.
#[derive(Debug, Clone, Copy)]
enum App {
    /// As axum, warp and others do: the handler ignores the body.
    Hyper,
    /// Reads the head, says how long its answer is.
    Length,
    /// Reads the head, and ends its answer with the connection.
    Close,
}

/// Size of a body, and how many requests have one.
const BODIES: [(usize, usize); 4] = [(20_000, 80), (64_000, 60), (300_000, 50), (5_000_000, 10)];
const CLIENTS: usize = 8;
/// Longer than one exchange takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn answer(app: App, mut stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    if let App::Hyper = app {
        let service = service_fn(|_| async {
            let mut response = Response::new(full(WORDS));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok::<_, Infallible>(response)
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        return;
    }
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let length = if let App::Close = app { String::new() } else { format!("Content-Length: {}\r\n", WORDS.len()) };
    let answer = format!("HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n{length}\r\n{WORDS}");
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// The client of HTTP/1.1 sends everything before it reads.
async fn ask_http_1(proxy: &TestProxy, size: usize) {
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'x'; size]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains(WORDS), "{size}: {answer}");
}

async fn ask_http_2(sender: &mut SendRequest<Body>, size: usize) {
    let request = Request::post("http://app.localhost/").body(full(vec![b'x'; size])).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 401, "{size}");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), WORDS, "{size}");
}

async fn all_answers_arrive(proxy: TestProxy, what: &str) {
    let proxy = Arc::new(proxy);
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (proxy, mut sender) = (proxy.clone(), sender.clone());
            tokio::spawn(async move {
                for (size, requests) in BODIES {
                    for _ in (client..requests).step_by(CLIENTS) {
                        timeout(PATIENCE, ask_http_1(&proxy, size)).await.expect("no answer over HTTP/1.1");
                        timeout(PATIENCE, ask_http_2(&mut sender, size)).await.expect("no answer over HTTP/2");
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_comes_early_arrives_over_a_unix_socket() {
    for app in [App::Hyper, App::Length, App::Close] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let _app = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(app, stream));
            }
        }));
        let proxy = TestProxy::start().await;
        proxy.route(&Target::new(TargetState::Ready(Upstream::Unix(path))));
        all_answers_arrive(proxy, &format!("{app:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_that_comes_early_arrives_over_tcp() {
    for app in [App::Hyper, App::Length, App::Close] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let _app = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(app, stream));
            }
        }));
        let proxy = TestProxy::start().await;
        proxy.route(&Target::new(TargetState::Ready(Upstream::Tcp(address))));
        all_answers_arrive(proxy, &format!("{app:?}")).await;
    }
}
