//! Connections that change to another protocol.

use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::support::{Client, TestApp, TestProxy, full};

/// An app that changes to a protocol which sends back what it gets, in upper case.
fn shouting() -> TestApp {
    TestApp::serving(|mut request| async move {
        let Some(protocol) = request.headers().get("upgrade").cloned() else {
            return Response::new(full("no upgrade"));
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut connection = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 100];
            while let Ok(read @ 1..) = connection.read(&mut buffer).await {
                connection.write_all(&buffer[..read].to_ascii_uppercase()).await.unwrap();
            }
        });
        let head = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header("connection", "upgrade");
        head.header("upgrade", protocol).header("sec-websocket-accept", "key").body(full("")).unwrap()
    })
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

async fn shout(client: &mut Client) {
    client.send("hello").await;
    let mut answer = [0; 5];
    client.stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HELLO");
}

#[tokio::test]
async fn an_upgraded_connection_is_a_tunnel_and_counts_as_in_flight() {
    let proxy = TestProxy::start().await;
    let app = shouting();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    let head = client.head().await;
    assert_eq!(head.status, 101);
    assert_eq!((head.header("connection"), head.header("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(head.header("sec-websocket-accept"), Some("key"));
    shout(&mut client).await;

    // It stays where it is when the route changes.
    let app = TestApp::saying("new");
    proxy.route_to(&app);
    shout(&mut client).await;
    assert_eq!(target.in_flight(), 1);
    drop(client);
    target.drained().await;
}

#[tokio::test]
async fn a_tunnel_keeps_the_place_of_its_connection() {
    let proxy = TestProxy::start_with(|config| {
        config.clients.max_connections_per_client = 1;
        config.clients.head_timeout = std::time::Duration::from_secs(1);
    })
    .await;
    let app = shouting();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.status, 101);
    let mut refused = proxy.connect().await;
    assert_eq!(refused.head().await.header("x-shuttle-proxy"), Some("too-many-connections"));
    // It is not idle, however silent.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    shout(&mut client).await;
    drop(client);
    target.drained().await;
}

/// An app that has said everything is still told what the client sends, also what it has not taken before.
#[tokio::test]
async fn a_tunnel_may_end_in_one_direction() {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
    let proxy = TestProxy::start().await;
    let (app, listener) = TestApp::listening();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.unwrap().unwrap());
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").await.unwrap();
    assert_eq!(timeout(PATIENCE, client.head()).await.unwrap().status, 101);
    // Until all buffers on the way are full.
    let (piece, mut sent) = ([b'x'; 65536], 0);
    while let Ok(written) = timeout(std::time::Duration::from_millis(300), client.stream.get_mut().write(&piece)).await {
        sent += written.unwrap();
    }
    stream.shutdown().await.unwrap();
    assert!(timeout(PATIENCE, client.ended()).await.unwrap());
    let reading = tokio::spawn(async move {
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.map(|_| got)
    });
    timeout(PATIENCE, client.send("the end")).await.unwrap();
    client.stream.get_mut().shutdown().await.unwrap();
    let got = timeout(PATIENCE, reading).await.unwrap().unwrap().unwrap();
    assert_eq!((got.len(), got.ends_with(b"the end")), (sent + "the end".len(), true));
    timeout(PATIENCE, target.drained()).await.unwrap();
}

#[tokio::test]
async fn an_app_may_decline_an_upgrade() {
    let proxy = TestProxy::start().await;
    let app = TestApp::saying("plain");
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "plain"));
}

#[tokio::test]
async fn an_upgrade_to_http_2_is_not_passed_on() {
    let proxy = TestProxy::start().await;
    let app = shouting();
    proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client
        .send("GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\n\r\n")
        .await;
    assert_eq!(client.answer().await.body, "no upgrade");
}

#[tokio::test]
async fn stopping_ends_tunnels_after_the_grace() {
    let mut proxy = TestProxy::start_with(|config| config.clients.shutdown_grace = std::time::Duration::from_millis(20)).await;
    let app = shouting();
    let target = proxy.route_to(&app);
    let mut client = proxy.connect().await;
    client.send(UPGRADE).await;
    assert_eq!(client.head().await.status, 101);
    shout(&mut client).await;
    proxy.stop();
    assert!(client.ended().await);
    proxy.running.await.unwrap();
    target.drained().await;
}
