//! Requests that are answered: routing, headers, bodies, connections, swaps.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::{Request, Response, body::Frame, header::HeaderValue};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, Notify, mpsc},
};
use tokio_util::task::AbortOnDropHandle;

use super::support::{Body, TestApp, TestProxy, full};
use crate::proxy::{Target, TargetState, Upstream};

/// A body whose chunks come from the test.
fn body_of(mut chunks: mpsc::Receiver<&'static str>) -> Body {
    let frames = futures_util::stream::poll_fn(move |cx| chunks.poll_recv(cx));
    BodyExt::boxed(StreamBody::new(frames.map(|chunk| Ok(Frame::data(Bytes::from(chunk))))))
}

#[tokio::test]
async fn a_host_leads_to_its_app_whatever_its_case_port_and_trailing_dot() {
    let proxy = TestProxy::start().await;
    let app = TestApp::saying("hello");
    proxy.route_to(&app);
    for host in ["app.localhost", "app.localhost:8000", "APP.Localhost.", "app.LOCALHOST.:80"] {
        let answer = proxy.get(host).await;
        assert_eq!((answer.status, answer.body.as_str(), answer.page()), (200, "hello", None), "{host}");
    }
    let mut client = proxy.connect().await;
    client.send("GET http://app.localhost/ HTTP/1.1\r\nHost: other.localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "hello");
}

#[tokio::test]
async fn an_app_over_tcp_is_reached_as_well() {
    let proxy = TestProxy::start().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    proxy.route(&Target::new(TargetState::Ready(Upstream::Tcp(listener.local_addr().unwrap()))));
    let answer = tokio::spawn(async move { proxy.get("app.localhost").await });
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 1000];
    let read = stream.read(&mut request).await.unwrap();
    assert!(request[..read].starts_with(b"GET /path?q=1 HTTP/1.1\r\n"));
    stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nuntil the end").await.unwrap();
    drop(stream);
    assert_eq!(answer.await.unwrap().body, "until the end");
}

#[tokio::test]
async fn an_app_gets_the_headers_that_concern_it() {
    let proxy = TestProxy::start().await;
    let app = TestApp::echoing();
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client
        .send(
            "GET /a%20b?c HTTP/1.1\r\nHost: App.localhost:8000\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\
             X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nCookie: a=b\r\n\r\n",
        )
        .await;
    let wanted = "GET /a%20b?c\ncookie: a=b\nhost: App.localhost:8000\nx-forwarded-for: 127.0.0.1\n\
                  x-forwarded-host: App.localhost:8000\nx-forwarded-proto: http\nx-real-ip: 127.0.0.1";
    assert_eq!(client.answer().await.body, wanted);
}

#[tokio::test]
async fn a_proxy_of_the_owners_says_who_the_client_is() {
    let asked = "GET / HTTP/1.1\r\nHost: app.localhost\r\nX-Forwarded-For: 198.51.100.66, 203.0.113.9\r\n\
                 X-Forwarded-Proto: https\r\nX-Real-IP: 198.51.100.66\r\nX_Forwarded_For: 198.51.100.66\r\n\r\n";
    for (trusted, client, proto) in [("127.0.0.0/8", "203.0.113.9", "https"), ("192.0.2.0/24", "127.0.0.1", "http")] {
        let proxy = TestProxy::start_with(|config| config.clients.trusted_proxies = vec![trusted.parse().unwrap()]).await;
        let app = TestApp::echoing();
        proxy.route_to(&app);
        let mut client_of_proxy = proxy.connect().await;
        client_of_proxy.send(asked).await;
        let wanted = format!(
            "GET /\nhost: app.localhost\nx-forwarded-for: {client}\nx-forwarded-host: app.localhost\n\
             x-forwarded-proto: {proto}\nx-real-ip: {client}"
        );
        assert_eq!(client_of_proxy.answer().await.body, wanted);
    }
}

#[tokio::test]
async fn a_client_gets_the_headers_that_concern_it() {
    let proxy = TestProxy::start().await;
    let app = TestApp::serving(|_| async {
        let mut response = Response::new(full("x"));
        for (name, value) in
            [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "5"), ("x-shuttle-proxy", "down"), ("set-cookie", "a=b")]
        {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    });
    proxy.route_to(&app);
    let answer = proxy.get("app.localhost").await;
    assert_eq!(answer.header("set-cookie"), Some("a=b"));
    for gone in ["connection", "x-hop", "keep-alive", "x-shuttle-proxy"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_response_streams() {
    let proxy = TestProxy::start().await;
    let (chunks, body) = mpsc::channel(1);
    let body = Arc::new(Mutex::new(Some(body)));
    let app = TestApp::serving(move |_| {
        let body = body.clone();
        async move { Response::new(body_of(body.lock().await.take().unwrap())) }
    });
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
    assert_eq!(client.head().await.status, 200);
    for chunk in ["one", "two"] {
        chunks.send(chunk).await.unwrap();
        assert_eq!(client.chunk().await.as_deref(), Some(chunk));
    }
    drop(chunks);
    assert_eq!(client.chunk().await, None);
}

#[tokio::test]
async fn a_request_streams() {
    let proxy = TestProxy::start().await;
    let (seen, mut pieces) = mpsc::channel(1);
    let app = TestApp::serving(move |request| {
        let seen = seen.clone();
        async move {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.unwrap().into_data() {
                    seen.send(data).await.unwrap();
                }
            }
            Response::new(full("all there"))
        }
    });
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    // A GET with a body is rare, and allowed.
    for method in ["POST", "GET"] {
        client.send(&format!("{method} / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n")).await;
        for piece in ["one", "two"] {
            client.send(&format!("3\r\n{piece}\r\n")).await;
            assert_eq!(pieces.recv().await.unwrap(), piece);
        }
        client.send("0\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "all there");
    }
}

#[tokio::test]
async fn trailers_pass() {
    let proxy = TestProxy::start().await;
    let app = TestApp::serving(|_| async {
        let trailers = [("x-sum".parse().unwrap(), HeaderValue::from_static("1"))].into_iter().collect();
        let frames = [Ok(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::iter(frames))));
        response.headers_mut().insert("trailer", HeaderValue::from_static("x-sum"));
        response
    });
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n").await;
    let mut all = String::new();
    client.stream.read_to_string(&mut all).await.unwrap();
    assert!(all.ends_with("1\r\nx\r\n0\r\nx-sum: 1\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_head_request_has_a_length_and_no_body() {
    let proxy = TestProxy::start().await;
    let app = TestApp::saying("hello");
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
        assert_eq!(client.head().await.header("content-length"), Some("5"));
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_connection_to_an_app_is_used_again() {
    let proxy = TestProxy::start().await;
    let app = TestApp::saying("hello");
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
        assert_eq!(client.answer().await.body, "hello");
    }
    // Another client's requests go over it as well.
    assert_eq!(proxy.get("app.localhost").await.body, "hello");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn http_2_without_tls_is_spoken() {
    let proxy = TestProxy::start().await;
    let app = TestApp::echoing();
    proxy.route_to(&app);
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("http://app.localhost/x").header("cookie", "a=1").header("cookie", "b=2").body(full("")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(b"GET /x\ncookie: a=1; b=2\nhost: app.localhost\n"), "{body:?}");
}

#[tokio::test]
async fn requests_in_flight_finish_on_the_instance_they_began_on() {
    let proxy = TestProxy::start().await;
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let old_app = TestApp::serving({
        let (arrived, release) = (arrived.clone(), release.clone());
        move |_| {
            let (arrived, release) = (arrived.clone(), release.clone());
            async move {
                arrived.notify_one();
                release.notified().await;
                Response::new(full("old"))
            }
        }
    });
    let old = proxy.route_to(&old_app);
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
    arrived.notified().await;
    assert_eq!(old.in_flight(), 1);

    let new_app = TestApp::saying("new");
    proxy.route_to(&new_app);
    assert_eq!(proxy.get("app.localhost").await.body, "new");
    let mut drained = Box::pin(old.drained());
    assert!(futures_util::poll!(&mut drained).is_pending());

    release.notify_one();
    assert_eq!(client.answer().await.body, "old");
    drained.await;
    // The connection that the client has leads to the new one now.
    client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.body, "new");
}

#[tokio::test]
async fn idle_connections_end_with_their_target() {
    idle_connection_ends(TestProxy::start().await, true).await;
}

#[tokio::test]
async fn idle_connections_end_after_a_while() {
    let idle_timeout = std::time::Duration::from_millis(20);
    idle_connection_ends(TestProxy::start_with(|config| config.idle_timeout = idle_timeout).await, false).await;
}

async fn idle_connection_ends(proxy: TestProxy, by_removal: bool) {
    let (app, listener) = TestApp::listening();
    let target = proxy.route_to(&app);
    let answer = tokio::spawn({
        let mut client = proxy.connect().await;
        async move {
            client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
            client.answer().await.status
        }
    });
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_ne!(stream.read(&mut [0; 1000]).await.unwrap(), 0);
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    assert_eq!(answer.await.unwrap(), 204);
    target.drained().await;
    if by_removal {
        drop(proxy.routes.remove(&"app".parse().unwrap()));
        drop(target);
    }
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request() {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    let target = proxy.route_to(&app);
    // Once before the response has begun, once in its middle.
    for begin in [false, true] {
        let mut client = proxy.connect().await;
        client.send("GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1000]).await.unwrap(), 0);
        if begin {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx").await.unwrap();
            client.head().await;
        }
        drop(client);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
        target.drained().await;
    }
}
