//! Any `tower::Service` over requests of hyper 1, on the inherited Unix socket.

use hyper::{
    Request, Response,
    body::{Body, Bytes, Incoming},
};

use super::hyper::{BoxError, serve};
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with a `tower::Service` returns; see [`Tower`].
///
/// ```
/// use std::convert::Infallible;
///
/// use hyper::{Request, Response, body::Incoming};
/// use shuttle_service::{ShuttleTower, Tower};
/// use tower::util::BoxCloneService;
///
/// type Boxed = BoxCloneService<Request<Incoming>, Response<String>, Infallible>;
///
/// #[shuttle_service::main]
/// async fn app() -> ShuttleTower<Boxed> {
///     let hello = tower::service_fn(async |_| Ok(Response::new("Hello, world!".to_owned())));
///     Ok(Tower(Boxed::new(hello)))
/// }
/// ```
pub type ShuttleTower<S> = Result<Tower<S>, Error>;

/// Serves with any `tower::Service` over requests of hyper 1.
///
/// Each request is answered by a clone of it, once that is ready. An error is logged, and answered with the status 500.
///
/// ```
/// use std::convert::Infallible;
///
/// use http_body_util::Full;
/// use hyper::{Request, Response, body::{Bytes, Incoming}};
/// use shuttle_service::{Error, Service, Tower};
///
/// async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
///     Ok(Response::new(Full::from("Hello, world!")))
/// }
///
/// #[shuttle_service::main]
/// async fn app() -> Result<impl Service, Error> {
///     Ok(Tower(tower::service_fn(hello)))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Tower<S>(pub S);

impl<S> From<S> for Tower<S> {
    fn from(service: S) -> Self {
        Self(service)
    }
}

/// Served by hyper with HTTP/1; requests in flight are finished before it stops.
impl<S, B> Service for Tower<S>
where
    S: tower_service::Service<Request<Incoming>, Response = Response<B>, Future: Send> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    const FRAMEWORK: &'static str = "tower";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self.0, serving).await
    }
}
