//! Connections on the inherited Unix socket, for frameworks whose own server cannot take it or cannot stop gracefully.

use std::{io, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};

use super::Shutdown;

/// How long to wait where no connection can be had, for example because the process has too many files open.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves each connection in a task of its own until it is time to stop; then takes no more, and returns once those that are
/// open have ended. Each gets the signal as well, to end at the next occasion.
pub(super) async fn serve<Fut>(listener: UnixListener, mut shutdown: Shutdown, mut each: impl FnMut(UnixStream, Shutdown) -> Fut)
where
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            stream = accept(&listener) => drop(open.spawn(each(stream, shutdown.clone()))),
            Some(_) = open.join_next() => {}
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn accept(listener: &UnixListener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::error!("no connection can be accepted: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
