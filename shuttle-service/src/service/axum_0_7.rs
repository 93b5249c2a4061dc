//! axum 0.7, whose own server takes TCP sockets only: served by hyper on the inherited Unix socket.

use axum_0_7::Router;

use super::{Served, hyper};
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with axum 0.7 returns.
///
/// ```
/// # use axum_0_7 as axum;
/// use axum::{Router, routing::get};
///
/// #[shuttle_service::main]
/// async fn axum() -> shuttle_service::ShuttleAxum07 {
///     Ok(Router::new().route("/", get(|| async { "Hello, world!" })))
/// }
/// ```
pub type ShuttleAxum07 = Result<Router, Error>;

/// Served by hyper with HTTP/1; requests in flight are finished before it stops.
impl Service for Router {
    const FRAMEWORK: &'static str = "axum";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self, serving).await
    }
}

/// Not generic, so that hyper's server for a router is compiled with this crate and not again with every change of the app.
fn serve(router: Router, serving: Serving) -> Served {
    hyper::serve(router, serving)
}
