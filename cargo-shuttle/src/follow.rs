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
    connection: Option<(Response, SseParser)>,
    waiting: VecDeque<SseEvent>,
    /// When the trouble began; an event ends it.
    trouble: Option<Trouble>,
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
        let (response, parser) = match &mut self.connection {
            Some(connection) => connection,
            None => {
                self.wait().await?;
                let response = self.client.stream(self.url.clone(), self.last_id).await?;
                self.connection.insert((response, SseParser::default()))
            }
        };
        match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => {
                let events = parser.push(&bytes).map_err(|error| Broken::ForGood(FollowError::Lost(error.to_string())))?;
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
