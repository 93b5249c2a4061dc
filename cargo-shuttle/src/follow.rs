//! An event stream that is picked up again where it broke off. Knows nothing of what the events mean.

use std::{collections::VecDeque, time::Duration};

use reqwest::{Response, Url};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    client::{self, Client, ClientError},
    sse::{SseEvent, SseParser},
};

/// A stream on which nothing comes for so long, not even a comment, is broken.
const SILENCE: Duration = Duration::from_secs(90);
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// A connection on which bytes come after so long is well again, though they may be comments only. Not sooner: a server that
/// takes each connection and closes it at once would be asked for ever.
const SETTLED: Duration = Duration::from_secs(3);

/// What came next.
#[derive(Debug)]
pub(crate) enum Next {
    /// The `data` of an event.
    Event(String),
    /// The stream ended or broke; the next call picks it up again.
    Disconnected,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FollowError {
    /// It could not be picked up again in time.
    #[error("{0}")]
    Lost(String),
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[derive(Debug)]
pub(crate) struct Follow<'a> {
    client: &'a Client,
    url: Url,
    patience: Duration,
    last_id: Option<u64>,
    connection: Option<Connection>,
    waiting: VecDeque<SseEvent>,
    /// When the trouble began; an event ends it, or a connection that lasts.
    trouble: Option<Trouble>,
}

#[derive(Debug)]
struct Connection {
    response: Response,
    parser: SseParser,
    since: Instant,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    delay: Duration,
    why: String,
}

impl<'a> Follow<'a> {
    pub(crate) fn new(client: &'a Client, url: Url, patience: Duration) -> Self {
        Self { client, url, patience, last_id: None, connection: None, waiting: VecDeque::new(), trouble: None }
    }

    pub(crate) async fn next(&mut self) -> Result<Next, FollowError> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                // A server that begins anew after a break repeats what is known.
                if event.id.is_some() && event.id <= self.last_id {
                    continue;
                }
                self.last_id = event.id.or(self.last_id);
                self.trouble = None;
                return Ok(Next::Event(event.data));
            }
            match self.receive().await {
                Ok(()) => {}
                Err(Broken::Passing(why)) => {
                    self.connection = None;
                    self.note_trouble(why);
                    return Ok(Next::Disconnected);
                }
                Err(Broken::ForGood(error)) => return Err(error),
            }
        }
    }

    /// Connects where there is no connection, and takes the next bytes.
    async fn receive(&mut self) -> Result<(), Broken> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => {
                self.wait().await?;
                let response = self.client.stream(self.url.clone(), self.last_id).await?;
                self.connection.insert(Connection { response, parser: SseParser::default(), since: Instant::now() })
            }
        };
        match timeout(SILENCE, connection.response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                if connection.since.elapsed() >= SETTLED.min(self.patience) {
                    self.trouble = None;
                }
                let events = connection.parser.push(&bytes);
                let events = events.map_err(|error| Broken::ForGood(FollowError::Lost(error.to_string())))?;
                self.waiting.extend(events);
                Ok(())
            }
            Ok(Ok(None)) => Err(Broken::Passing("the server closed it".to_owned())),
            Ok(Err(error)) => Err(Broken::Passing(client::cause(&error))),
            Err(_) => Err(Broken::Passing(format!("nothing came for {} s", SILENCE.as_secs()))),
        }
    }

    /// Waits longer after each failure, and no longer than the patience in all.
    async fn wait(&mut self) -> Result<(), Broken> {
        let Some(trouble) = &mut self.trouble else { return Ok(()) };
        let left = self.patience.saturating_sub(trouble.since.elapsed());
        if left.is_zero() {
            return Err(Broken::ForGood(FollowError::Lost(trouble.why.clone())));
        }
        sleep(trouble.delay.min(left)).await;
        trouble.delay = (trouble.delay * 2).min(LONGEST_DELAY);
        Ok(())
    }

    fn note_trouble(&mut self, why: String) {
        match &mut self.trouble {
            Some(trouble) => trouble.why = why,
            None => self.trouble = Some(Trouble { since: Instant::now(), delay: FIRST_DELAY, why }),
        }
    }
}

enum Broken {
    Passing(String),
    ForGood(FollowError),
}

impl From<ClientError> for Broken {
    fn from(error: ClientError) -> Self {
        if error.is_passing() { Self::Passing(error.to_string()) } else { Self::ForGood(error.into()) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::config::Server;

    const PATIENCE: Duration = Duration::from_secs(1);
    const QUIET: &str = ": still here\n\n";

    /// Follows a server whose connections send these pieces, one each 300 ms, and are closed then. The last one repeats.
    async fn followed(connections: &'static [&'static [&'static str]]) -> Result<String, FollowError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let server = tokio::spawn(async move {
            for number in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                // Bytes that are not read would make the end a reset.
                assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
                socket.write_all(head.as_bytes()).await.unwrap();
                for piece in connections[number.min(connections.len() - 1)] {
                    socket.write_all(piece.as_bytes()).await.unwrap();
                    sleep(Duration::from_millis(300)).await;
                }
            }
        });
        let client = Client::new(&Server { url: url.clone(), key: "key".to_owned() }).unwrap();
        let mut follow = Follow::new(&client, url, PATIENCE);
        let result = loop {
            match follow.next().await {
                Ok(Next::Event(data)) => break Ok(data),
                Ok(Next::Disconnected) => {}
                Err(error) => break Err(error),
            }
        };
        server.abort();
        result
    }

    #[tokio::test]
    async fn a_quiet_connection_that_lasts_ends_the_trouble() {
        let data = followed(&[&[], &[QUIET, QUIET, QUIET, QUIET, QUIET, QUIET], &["data: x\n\n"]]).await;
        assert_eq!(data.unwrap(), "x");
    }

    #[tokio::test]
    async fn a_server_that_only_takes_connections_is_given_up() {
        assert!(matches!(followed(&[&[QUIET]]).await, Err(FollowError::Lost(_))));
    }
}
