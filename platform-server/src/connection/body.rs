//! Bodies with an end: a client must not take for ever to send one, and what is under way is counted until its answer ends.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::watch::{Busy, Connection};

/// Why a client's body cannot be read to its end. All of them are the client's own doing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is malformed or breaks off: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the body does not come: it must go on within {} s, and arrive at {} bytes a second", .0.timeout.as_secs(), .0.rate)]
    TooSlow(Pace),
}

/// How fast a body must come. Only the time counts in which it is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// How long nothing may come; also how long a body may fall behind `rate`.
    pub(crate) timeout: Duration,
    /// Bytes a second.
    pub(crate) rate: u32,
}

/// A client's body.
#[derive(Debug)]
pub(crate) struct ClientBody {
    body: Incoming,
    connection: Arc<Connection>,
    pace: Pace,
    /// Made when the body is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
    waits_since: Option<Instant>,
    waited: Duration,
    received: u64,
    /// It was read to its end. One in chunks does not say so itself.
    ended: bool,
    /// Nothing is waited for any more but what the client chooses to send.
    may_pause: bool,
}

impl ClientBody {
    pub(super) fn new(body: Incoming, connection: Arc<Connection>, pace: Pace) -> Self {
        Self {
            body,
            connection,
            pace,
            timer: None,
            waits_since: None,
            waited: Duration::ZERO,
            received: 0,
            ended: false,
            may_pause: false,
        }
    }

    /// The answer has begun. Both sides may be silent for as long as they like now, as in a call in both directions.
    pub(crate) fn may_pause(&mut self) {
        self.may_pause = true;
    }

    /// When it is too slow, if nothing more comes.
    fn deadline(&self, since: Instant) -> Instant {
        let earned = Duration::from_millis(self.received.saturating_mul(1000) / u64::from(self.pace.rate.max(1)));
        let left = (self.pace.timeout + earned).saturating_sub(self.waited);
        since + left.min(self.pace.timeout)
    }

    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let deadline = self.deadline(since);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        // It is only moved when it fires, not with every piece.
        while timer.as_mut().poll(cx).is_ready() {
            if deadline <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if let Some(since) = this.waits_since.take() {
                    this.waited += since.elapsed();
                }
                match &frame {
                    Some(Ok(frame)) => this.received += frame.data_ref().map_or(0, |data| data.len() as u64),
                    Some(Err(_)) => {}
                    None => this.ended = true,
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
            }
            Poll::Pending if this.may_pause => Poll::Pending,
            Poll::Pending => {
                ready!(this.poll_slow(cx));
                Poll::Ready(Some(Err(BodyError::TooSlow(this.pace))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.connection.cuts_body();
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct AnswerBody<B> {
    body: B,
    busy: Busy,
}

impl<B> AnswerBody<B> {
    pub(super) fn new(body: B, mut busy: Busy) -> Self {
        busy.waits_for_client();
        Self { body, busy }
    }
}

impl<B: Body + Unpin> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        if polled.is_ready() {
            this.busy.waits_for_client();
        } else {
            this.busy.waits_for_server();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
