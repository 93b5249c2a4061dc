//! tide 0.16, on the inherited Unix socket. Its own server ends with its connections unfinished, so connections are ours, and
//! only what is in them is read and written by `async-h1`, tide's HTTP.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_h1::server::ConnectionStatus;
use async_std::os::unix::net::UnixStream;
use tide::{
    Server,
    http::{Request, Response, Result as HttpResult},
};

use super::{Served, Shutdown, connections};
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with tide returns.
///
/// ```
/// #[shuttle_service::main]
/// async fn tide() -> shuttle_service::ShuttleTide<()> {
///     let mut app = tide::new();
///     app.at("/").get(|_| async { Ok("Hello, world!") });
///     Ok(app)
/// }
/// ```
pub type ShuttleTide<State> = Result<Server<State>, Error>;

/// Requests are handled on the SDK's tokio runtime, so that clients which need one work; those in flight are finished before
/// it stops.
impl<State: Clone + Send + Sync + 'static> Service for Server<State> {
    const FRAMEWORK: &'static str = "tide";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        let app = Arc::new(self);
        let respond: Respond = Arc::new(move |request| {
            let app = Arc::clone(&app);
            Box::pin(async move { app.respond(request).await })
        });
        serve(respond, serving).await
    }
}

/// An app, its type put aside.
type Respond = Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = HttpResult<Response>> + Send>> + Send + Sync>;

fn serve(respond: Respond, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        connections::serve(listener, shutdown, |stream, shutdown| {
            let respond = Arc::clone(&respond);
            async move {
                if let Err(error) = connection(respond, stream, shutdown).await {
                    tracing::debug!("a connection ended: {error}");
                }
            }
        })
        .await;
        Ok(())
    })
}

/// One connection; when it is time to stop, it ends with the request that it is at.
async fn connection(respond: Respond, stream: tokio::net::UnixStream, mut shutdown: Shutdown) -> HttpResult<()> {
    let stream = UnixStream::from(stream.into_std()?);
    let asked = AtomicBool::new(false);
    let mut server = async_h1::server::Server::new(stream, |request| {
        asked.store(true, Ordering::Relaxed);
        respond(request)
    });
    while !shutdown.is_requested() {
        asked.store(false, Ordering::Relaxed);
        let mut one = std::pin::pin!(server.accept_one());
        let status = tokio::select! {
            biased;
            status = &mut one => status,
            () = &mut shutdown => match asked.load(Ordering::Relaxed) {
                true => one.await,
                false => return Ok(()),
            },
        };
        if status? == ConnectionStatus::Close {
            break;
        }
    }
    Ok(())
}
