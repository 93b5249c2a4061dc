//! axum 0.8, on the inherited Unix socket.

use axum::Router;

use super::Served;
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with axum returns.
///
/// ```
/// use axum::{Router, routing::get};
///
/// #[shuttle_service::main]
/// async fn axum() -> shuttle_service::ShuttleAxum {
///     Ok(Router::new().route("/", get(async || "Hello, world!")))
/// }
/// ```
pub type ShuttleAxum = Result<Router, Error>;

/// Served with `axum::serve`; requests in flight are finished before it stops.
impl Service for Router {
    const FRAMEWORK: &'static str = "axum";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self, serving).await
    }
}

/// Boxed here, so that axum's server is compiled with this crate and not again with every change of the app.
fn serve(router: Router, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
        Ok(())
    })
}
