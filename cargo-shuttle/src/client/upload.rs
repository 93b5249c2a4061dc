//! The one request with a large body: the archive, streamed from its file.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, TryStreamExt as _, stream::try_unfold};
use platform_wire::{BuildMode, Deployment, Origin, ProjectName};
use reqwest::{
    Body, Method, RequestBuilder, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use tokio::{task::spawn_blocking, time::sleep};

use super::{Client, ClientError};

/// Longest time between two signs of life.
const STALL: Duration = Duration::from_secs(120);
const PIECE: usize = 64 * 1024;

/// An archive on its way.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) archive: Arc<File>,
    pub(crate) size: u64,
    /// The set of secrets that this deployment gets; without one it gets the project's newest.
    pub(crate) secrets: Option<String>,
    /// How it is built; the server has a default.
    pub(crate) build: Option<BuildMode>,
    /// Whether it is built though the very same serves.
    pub(crate) force: bool,
    /// Where it is from.
    pub(crate) origin: Origin,
    /// Whether it may replace what was deployed from elsewhere.
    pub(crate) replace: bool,
}

/// What became of an upload.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A new deployment.
    New(Deployment),
    /// The very same serves already.
    Unchanged(Deployment),
}

impl Client {
    /// Sends the archive once; `sent` is told of every piece. The body begins after `hold`: time for a server to refuse
    /// what it sees from the headers, in an answer that is lost where this end still writes.
    pub(crate) async fn deploy(
        &self,
        name: &ProjectName,
        upload: &Upload,
        hold: Duration,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<Sent, ClientError> {
        let moved = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&moved);
        let pieces = pieces(Arc::clone(&upload.archive)).inspect_ok(move |piece| {
            counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
            sent(piece.len() as u64);
        });
        let wait = sleep(hold).into_stream().filter_map(|()| async { None });
        let mut url = self.url(&["deploy"]);
        url.query_pairs_mut().append_pair("project", name.as_str());
        if let Some(id) = &upload.secrets {
            url.query_pairs_mut().append_pair("secrets", id);
        }
        if let Some(mode) = upload.build {
            url.query_pairs_mut().append_pair("build", mode.as_str());
        }
        if upload.force {
            url.query_pairs_mut().append_pair("force", "true");
        }
        if !upload.origin.is_unknown() {
            url.query_pairs_mut().append_pair("origin", &upload.origin.to_query());
        }
        if upload.replace {
            url.query_pairs_mut().append_pair("replace", "true");
        }
        let request = self
            .request(Method::POST, url)
            .header(CONTENT_TYPE, "application/gzip")
            .header(CONTENT_LENGTH, upload.size)
            .body(Body::wrap_stream(wait.chain(pieces)));
        tokio::select! {
            sent = self.sent(request) => sent,
            () = stalled(&moved) => {
                let why = format!("nothing moved for {} s", STALL.as_secs());
                Err(ClientError::Unreachable { url: self.address(), why })
            }
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Sent, ClientError> {
        let response = self.send(request).await?;
        let is_new = response.status() != StatusCode::OK;
        let deployment = self.document(response).await?;
        Ok(if is_new { Sent::New(deployment) } else { Sent::Unchanged(deployment) })
    }
}

/// The file from its beginning. Each piece is read at its own place: a read that an attempt before has left behind cannot
/// move this one's.
fn pieces(file: Arc<File>) -> impl Stream<Item = io::Result<Bytes>> {
    try_unfold((file, 0), |(file, offset)| async move {
        let reading = Arc::clone(&file);
        let read = move || {
            let mut piece = vec![0; PIECE];
            let count = reading.read_at(&mut piece, offset)?;
            piece.truncate(count);
            io::Result::Ok(Bytes::from(piece))
        };
        let piece = spawn_blocking(read).await.map_err(io::Error::other)??;
        let next = offset + piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, (file, next))))
    })
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
