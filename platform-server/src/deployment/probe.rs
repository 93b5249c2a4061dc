//! What a new instance has to show before it is sent requests: that it takes connections, or that it answers well at the
//! health path that it names.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
};

use crate::proxy::Upstream;

/// Pause before an instance that gave no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// "Not yet", said by the app itself.
const NOT_YET: u16 = 503;

/// What is tried, and what is good.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe<'a> {
    /// A connection on which nothing is asked. Whoever takes it sees that it is at its end already and ends it as well, which
    /// is the sign that it was taken: the socket is the server's, and a connection alone would only wait in it. No handler and
    /// no log of the app's hears of it.
    Connection,
    /// `GET` of the path that the app names for it.
    Health(&'a str),
}

impl Probe<'_> {
    /// Tries until it is good; `Err` has the status of an answer that is not. An instance that says 503 at its health path is
    /// asked again, for as long as the caller waits; `last` is told of each status.
    pub(super) async fn ask(self, upstream: &Upstream, host: &str, mut last: impl FnMut(u16)) -> Result<(), u16> {
        loop {
            match self {
                Self::Connection => {
                    if take(upstream).await.is_ok() {
                        return Ok(());
                    }
                }
                Self::Health(path) => {
                    if let Ok(Some(status)) = get(upstream, path, host).await {
                        last(status);
                        match status {
                            200..400 => return Ok(()),
                            NOT_YET => {}
                            other => return Err(other),
                        }
                    }
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(upstream: &Upstream) -> io::Result<Box<dyn Stream>> {
    Ok(match upstream {
        Upstream::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Upstream::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

/// Waits until a connection that is at its end is ended by the other side too, or something is said on it.
async fn take(upstream: &Upstream) -> io::Result<()> {
    let mut stream = connect(upstream).await?;
    stream.shutdown().await?;
    stream.read(&mut [0; 1]).await.map(drop)
}

/// The status of the answer; `None` for what is no answer.
async fn get(upstream: &Upstream, path: &str, host: &str) -> io::Result<Option<u16>> {
    let mut stream = connect(upstream).await?;
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: platform-server\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut start = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut start).await?;
    Ok(status(&start))
}

fn status(start: &[u8; 12]) -> Option<u16> {
    let text = std::str::from_utf8(start).ok()?.strip_prefix("HTTP/1.")?;
    let (minor, status) = text.split_once(' ')?;
    (minor.len() == 1 && status.bytes().all(|byte| byte.is_ascii_digit())).then(|| status.parse().ok())?
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn a_status_line_is_told_from_what_is_none() {
        assert_eq!(status(b"HTTP/1.1 204"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503"), Some(503));
        for other in [b"SSH-2.0-Open", b"HTTP/2.0 200", b"HTTP/1.1 2x0", b"HTTP/1.12200"] {
            assert_eq!(status(other), None);
        }
    }

    /// Asks a server that gives these answers, one a connection; says what it was asked and how that ended.
    async fn asked(probe: Probe<'_>, answers: &[&str]) -> (Vec<String>, Result<(), u16>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut heads = Vec::new();
        let serving = async {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 1024];
                let length = stream.read(&mut head).await.unwrap();
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        };
        let upstream = Upstream::Unix(path);
        let ((), ended) = tokio::join!(serving, probe.ask(&upstream, "app.localhost", |_| {}));
        (heads, ended)
    }

    /// Connections wait in the socket from the beginning, as the server made it.
    #[tokio::test]
    async fn a_connection_has_to_be_taken_and_nothing_is_said_on_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let upstream = Upstream::Unix(path);
        let mut asked = std::pin::pin!(Probe::Connection.ask(&upstream, "app.localhost", |_| {}));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err(), "nobody takes it");
        let serving = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = Vec::new();
            stream.read_to_end(&mut said).await.unwrap();
            said
        };
        let (said, ended) = tokio::join!(serving, asked);
        assert_eq!((said, ended), (Vec::new(), Ok(())));
    }

    #[tokio::test]
    async fn a_connection_to_nobody_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let upstream = Upstream::Unix(path.clone());
        let mut asked = std::pin::pin!(Probe::Connection.ask(&upstream, "app.localhost", |_| {}));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err(), "there is no socket");
        let listener = UnixListener::bind(&path).unwrap();
        let (taken, ended) = tokio::join!(async { drop(listener.accept().await.unwrap()) }, asked);
        assert_eq!((taken, ended), ((), Ok(())));
    }

    #[tokio::test]
    async fn a_health_path_has_to_answer_well_and_may_say_not_yet() {
        let (heads, ended) = asked(Probe::Health("/ok"), &["HTTP/1.1 503 \r\n\r\n", "HTTP/1.1 302 Found\r\n\r\n"]).await;
        assert_eq!(ended, Ok(()));
        assert!(heads.iter().all(|head| head.starts_with("GET /ok HTTP/1.1\r\n")), "{heads:?}");
        for (answer, status) in [("HTTP/1.1 404 \r\n\r\n", 404), ("HTTP/1.1 500 \r\n\r\n", 500), ("HTTP/1.1 199 \r\n\r\n", 199)] {
            assert_eq!(asked(Probe::Health("/ok"), &[answer]).await.1, Err(status));
        }
    }
}
