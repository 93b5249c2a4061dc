//! One live instance of an app, as the proxy sees it: where it is, and what is in flight to it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::{Notify, watch};

use super::pool::Pool;

/// Where an instance listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// How an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetState {
    /// Not ready yet: requests are held.
    Starting,
    Ready(Upstream),
    /// Not running: requests are answered with 502.
    Down,
    /// It is sent no requests: they are answered with 404.
    Background,
}

/// [`TargetState`] with the connections that belong to it.
#[derive(Debug, Clone)]
pub(super) enum Current {
    Starting,
    Ready(Arc<Pool>),
    Down,
    Background,
}

impl From<TargetState> for Current {
    fn from(state: TargetState) -> Self {
        match state {
            TargetState::Starting => Self::Starting,
            TargetState::Ready(upstream) => Self::Ready(Arc::new(Pool::new(upstream))),
            TargetState::Down => Self::Down,
            TargetState::Background => Self::Background,
        }
    }
}

/// One generation of an app's instance. It owns the connections to it: the idle ones are closed when the target is
/// dropped, or set to another state.
#[derive(Debug)]
pub struct Target {
    current: watch::Sender<Current>,
    in_flight: AtomicUsize,
    /// Told when nothing is in flight any more.
    idle: Notify,
}

impl Target {
    #[must_use]
    pub fn new(state: TargetState) -> Arc<Self> {
        let current = watch::Sender::new(state.into());
        Arc::new(Self { current, in_flight: AtomicUsize::new(0), idle: Notify::new() })
    }

    /// Changes the state. What is in flight goes on over the connections that it has.
    pub fn set(&self, state: TargetState) {
        self.current.send_replace(state.into());
    }

    /// Requests that are being answered or held, and connections after an upgrade.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Resolves when nothing is in flight. It promises nothing of later requests: take the target out of the
    /// [`Routes`](super::Routes) first.
    pub async fn drained(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            // From here on a notification is not missed.
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Counts a request, here and in `all`.
    pub(super) fn enter(self: &Arc<Self>, all: &Arc<AtomicUsize>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        all.fetch_add(1, Ordering::AcqRel);
        InFlight { target: self.clone(), all: all.clone() }
    }
}

/// Counts one request, or one upgraded connection, for as long as it lives.
#[derive(Debug)]
pub(super) struct InFlight {
    target: Arc<Target>,
    /// The requests of all targets.
    all: Arc<AtomicUsize>,
}

impl InFlight {
    /// Requests to the same target, this one included.
    pub(super) fn of_target(&self) -> usize {
        self.target.in_flight()
    }

    /// Requests to all targets, this one included.
    pub(super) fn of_all(&self) -> usize {
        self.all.load(Ordering::Acquire)
    }

    pub(super) fn current(&self) -> Current {
        self.target.current.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Current> {
        self.target.current.subscribe()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        if self.target.in_flight.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.target.idle.notify_waiters();
        }
    }
}
