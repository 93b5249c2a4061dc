//! The one request with a body: the archive, streamed from its file.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use platform_wire::{Deployment, ProjectName};
use reqwest::{
    Body, Method,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::{fs::File, time::sleep};
use tokio_util::io::ReaderStream;

use super::{Client, ClientError};

/// Longest time between two signs of life.
const STALL: Duration = Duration::from_secs(120);
/// How long the second attempt keeps its body back: time for a server to refuse what it sees from the headers.
const HOLD: Duration = Duration::from_millis(500);
const PIECE: usize = 64 * 1024;

impl Client {
    /// Sends the archive; `sent` is told of every piece.
    pub(crate) async fn deploy(
        &self,
        name: &ProjectName,
        archive: &Path,
        size: u64,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Deployment, ClientError> {
        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let count = move |piece: u64| {
            counter.fetch_add(piece, Ordering::Relaxed);
            sent(piece);
        };
        match self.send_archive(name, archive, size, Duration::ZERO, &moved, count).await {
            // A server that refuses an upload closes the connection while this end still writes, and its answer is lost in
            // that. Asked again it is heard. Nothing is sent twice, as the first attempt did not come to its end.
            Err(ClientError::Unreachable { .. }) if (1..size).contains(&moved.load(Ordering::Relaxed)) => {
                let counter = Arc::new(AtomicU64::new(0));
                let moved = Arc::clone(&counter);
                let count = move |piece: u64| {
                    counter.fetch_add(piece, Ordering::Relaxed);
                };
                self.send_archive(name, archive, size, HOLD, &moved, count).await
            }
            result => result,
        }
    }

    async fn send_archive(
        &self,
        name: &ProjectName,
        archive: &Path,
        size: u64,
        hold: Duration,
        moved: &AtomicU64,
        count: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Deployment, ClientError> {
        let file = File::open(archive).await.map_err(|error| ClientError::Setup { why: error.to_string() })?;
        let pieces = ReaderStream::with_capacity(file, PIECE).inspect_ok(move |piece| count(piece.len() as u64));
        let wait = sleep(hold).into_stream().filter_map(|()| async { None });
        let mut url = self.url(&["deploy"]);
        url.query_pairs_mut().append_pair("project", name.as_str());
        let request = self
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/gzip")
            .header(CONTENT_LENGTH, size)
            .body(Body::wrap_stream(wait.chain(pieces)));
        tokio::select! {
            answer = self.answer(request) => answer,
            () = stalled(moved) => {
                let why = format!("nothing moved for {} s", STALL.as_secs());
                Err(ClientError::Unreachable { url: self.address(), why })
            }
        }
    }
}

/// Ends when the upload has not moved for too long; the time that the server takes to store the rest counts as well.
async fn stalled(moved: &AtomicU64) {
    let mut before = None;
    loop {
        let now = moved.load(Ordering::Relaxed);
        if before.replace(now) == Some(now) {
            return;
        }
        sleep(STALL).await;
    }
}
