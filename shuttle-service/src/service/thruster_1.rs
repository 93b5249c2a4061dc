//! thruster 1, on the inherited Unix socket. Its own servers bind by themselves and never stop, so the app is served by
//! hyper 0.14 from here.

use std::{io, pin::Pin, sync::Arc};

use hyper_0_14::{Body, Request, Response, server::conn::Http, service::service_fn};
use thruster::{App, Context, context::hyper_request::HyperRequest};
use tokio::net::UnixStream;

use super::{Served, Shutdown, connections};
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with thruster returns: the app itself, of thruster's feature `hyper_server`, not a server
/// that has been made of it.
///
/// ```
/// use thruster::{
///     App, BasicHyperContext, HyperRequest, MiddlewareNext, MiddlewareResult,
///     context::basic_hyper_context::generate_context, m, middleware_fn,
/// };
///
/// #[middleware_fn]
/// async fn hello(mut context: BasicHyperContext, _: MiddlewareNext<BasicHyperContext>) -> MiddlewareResult<BasicHyperContext> {
///     context.body("Hello, world!");
///     Ok(context)
/// }
///
/// #[shuttle_service::main]
/// async fn thruster() -> shuttle_service::ShuttleThruster<App<HyperRequest, BasicHyperContext, ()>> {
///     Ok(App::create(generate_context, ()).get("/", m![hello]))
/// }
/// ```
pub type ShuttleThruster<A> = Result<A, Error>;

/// Requests in flight are finished before it stops.
impl<C, S> Service for App<HyperRequest, C, S>
where
    C: Context<Response = Response<Body>> + Clone + Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    const FRAMEWORK: &'static str = "thruster";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        let app = Arc::new(self.commit());
        let respond: Respond = Arc::new(move |request| {
            let answer = app.match_and_resolve(HyperRequest::new(request));
            Box::pin(answer)
        });
        serve(respond, serving).await
    }
}

/// An answer, or why the connection is cut.
type Answer = io::Result<Response<Body>>;
/// An app, its type put aside.
type Respond = Arc<dyn Fn(Request<Body>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

fn serve(respond: Respond, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        connections::serve(listener, shutdown, |stream, shutdown| connection(Arc::clone(&respond), stream, shutdown)).await;
        Ok(())
    })
}

/// One connection; when it is time to stop, it ends with the request that it is at.
async fn connection(respond: Respond, stream: UnixStream, shutdown: Shutdown) {
    let connection = Http::new().http1_only(true).serve_connection(stream, service_fn(move |request| respond(request)));
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
