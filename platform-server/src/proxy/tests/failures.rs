//! Requests that get a page of the proxy's, or no answer at all.

use std::{sync::Arc, time::Duration};

use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
};
use tokio_util::task::AbortOnDropHandle;

use super::support::{TestApp, TestProxy, full, until};
use crate::proxy::{ProxyConfig, Target, TargetState, Upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";

#[tokio::test]
async fn an_unknown_host_gets_a_page_that_names_it() {
    let proxy = TestProxy::start().await;
    let answer = proxy.get("nobody.localhost").await;
    assert_eq!((answer.status, answer.page()), (404, Some("not-found")));
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(answer.body.contains("`nobody`") && answer.body.contains("cargo shuttle deploy"), "{}", answer.body);
    for host in ["localhost", "a.b.localhost", "127.0.0.1:80", "[::1]:80", "app.example.org"] {
        let answer = proxy.get(host).await;
        assert_eq!((answer.status, answer.page()), (404, Some("not-found")), "{host}");
        assert!(answer.body.contains("<project>.localhost"), "{}", answer.body);
    }
}

#[tokio::test]
async fn a_browser_gets_html() {
    let proxy = TestProxy::start().await;
    let mut client = proxy.connect().await;
    client.send("GET / HTTP/1.1\r\nHost: nobody.localhost\r\nAccept: text/html,*/*\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(answer.body.contains("<code>nobody</code>"), "{}", answer.body);
}

#[tokio::test]
async fn a_request_without_one_sane_host_is_refused() {
    let proxy = TestProxy::start().await;
    for hosts in ["", "Host: a.localhost\r\nHost: b.localhost\r\n", "Host: \r\n", "Host: a@app.localhost\r\n"] {
        for version in ["1.1", "1.0"] {
            let mut client = proxy.connect().await;
            client.send(&format!("GET / HTTP/{version}\r\n{hosts}\r\n")).await;
            assert_eq!(client.answer().await.status, 400, "{hosts:?}");
        }
    }
    let mut client = proxy.connect().await;
    client.send("CONNECT app.localhost:80 HTTP/1.1\r\nHost: app.localhost\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 405);
}

#[tokio::test]
async fn requests_are_held_until_the_instance_is_ready() {
    let proxy = TestProxy::start().await;
    let target = Target::new(TargetState::Starting);
    proxy.route(&target);
    let app = TestApp::saying("awake");
    let mut client = proxy.connect().await;
    client.send(GET).await;
    until("no request is held", || target.in_flight() > 0).await;
    target.set(TargetState::Ready(app.upstream()));
    assert_eq!(client.answer().await.body, "awake");
}

#[tokio::test]
async fn a_held_request_follows_its_route() {
    let proxy = TestProxy::start().await;
    let first = Target::new(TargetState::Starting);
    proxy.route(&first);
    let (mut a, mut b) = (proxy.connect().await, proxy.connect().await);
    a.send(GET).await;
    b.send(GET).await;
    until("two requests are not held", || first.in_flight() == 2).await;
    // A newer instance takes the place of one that never became ready.
    let app = TestApp::saying("newer");
    let second = proxy.route_to(&app);
    assert_eq!((a.answer().await.body, b.answer().await.body), ("newer".into(), "newer".into()));
    first.drained().await;
    second.drained().await;
}

#[tokio::test]
async fn holding_has_an_end() {
    let proxy = TestProxy::start_with(|config| config.hold_timeout = Duration::from_millis(20)).await;
    proxy.route(&Target::new(TargetState::Starting));
    let answer = proxy.get("app.localhost").await;
    assert_eq!((answer.status, answer.page(), answer.header("retry-after")), (503, Some("starting"), Some("5")));
    assert!(answer.body.contains("cargo shuttle logs"), "{}", answer.body);
}

#[tokio::test]
async fn an_app_that_is_down_or_takes_no_connections_is_told_from_others() {
    let proxy = TestProxy::start().await;
    let target = Target::new(TargetState::Down);
    proxy.route(&target);
    let answer = proxy.get("app.localhost").await;
    assert_eq!((answer.status, answer.page()), (502, Some("down")));
    target.set(TargetState::Ready(Upstream::Unix("/nowhere/app.sock".into())));
    let answer = proxy.get("app.localhost").await;
    assert_eq!((answer.status, answer.page()), (502, Some("unreachable")));
}

#[tokio::test]
async fn an_app_that_ends_the_connection_or_speaks_no_http_is_broken() {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    let target = proxy.route_to(&app);
    for said in ["", "HTTP/1.1 200 OK\r\nContent-", "SSH-2.0\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"] {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1000]).await.unwrap(), 0);
        stream.write_all(said.as_bytes()).await.unwrap();
        drop(stream);
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.page()), (502, Some("broken")), "{said:?}");
    }
    target.drained().await;
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    proxy.route_to(&app);
    for head in ["Content-Length: 10\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"] {
        let mut client = proxy.connect().await;
        client.send(GET).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1000]).await.unwrap(), 0);
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes()).await.unwrap();
        assert_eq!(client.head().await.status, 200);
        drop(stream);
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_app_has_closed_is_replaced() {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    for _ in 0..5 {
        client.send(GET).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_ne!(stream.read(&mut [0; 1000]).await.unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx").await.unwrap();
        // Closed without being announced, as an app does whose own idle time is over.
        drop(stream);
        assert_eq!(client.answer().await.body, "x");
    }
}

#[tokio::test]
async fn an_app_that_does_not_begin_to_answer_is_too_slow() {
    let proxy = TestProxy::start_with(|config| config.response_timeout = Duration::from_millis(20)).await;
    let app = TestApp::serving(|_| std::future::pending());
    let target = proxy.route_to(&app);
    let answer = proxy.get("app.localhost").await;
    assert_eq!((answer.status, answer.page()), (504, Some("timeout")));
    assert!(answer.body.contains("within 0.02 s") && answer.body.contains("--response-timeout"), "{}", answer.body);
    target.drained().await;
}

#[tokio::test]
async fn heads_have_a_limit_in_both_directions() {
    let proxy = TestProxy::start_with(|config| config.clients.max_header_bytes = 16 * 1024).await;
    let app = TestApp::serving(|request| async move {
        let length = request.uri().path().trim_start_matches('/').parse().unwrap();
        Response::builder().header("x-long", "x".repeat(length)).body(full("")).unwrap()
    });
    proxy.route_to(&app);
    for (path, header, status) in [(1, 1, 200), (8000, 8000, 200), (1, 20_000, 431), (20_000, 1, 502)] {
        let mut client = proxy.connect().await;
        client.send(&format!("GET /{path} HTTP/1.1\r\nHost: app.localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(header))).await;
        assert_eq!(client.head().await.status, status, "{path} {header}");
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_dropped() {
    let proxy = TestProxy::start_with(|config| config.clients.head_timeout = Duration::from_millis(20)).await;
    for begin in ["", "PRI * HT", "GET / HTTP/1.1\r\nHo"] {
        let mut client = proxy.connect().await;
        client.send(begin).await;
        let mut rest = Vec::new();
        let _ = client.stream.read_to_end(&mut rest).await;
    }
}

#[tokio::test]
async fn an_app_has_its_share_of_requests_and_no_more() {
    let proxy = TestProxy::start_with(|config| config.max_requests_per_app = 1).await;
    let arrived = Arc::new(Notify::new());
    let app = TestApp::serving({
        let arrived = arrived.clone();
        move |_| {
            arrived.notify_one();
            std::future::pending()
        }
    });
    let target = proxy.route_to(&app);
    let mut first = proxy.connect().await;
    first.send(GET).await;
    arrived.notified().await;
    let answer = proxy.get("app.localhost").await;
    assert_eq!((answer.status, answer.page(), answer.header("retry-after")), (503, Some("busy"), Some("5")));
    // Another app is not concerned.
    let other = TestApp::saying("other");
    proxy.routes.set(&"other".parse().unwrap(), Target::new(TargetState::Ready(other.upstream())));
    assert_eq!(proxy.get("other.localhost").await.body, "other");
    drop(first);
    target.drained().await;
}

/// A proxy that takes two requests, which are held in one HTTP/2 connection. `page` is what a third one there is answered
/// with; `meanwhile` runs before the two are let go.
async fn third_over_http_2(limit: impl FnOnce(&mut ProxyConfig), page: &str, meanwhile: impl AsyncFnOnce(&TestProxy, &Target)) {
    let proxy = TestProxy::start_with(limit).await;
    let target = Target::new(TargetState::Starting);
    proxy.route(&target);
    let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let ask = || sender.clone().send_request(Request::get("http://app.localhost/").body(full("")).unwrap());
    let held = [tokio::spawn(ask()), tokio::spawn(ask())];
    until("the requests are not held", || target.in_flight() >= 2).await;
    let answer = ask().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-shuttle-proxy"].to_str().unwrap()), (503, page));
    meanwhile(&proxy, &target).await;
    target.set(TargetState::Down);
    for held in held {
        assert_eq!(held.await.unwrap().unwrap().status(), 502);
    }
}

#[tokio::test]
async fn all_apps_together_get_as_many_requests_as_there_may_be_connections() {
    third_over_http_2(|config| config.clients.max_connections = 2, "busy", async |_, _| {}).await;
}

#[tokio::test]
async fn one_client_does_not_take_all_requests_over_http_2() {
    let limit = |config: &mut ProxyConfig| config.clients.max_connections_per_client = 2;
    third_over_http_2(limit, "too-many-connections", async |proxy, target| {
        // Another address has its own.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = socket.connect(proxy.address).await.unwrap();
        other.write_all(GET.as_bytes()).await.unwrap();
        until("the other client's request is not held", || target.in_flight() >= 3).await;
    })
    .await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut proxy = TestProxy::start().await;
    let (arrived, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let app = TestApp::serving({
        let (arrived, release) = (arrived.clone(), release.clone());
        move |_| {
            let (arrived, release) = (arrived.clone(), release.clone());
            async move {
                arrived.notify_one();
                release.notified().await;
                Response::new(full("finished"))
            }
        }
    });
    proxy.route_to(&app);
    let mut idle = proxy.connect().await;
    idle.send("GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n").await;
    assert_eq!(idle.answer().await.status, 404);
    let mut busy = proxy.connect().await;
    busy.send(GET).await;
    arrived.notified().await;
    proxy.stop();
    assert!(idle.ended().await);
    assert!(tokio::net::TcpStream::connect(proxy.address).await.is_err());
    release.notify_one();
    let answer = busy.answer().await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("finished", Some("close")));
    proxy.running.await.unwrap();
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let mut proxy = TestProxy::start_with(|config| config.clients.shutdown_grace = Duration::from_millis(20)).await;
    let arrived = Arc::new(Notify::new());
    let app = TestApp::serving({
        let arrived = arrived.clone();
        move |_| {
            arrived.notify_one();
            std::future::pending()
        }
    });
    let target = proxy.route_to(&app);
    let held = Target::new(TargetState::Starting);
    proxy.routes.set(&"held".parse().unwrap(), held.clone());
    let (mut busy, mut waiting) = (proxy.connect().await, proxy.connect().await);
    busy.send(GET).await;
    waiting.send("GET / HTTP/1.1\r\nHost: held.localhost\r\n\r\n").await;
    arrived.notified().await;
    until("no request is held", || held.in_flight() > 0).await;
    proxy.stop();
    assert_eq!(waiting.answer().await.status, 503);
    assert!(busy.ended().await);
    proxy.running.await.unwrap();
    assert_eq!((target.in_flight(), held.in_flight()), (0, 0));
}
