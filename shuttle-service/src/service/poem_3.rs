//! poem 3, on the inherited Unix socket.

use std::convert::Infallible;

use poem::{EndpointExt, IntoEndpoint, Response, Server, endpoint::BoxEndpoint, listener::UnixAcceptor};

use super::Served;
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with poem returns: any endpoint.
///
/// ```
/// use poem::{Route, get, handler};
///
/// #[handler]
/// fn hello() -> &'static str {
///     "Hello, world!"
/// }
///
/// #[shuttle_service::main]
/// async fn poem() -> shuttle_service::ShuttlePoem<impl poem::Endpoint> {
///     Ok(Route::new().at("/", get(hello)))
/// }
/// ```
pub type ShuttlePoem<E> = Result<E, Error>;

/// Stands for every endpoint; see [`Service`].
///
/// It is met where a function says no more than that its endpoint can be served:
///
/// ```
/// use poem::Route;
/// use shuttle_service::{Error, PoemEndpoint, Service};
///
/// #[shuttle_service::main]
/// async fn app() -> Result<impl Service<PoemEndpoint>, Error> {
///     Ok(Route::new())
/// }
/// ```
#[derive(Debug)]
pub struct PoemEndpoint(Infallible);

/// Served with poem's own server; requests in flight are finished before it stops.
impl<E> Service<PoemEndpoint> for E
where
    E: IntoEndpoint<Endpoint: 'static> + 'static,
{
    const FRAMEWORK: &'static str = "poem";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self.map_to_response().boxed(), serving).await
    }
}

/// Boxed here, so that poem's server is compiled with this crate and not again with every change of the app.
fn serve(endpoint: BoxEndpoint<'static, Response>, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        let acceptor = UnixAcceptor::from_std(listener.into_std()?)?;
        Server::new_with_acceptor(acceptor).run_with_graceful_shutdown(endpoint, shutdown, None).await?;
        Ok(())
    })
}
