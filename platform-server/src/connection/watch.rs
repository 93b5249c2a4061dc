//! What one connection is doing: whether a request is under way in it, and when it last moved.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::Config;

/// HTTP/2 is judged by the pieces of a body that the client takes, which may be as long as hyper's buffer (400 kB): a slow
/// client needs some time for one.
const STALL_OF_HTTP_2: u32 = 4;

/// How long a new connection is left alone, where another one can be closed.
const YOUTH: Duration = Duration::from_secs(1);

/// What one client has. Everything that one client may have many of is counted here, however it is spread over connections.
#[derive(Debug)]
pub(super) struct Share {
    most: usize,
    connections: AtomicUsize,
    /// Requests of HTTP/2 beyond the first one of each connection.
    more_requests: AtomicUsize,
}

impl Share {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, connections: AtomicUsize::new(0), more_requests: AtomicUsize::new(0) })
    }

    fn taken(&self) -> usize {
        self.connections.load(Ordering::Relaxed) + self.more_requests.load(Ordering::Relaxed)
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.taken() >= self.most
    }

    pub(super) fn connects(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Says whether that was the last connection.
    pub(super) fn disconnects(&self) -> bool {
        self.connections.fetch_sub(1, Ordering::Relaxed) == 1
    }
}

/// One connection of a client's. All of it is counters, so that a request costs no allocation and no lock.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Of its client, unless that speaks for many.
    share: Option<Arc<Share>>,
    began: Instant,
    /// Requests under way, up to the end of their answers. A tunnel is one.
    requests: AtomicUsize,
    /// Those of them that wait for the server or an app; the others wait for the client.
    waiting: AtomicUsize,
    /// Nanoseconds after `began`: when a request last began, ended or moved.
    moved: AtomicU64,
    /// Nanoseconds after `began`: when the socket last took bytes.
    wrote: AtomicU64,
    /// The socket takes no more for now.
    full: AtomicBool,
    /// A request has come.
    spoke: AtomicBool,
    http2: AtomicBool,
    /// It carries another protocol now.
    tunnel: AtomicBool,
    /// A request's body was left unread: the client may still be sending it.
    cut: AtomicBool,
    /// Its place is needed.
    wanted: AtomicBool,
    pub(super) close: Notify,
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Look again then.
    Keep(Instant),
    /// Nothing was asked for in time.
    Idle,
    /// The client does not read what it asked for.
    Stalled,
}

impl Connection {
    pub(super) fn new(share: Option<Arc<Share>>) -> Self {
        Self {
            share,
            began: Instant::now(),
            requests: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            moved: AtomicU64::new(0),
            wrote: AtomicU64::new(0),
            full: AtomicBool::new(false),
            spoke: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            close: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn moves(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn writes(&self) {
        self.wrote.store(self.now(), Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
    }

    pub(super) fn cannot_write(&self) {
        self.full.store(true, Ordering::Relaxed);
    }

    /// A request's body will not be read to its end.
    pub(super) fn cuts_body(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_cut_body(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// How many requests its client may have at one time, if it has more, this one included.
    pub(super) fn has_too_many(&self) -> Option<usize> {
        self.share.as_ref().filter(|share| share.taken() > share.most).map(|share| share.most)
    }

    pub(super) fn becomes_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    pub(super) fn has_spoken(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    /// Counts a request for as long as the answer lives.
    pub(super) fn enter(self: &Arc<Self>, http2: bool) -> Busy {
        // Requests of one connection come one after another.
        if !self.spoke.load(Ordering::Relaxed) {
            self.http2.store(http2, Ordering::Relaxed);
            self.spoke.store(true, Ordering::Relaxed);
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        if self.requests.fetch_add(1, Ordering::AcqRel) > 0
            && let Some(share) = &self.share
        {
            share.more_requests.fetch_add(1, Ordering::Relaxed);
        }
        Busy { connection: self.clone(), waits: true }
    }

    /// When it became idle, in order that connections can be compared; `None` if it is not, or is being closed.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        if !self.is_idle() || self.wanted.load(Ordering::Relaxed) {
            return None;
        }
        let (moved, wrote) = (self.moved.load(Ordering::Relaxed), self.wrote.load(Ordering::Relaxed));
        Some(self.began + Duration::from_nanos(moved.max(wrote)))
    }

    /// It is new, and its first request may be on the way.
    pub(super) fn is_young(&self) -> bool {
        !self.has_spoken() && self.began.elapsed() < YOUTH
    }

    /// Its place was asked for, and will be free in a moment.
    pub(super) fn is_leaving(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && self.is_idle()
    }

    /// Asks for its place.
    pub(super) fn give_way(&self) {
        self.wanted.store(true, Ordering::Relaxed);
        self.close.notify_one();
    }

    /// Nothing is under way in it. The end of an answer may still wait in a buffer when its request is over: that is
    /// so while the socket takes no more.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0 && !self.full.load(Ordering::Relaxed)
    }

    pub(super) fn judge(&self, config: &Config) -> Verdict {
        let now = Instant::now();
        let (moved, wrote) = (self.moved.load(Ordering::Relaxed), self.wrote.load(Ordering::Relaxed));
        let at = |nanos| self.began + Duration::from_nanos(nanos);
        let requests = self.requests.load(Ordering::Acquire);
        let full = self.full.load(Ordering::Relaxed);
        if requests == 0 && !full {
            let end = at(moved.max(wrote)) + config.head_timeout;
            return if end <= now { Verdict::Idle } else { Verdict::Keep(end) };
        }
        let end = if full {
            // Whatever the server has to say, it cannot.
            at(wrote) + config.write_timeout
        } else if self.waiting.load(Ordering::Acquire) >= requests {
            return Verdict::Keep(now + config.write_timeout);
        } else if self.http2.load(Ordering::Relaxed) {
            // Its pings are written as well: only the pieces of bodies count.
            at(moved) + config.write_timeout * STALL_OF_HTTP_2
        } else {
            at(moved.max(wrote)) + config.write_timeout
        };
        if end <= now { Verdict::Stalled } else { Verdict::Keep(end) }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Busy {
    connection: Arc<Connection>,
    /// It is counted among those that wait for the server.
    waits: bool,
}

impl Busy {
    /// The server has nothing to send.
    pub(super) fn waits_for_server(&mut self) {
        if !self.waits {
            self.waits = true;
            self.connection.waiting.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// There is something for the client to take.
    pub(super) fn waits_for_client(&mut self) {
        // With HTTP/1 each piece is written at once, which is remembered as well.
        if self.connection.http2.load(Ordering::Relaxed) {
            self.connection.moves();
        }
        if self.waits {
            self.waits = false;
            self.connection.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.waits_for_client();
        self.connection.moves();
        if self.connection.requests.fetch_sub(1, Ordering::AcqRel) > 1
            && let Some(share) = &self.connection.share
        {
            share.more_requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
