//! The first request to a new instance.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::proxy::Upstream;

/// Pause before an instance that gave no answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// "Not yet", said by the app itself.
const NOT_YET: u16 = 503;

/// What is asked, and which answer is good.
#[derive(Debug, Clone, Copy)]
pub(super) enum Probe<'a> {
    /// `OPTIONS /`: the one request that every server answers and that runs nobody's handler. Any answer is good.
    Any,
    /// `GET` of the path that the app names for it.
    Health(&'a str),
}

impl Probe<'_> {
    fn head(self, host: &str) -> String {
        let what = match self {
            Self::Any => "OPTIONS /",
            Self::Health(path) => &format!("GET {path}"),
        };
        format!("{what} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: platform-server\r\nAccept: */*\r\nConnection: close\r\n\r\n")
    }

    /// Asks until there is an answer; `Err` has the status of one that is not good. An instance that says 503 at its health
    /// path is asked again, for as long as the caller waits; `last` is told of each status.
    pub(super) async fn ask(self, upstream: &Upstream, host: &str, mut last: impl FnMut(u16)) -> Result<(), u16> {
        loop {
            if let Ok(Some(status)) = self.once(upstream, host).await {
                last(status);
                match self {
                    Self::Any => return Ok(()),
                    Self::Health(_) if (200..400).contains(&status) => return Ok(()),
                    Self::Health(_) if status != NOT_YET => return Err(status),
                    Self::Health(_) => {}
                }
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn once(self, upstream: &Upstream, host: &str) -> io::Result<Option<u16>> {
        match upstream {
            Upstream::Unix(path) => self.exchange(tokio::net::UnixStream::connect(path).await?, host).await,
            Upstream::Tcp(address) => self.exchange(tokio::net::TcpStream::connect(address).await?, host).await,
        }
    }

    /// The status of the answer; `None` for what is no answer.
    async fn exchange(self, mut stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> io::Result<Option<u16>> {
        stream.write_all(self.head(host).as_bytes()).await?;
        let mut start = [0; "HTTP/1.1 200".len()];
        stream.read_exact(&mut start).await?;
        Ok(status(&start))
    }
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

    #[tokio::test]
    async fn any_answer_will_do_where_no_path_is_named() {
        let (heads, ended) = asked(Probe::Any, &["rubbish, twelve bytes at least", "HTTP/1.1 404 Not Found\r\n\r\n"]).await;
        assert_eq!(ended, Ok(()));
        assert!(heads[1].starts_with("OPTIONS / HTTP/1.1\r\nHost: app.localhost\r\n"), "{heads:?}");
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
