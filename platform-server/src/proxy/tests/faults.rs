//! Requests that are wrong in themselves: the client is told, and the app is not blamed.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::support::{TestApp, TestProxy, full};

/// An app that reads every body to its end.
fn reading() -> TestApp {
    TestApp::serving(|request| async move {
        let whole = request.into_body().collect().await.is_ok();
        Response::new(full(if whole { "whole" } else { "broken" }))
    })
}

#[tokio::test]
async fn a_malformed_or_short_body_is_the_clients_fault() {
    let proxy = TestProxy::start().await;
    let app = reading();
    let target = proxy.route_to(&app);
    let long = "x".repeat(20_000);
    let chunked = |body: &str| format!("Transfer-Encoding: chunked\r\n\r\n{body}");
    let forms = [
        chunked("zz\r\nhello\r\n0\r\n\r\n"),
        chunked("\r\nhello\r\n0\r\n\r\n"),
        chunked("-5\r\nhello\r\n0\r\n\r\n"),
        chunked("0x5\r\nhello\r\n0\r\n\r\n"),
        chunked("5\r\nhelloXX0\r\n\r\n"),
        chunked("5\nhello\n0\n\n"),
        chunked("FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"),
        chunked(&format!("5;a={long}\r\nhello\r\n0\r\n\r\n")),
        chunked("5\r\nhello\r\n0\r\nno trailer\r\n\r\n"),
        chunked(&format!("5\r\nhello\r\n0\r\nx-long: {long}{long}{long}{long}\r\n\r\n")),
        chunked("5\r\nhel"),
        chunked("5\r\nhello\r\n"),
        chunked("5"),
        "Content-Length: 10\r\n\r\nhello".into(),
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello".into(),
    ];
    for form in forms {
        for method in ["POST", "GET"] {
            let mut client = proxy.connect().await;
            client.send(&format!("{method} / HTTP/1.1\r\nHost: app.localhost\r\n{form}")).await;
            client.stream.get_mut().shutdown().await.unwrap();
            let answer = client.answer().await;
            let form = &form[..form.len().min(100)];
            assert_eq!((answer.status, answer.page()), (400, Some("bad-request")), "{method} {form:?}");
            assert!(client.ended().await, "{form:?}");
        }
    }
    target.drained().await;
}

#[tokio::test]
async fn a_length_that_is_none_is_refused() {
    let proxy = TestProxy::start().await;
    for header in ["Content-Length: -1", "Content-Length: a", "Content-Length: 1\r\nContent-Length: 2", "Transfer-Encoding: gzip"]
    {
        let mut client = proxy.connect().await;
        client.send(&format!("POST / HTTP/1.1\r\nHost: app.localhost\r\n{header}\r\n\r\nx")).await;
        assert_eq!(client.head().await.status, 400, "{header}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_the_clients_fault() {
    let proxy = TestProxy::start_with(|config| config.clients.pace.timeout = Duration::from_millis(20)).await;
    let app = reading();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 10\r\n\r\nhello").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.page()), (408, Some("slow-body")));
    assert!(answer.body.contains("--body-timeout"), "{}", answer.body);
    target.drained().await;
}

#[tokio::test]
async fn a_first_line_that_makes_no_sense_is_refused() {
    let proxy = TestProxy::start().await;
    let app = TestApp::echoing();
    proxy.route_to(&app);
    let method = "X".repeat(10_000);
    for (line, host) in [
        ("GET *", "app.localhost"),
        ("GET ftp://app.localhost/", "app.localhost"),
        ("GET file:///etc/passwd", "app.localhost"),
        ("GET app.localhost:80", "app.localhost"),
        ("GET http://app.localhost:65536/", "app.localhost"),
        ("GET /", "app.localhost:65536"),
        ("GET /", "app.localhost:99999999999999999999"),
        (&format!("{method} /"), "app.localhost"),
    ] {
        let mut client = proxy.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
        assert_eq!(client.head().await.status, 400, "{line} {host}");
    }
    for (line, asked) in [("OPTIONS *", "OPTIONS *"), ("GET https://app.localhost/x", "GET /x"), ("PROPFIND /", "PROPFIND /")] {
        let mut client = proxy.connect().await;
        client.send(&format!("{line} HTTP/1.1\r\nHost: app.localhost:65535\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{line}");
        assert!(answer.body.starts_with(&format!("{asked}\n")), "{}", answer.body);
    }
}

#[tokio::test]
async fn many_header_fields_pass_in_both_directions() {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    proxy.route_to(&app);
    let fields = |count: usize| (0..count).map(|n| format!("x-{n}: {n}\r\n")).collect::<String>();
    for (asked, answered, status) in [(98, 98, 200), (101, 1, 200), (127, 1, 200), (1, 101, 502)] {
        let mut client = proxy.connect().await;
        client.send(&format!("GET / HTTP/1.1\r\nHost: app.localhost\r\n{}\r\n", fields(asked))).await;
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert_eq!(String::from_utf8(head).unwrap().matches("\r\nx-").count(), asked + 4);
        let answer = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n{}\r\n", fields(answered));
        stream.write_all(answer.as_bytes()).await.unwrap();
        assert_eq!(client.head().await.status, status, "{asked} {answered}");
    }
    let mut client = proxy.connect().await;
    client.send(&format!("GET / HTTP/1.1\r\nHost: app.localhost\r\n{}\r\n", fields(300))).await;
    assert_eq!(client.head().await.status, 431);
}

/// As a call of gRPC's in both directions, which may be silent between two messages.
#[tokio::test]
async fn a_body_may_pause_once_the_answer_has_begun() {
    let limit = Duration::from_secs(1);
    let proxy = TestProxy::start_with(|config| config.clients.pace.timeout = limit).await;
    let (app, listener) = TestApp::listening();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send("POST / HTTP/1.1\r\nHost: app.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut asked = Vec::new();
    while !asked.ends_with(b"one\r\n") {
        asked.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n").await.unwrap();
    assert_eq!(client.head().await.status, 200);
    assert_eq!(client.chunk().await.as_deref(), Some("uno"));
    tokio::time::sleep(limit * 3 / 2).await;
    client.send("3\r\ntwo\r\n0\r\n\r\n").await;
    let mut asked = [0; 13];
    stream.read_exact(&mut asked).await.unwrap();
    assert_eq!(&asked, b"3\r\ntwo\r\n0\r\n\r\n");
    stream.write_all(b"3\r\ndos\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(client.chunk().await.as_deref(), Some("dos"));
    assert_eq!(client.chunk().await, None);
    target.drained().await;
}
