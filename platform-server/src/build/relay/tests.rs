//! The relay on loopback: what it refuses, what it passes on and how, and the proxy beyond it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A relay on loopback, ended with this value.
struct Served {
    relay: Arc<Relay>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn with(allowed: &[&str], proxy: Option<SocketAddr>) -> Self {
        let hosts: Vec<AllowedHost> = allowed.iter().map(|host| host.parse().unwrap()).collect();
        let proxy = proxy.map(|address| format!("http://user:pass@{address}"));
        let upstreams = Upstreams::of(|name| (name == "https_proxy" || name == "http_proxy").then(|| proxy.clone()).flatten());
        let relay = Relay::new(AllowedHosts::new(&hosts), upstreams.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::clone(&relay);
        let task = tokio::spawn(async move { drop(serving.serve(Some(listener)).await) });
        Self { relay, address, task }
    }

    /// Sends bytes, and reads until what has come ends so, or until the end.
    async fn ask(&self, request: &str, until: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let read = read_until(&mut stream, until).await;
        (read, stream)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_until(stream: &mut TcpStream, until: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !read.ends_with(until.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap();
    String::from_utf8(read).unwrap()
}

/// A socket that listens, and one where nobody does.
async fn open_and_closed() -> (TcpListener, u16, u16) {
    let (open, closed) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (port, other) = (open.local_addr().unwrap().port(), closed.local_addr().unwrap().port());
    (open, port, other)
}

/// Without what changes by itself.
fn lines(answer: &str) -> Vec<&str> {
    answer.lines().filter(|line| !line.starts_with("date:")).collect()
}

#[tokio::test]
async fn the_machine_is_refused_and_open_ports_look_like_closed_ones() {
    let (open, port, closed) = open_and_closed().await;
    let served = Served::with(&["127.0.0.1:1"], None).await;
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "169.254.169.254", "2130706433"] {
        let mut answers = Vec::new();
        for port in [port, closed] {
            let tunnel = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: x\r\n\r\n");
            let plain = format!("GET http://{host}:{port}/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            for request in [tunnel, plain] {
                let (answer, _) = served.ask(&request, "from this address").await;
                assert!(answer.starts_with("HTTP/1.1 403 "), "{request}: {answer}");
                answers.push(lines(&answer).join("\n"));
            }
        }
        assert_eq!(answers[..2], answers[2..], "{host}");
    }
    assert_eq!(served.relay.refused().await, format!("127.0.0.1:{port}"));
    let connected = tokio::time::timeout(Duration::from_millis(50), open.accept()).await;
    assert!(connected.is_err(), "nothing was connected to");
}

#[tokio::test]
async fn an_allowed_host_is_asked_as_a_server_expects_it() {
    let (open, port, _) = open_and_closed().await;
    let served = Served::with(&[&format!("localhost:{port}")], None).await;
    let answering = async {
        let (mut stream, _) = open.accept().await.unwrap();
        let request = read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        request
    };
    let request =
        format!("GET http://localhost:{port}/a?b HTTP/1.1\r\nHost: localhost:{port}\r\nProxy-Connection: keep-alive\r\n\r\n");
    let ((answer, _), seen) = tokio::join!(served.ask(&request, "hi"), answering);
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("hi"), "{answer}");
    assert!(seen.starts_with("GET /a?b HTTP/1.1\r\n") && !seen.to_lowercase().contains("proxy-connection"), "{seen}");

    let request = format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    let ((answer, mut client), accepted) = tokio::join!(served.ask(&request, "\r\n\r\n"), open.accept());
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let mut server = accepted.unwrap().0;
    client.write_all(b"ping.").await.unwrap();
    assert_eq!(read_until(&mut server, ".").await, "ping.");
    server.write_all(b"pong.").await.unwrap();
    assert_eq!(read_until(&mut client, ".").await, "pong.");
    // The tunnel does not outlive the fetch.
    drop(served);
    assert_eq!(read_until(&mut server, ".").await, "");
}

#[tokio::test]
async fn what_the_servers_own_proxy_is_asked() {
    let (proxy, _, closed) = open_and_closed().await;
    // On loopback, and allowed all the same: it is the owner's.
    let served = Served::with(&[], Some(proxy.local_addr().unwrap())).await;
    let (answer, _) = served.ask(&format!("CONNECT 127.0.0.1:{closed} HTTP/1.1\r\n\r\n"), "from this address").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let answering = async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let request = read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 Connected\r\nVia: x\r\n\r\nhello.").await.unwrap();
        (request, stream)
    };
    let request = "CONNECT host.invalid:443 HTTP/1.1\r\n\r\n";
    let ((answer, mut client), (seen, _stream)) = tokio::join!(served.ask(request, "\r\n\r\n"), answering);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(read_until(&mut client, ".").await, "hello.");
    assert_eq!(
        seen,
        "CONNECT host.invalid:443 HTTP/1.1\r\nHost: host.invalid:443\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"
    );
    let answering = async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let request = read_until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        request
    };
    let request = "GET http://host.invalid/x HTTP/1.1\r\nHost: host.invalid\r\n\r\n";
    let ((_, _client), seen) = tokio::join!(served.ask(request, "hi"), answering);
    assert!(seen.starts_with("GET http://host.invalid/x HTTP/1.1\r\n") && seen.contains("Basic dXNlcjpwYXNz"), "{seen}");
}
