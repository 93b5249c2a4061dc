//! The control socket, seen from the app: what is reported to the server, and its wish to stop.

use std::{
    io,
    net::SocketAddr,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shuttle_abi::{FailedStage, RunnerMessage, STATUS_FAILED, STATUS_OK, ServerMessage, frame};
use tokio::sync::watch;

/// Longest message of a failure, in bytes; the server reads no frame over [`frame::MAX_FROM_RUNNER`].
const MAX_MESSAGE: usize = 16 * 1024;
/// How long after its grace period a process that does not end is ended from here.
const OVERTIME: Duration = Duration::from_millis(500);

/// Where an app tells the server how it is.
#[derive(Debug)]
pub(crate) struct Reporter {
    socket: Mutex<UnixStream>,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    stage: FailedStage,
    ready: bool,
    failed: bool,
}

impl Reporter {
    fn new(socket: UnixStream) -> Self {
        let progress = Progress { stage: FailedStage::Resource, ready: false, failed: false };
        Self { socket: Mutex::new(socket), progress: Mutex::new(progress) }
    }

    /// Says once that connections are accepted.
    pub(crate) fn ready(&self, listen: Option<SocketAddr>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut progress.ready, true) {
            self.send(&RunnerMessage::Ready { listen });
        }
    }

    /// What a failure from now on is a failure of.
    pub(crate) fn enter(&self, stage: FailedStage) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).stage = stage;
    }

    /// Says once why it will not serve.
    pub(crate) fn failed(&self, message: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut progress.failed, true) {
            let message = message[..message.floor_char_boundary(MAX_MESSAGE)].to_owned();
            self.send(&RunnerMessage::Failed { stage: progress.stage, message });
        }
    }

    /// An error is no news: the server is gone then, and the thread that reads the socket ends the process.
    fn send(&self, message: &RunnerMessage) {
        let mut socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        drop(frame::write(&mut *socket, message));
    }
}

/// The server's wish to stop, once it has been uttered.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(watch::Receiver<Option<Duration>>);

impl Shutdown {
    /// Waits for the wish; gives the time there is for it.
    pub(crate) async fn requested(&mut self) -> Duration {
        match self.0.wait_for(Option::is_some).await.map(|grace| *grace) {
            Ok(Some(grace)) => grace,
            // The thread that would say so never ends before the process.
            _ => std::future::pending().await,
        }
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.borrow().is_some()
    }
}

/// Takes the control socket, and starts the thread that listens on it.
///
/// A thread rather than a task: the app's own code may keep the runtime from doing anything, and a process whose server is
/// gone has to end all the same.
pub(crate) fn open(socket: OwnedFd) -> io::Result<(Reporter, Shutdown)> {
    let socket = UnixStream::from(socket);
    let reading = socket.try_clone()?;
    let (sender, receiver) = watch::channel(None);
    std::thread::Builder::new().name("shuttle-control".to_owned()).spawn(move || listen(reading, &sender))?;
    Ok((Reporter::new(socket), Shutdown(receiver)))
}

fn listen(mut socket: UnixStream, stop: &watch::Sender<Option<Duration>>) {
    loop {
        match frame::read::<serde_json::Value>(&mut socket, frame::MAX_FROM_SERVER) {
            // What a newer server says beyond this is not meant for this SDK.
            Ok(Some(message)) => {
                if let Ok(ServerMessage::Stop { grace_ms }) = serde_json::from_value(message) {
                    let grace = Duration::from_millis(grace_ms);
                    stop.send_replace(Some(grace));
                    // From here on a read that finds nothing in time means that the app did not manage to end.
                    drop(socket.set_read_timeout(Some(grace + OVERTIME)));
                }
            }
            _ => process::exit(if stop.borrow().is_some() { STATUS_OK } else { STATUS_FAILED }),
        }
    }
}
