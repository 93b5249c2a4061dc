//! hyper 1, on the inherited Unix socket: for what is called with a request and gives a response.

use std::{convert::Infallible, error::Error as StdError, future::poll_fn, pin::Pin};

use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::{MAX_HEADERS, Served, Shutdown, connections};
use crate::{Error, Serving};

/// Any error.
pub(super) type BoxError = Box<dyn StdError + Send + Sync>;
/// A response, the type of its body put aside.
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
/// Answers the requests of one connection.
type Handler = Box<dyn Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send>;

/// What depends on the service's type is small, so that the server is compiled with this crate and not with the app.
pub(super) fn serve<S, B>(service: S, serving: Serving) -> Served
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    serve_boxed(Box::new(move || handler(service.clone())), serving)
}

fn handler<S, B>(service: S) -> Handler
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    Box::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            if let Err(error) = poll_fn(|context| service.poll_ready(context)).await {
                return failed(error.into());
            }
            match service.call(request).await {
                Ok(response) => response.map(|body| body.map_err(Into::into).boxed_unsync()),
                Err(error) => failed(error.into()),
            }
        })
    })
}

fn failed(error: BoxError) -> Answer {
    tracing::error!("the service failed: {}", Error::from(error).chain());
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}

fn serve_boxed(handler: Box<dyn Fn() -> Handler>, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        connections::serve(listener, shutdown, |stream, shutdown| connection(handler(), stream, shutdown)).await;
        Ok(())
    })
}

/// One connection; when it is time to stop, it ends with the request that it is at.
async fn connection(handler: Handler, stream: UnixStream, shutdown: Shutdown) {
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // No time-out for the next head: its clock would run while a slow client still takes the answer before, and the proxy
    // has time-outs for its clients.
    let connection = http1::Builder::new().max_headers(MAX_HEADERS).serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = shutdown => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
}
