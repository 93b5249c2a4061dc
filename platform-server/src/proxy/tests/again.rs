//! Requests whose connection to the app dies: which are sent once more.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::support::{TestApp, TestProxy};

const GET: &str = "GET / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
const YES: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The next connection.
async fn next(listener: &UnixListener) -> UnixStream {
    tokio::time::timeout(PATIENCE, listener.accept()).await.expect("no connection is made").unwrap().0
}

/// Takes the next connection and a request in it.
async fn accept(listener: &UnixListener) -> UnixStream {
    let mut stream = next(listener).await;
    request(&mut stream).await;
    stream
}

async fn request(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends the request over a connection that was used before; the app says `last_words` and closes it.
async fn send_over_a_dying_connection(
    asked: &str,
    last_words: &[u8],
) -> (TestProxy, TestApp, UnixListener, super::support::Client) {
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(GET).await;
    let mut stream = accept(&listener).await;
    stream.write_all(YES).await.unwrap();
    assert_eq!(client.answer().await.body, "yes");
    client.send(asked).await;
    request(&mut stream).await;
    stream.write_all(last_words).await.unwrap();
    (proxy, app, listener, client)
}

#[tokio::test]
async fn a_request_without_a_body_is_sent_again_when_a_kept_connection_dies() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let asked = format!("{method} /path?x HTTP/1.1\r\nHost: app.localhost\r\nX-Mine: 1\r\n\r\n");
        let (_proxy, _app, listener, mut client) = send_over_a_dying_connection(&asked, b"").await;
        let mut stream = next(&listener).await;
        let again = request(&mut stream).await;
        assert!(again.starts_with(&format!("{method} /path?x HTTP/1.1\r\n")) && again.contains("x-mine: 1\r\n"), "{again}");
        // Once, and not for ever.
        drop(stream);
        let answer = client.head().await;
        assert_eq!((answer.status, answer.page()), (502, Some("broken")), "{method}");
    }
}

#[tokio::test]
async fn the_second_answer_is_the_clients() {
    let (_proxy, _app, listener, mut client) = send_over_a_dying_connection(GET, b"").await;
    accept(&listener).await.write_all(YES).await.unwrap();
    assert_eq!(client.answer().await.body, "yes");
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_sent_again() {
    let post = "POST / HTTP/1.1\r\nHost: app.localhost\r\n\r\n";
    let put = "PUT / HTTP/1.1\r\nHost: app.localhost\r\nContent-Length: 1\r\n\r\nx";
    for (asked, last_words) in [(post, ""), (put, ""), (GET, "HTTP/1.1 2")] {
        let (_proxy, _app, listener, mut client) = send_over_a_dying_connection(asked, last_words.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.page()), (502, Some("broken")), "{asked}");
        assert!(futures_util::poll!(std::pin::pin!(listener.accept())).is_pending(), "{asked}");
    }
}
