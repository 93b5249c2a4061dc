//! Bodies on their way through: what they carry is not looked at, only that they move and when they end.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::{pool::Lease, target::InFlight};
use crate::connection::{BodyError, ClientBody, Pace};

/// What a client did wrong in sending a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// It is malformed, or ends before its end.
    Broken,
    TooSlow(Pace),
}

/// How a request's body comes along.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    last: AtomicU64,
    fault: OnceLock<BodyFault>,
    /// The app has begun to answer.
    answered: AtomicBool,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        let (last, answered) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { began: Instant::now(), last, fault: OnceLock::new(), answered })
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// What was wrong with it.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        self.fault.get().copied()
    }

    pub(super) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    fn moved(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }
}

/// A client's body on its way to an app, if there is one.
#[derive(Debug)]
pub(super) struct RequestBody(Option<(ClientBody, Arc<Progress>)>);

impl RequestBody {
    pub(super) fn new(body: ClientBody, progress: Arc<Progress>) -> Self {
        Self(Some((body, progress)))
    }

    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some((body, progress)) = &mut self.get_mut().0 else { return Poll::Ready(None) };
        if progress.answered.load(Ordering::Relaxed) {
            body.may_pause();
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        progress.moved();
        if let Some(Err(error)) = &frame {
            let fault = match error {
                BodyError::Broken(_) => BodyFault::Broken,
                BodyError::TooSlow(pace) => BodyFault::TooSlow(*pace),
            };
            let _ = progress.fault.set(fault);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

/// The body of an answer: a page of the proxy's, or an app's.
#[derive(Debug)]
pub(super) enum ResponseBody {
    Page(Full<Bytes>),
    Upstream(UpstreamBody),
}

/// An app's body on its way to a client. It gives its connection back at its end; dropped before, because the client
/// has gone, it closes it, which is how the app learns of that.
#[derive(Debug)]
pub(super) struct UpstreamBody {
    body: Incoming,
    lease: Option<Lease>,
    _in_flight: InFlight,
}

impl UpstreamBody {
    pub(super) fn new(body: Incoming, lease: Lease, in_flight: InFlight) -> Self {
        let mut this = Self { body, lease: Some(lease), _in_flight: in_flight };
        this.give_back_at_end();
        this
    }

    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        // A server stops asking once it has as many bytes as were announced.
        self.give_back_at_end();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Page(page) => Pin::new(page).poll_frame(cx).map_err(|never| match never {}),
            Self::Upstream(upstream) => {
                let frame = ready!(Pin::new(&mut upstream.body).poll_frame(cx));
                match &frame {
                    None => upstream.lease.take().into_iter().for_each(Lease::give_back),
                    Some(_) => upstream.give_back_at_end(),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Page(page) => page.is_end_stream(),
            Self::Upstream(upstream) => upstream.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Page(page) => page.size_hint(),
            Self::Upstream(upstream) => upstream.body.size_hint(),
        }
    }
}
