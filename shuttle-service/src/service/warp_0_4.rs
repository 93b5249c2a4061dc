//! warp 0.4, on the inherited Unix socket.

use std::{convert::Infallible, marker::PhantomData};

use warp::{Filter, Rejection, Reply, filters::BoxedFilter, reply::Response};

use super::Served;
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with warp returns: a boxed filter. Any other filter that gives a reply can be returned as
/// `Result<impl warp::Filter<…>, Error>`.
///
/// ```
/// use warp::Filter;
///
/// #[shuttle_service::main]
/// async fn warp() -> shuttle_service::ShuttleWarp<(&'static str,)> {
///     Ok(warp::any().map(|| "Hello, world!").boxed())
/// }
/// ```
pub type ShuttleWarp<T> = Result<BoxedFilter<T>, Error>;

/// Stands for every filter that gives a `T`; see [`Service`].
///
/// It is met where a function says no more than that its filter can be served:
///
/// ```
/// use shuttle_service::{Error, Service, WarpFilter};
/// use warp::Filter;
///
/// #[shuttle_service::main]
/// async fn app() -> Result<impl Service<WarpFilter<&'static str>>, Error> {
///     Ok(warp::any().map(|| "Hello, world!"))
/// }
/// ```
#[derive(Debug)]
pub struct WarpFilter<T>(PhantomData<T>, Infallible);

/// Served with warp's own server; requests in flight are finished before it stops.
impl<F, T> Service<WarpFilter<T>> for F
where
    F: Filter<Extract = (T,), Error: Into<Rejection>> + Send + Sync + 'static,
    T: Reply + 'static,
{
    const FRAMEWORK: &'static str = "warp";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self.map(Reply::into_response).boxed(), serving).await
    }
}

/// Boxed here, so that warp's server is compiled with this crate and not again with every change of the app.
fn serve(filter: BoxedFilter<(Response,)>, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        warp::serve(filter).incoming(listener).graceful(shutdown).run().await;
        Ok(())
    })
}
