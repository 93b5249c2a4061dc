//! actix-web 4, on the inherited Unix socket.

use std::{cell::RefCell, convert::Infallible};

use actix_web::{App, HttpServer, web::ServiceConfig};
use tokio::sync::mpsc::{self, Sender};

use super::Served;
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with actix-web returns: a closure that configures the app.
///
/// ```
/// use actix_web::web::{self, ServiceConfig};
///
/// async fn hello() -> &'static str {
///     "Hello, world!"
/// }
///
/// #[shuttle_service::main]
/// async fn app() -> shuttle_service::ShuttleActixWeb<impl FnOnce(&mut ServiceConfig) + Send + Clone + 'static> {
///     Ok(|config: &mut ServiceConfig| {
///         config.route("/", web::get().to(hello));
///     })
/// }
/// ```
pub type ShuttleActixWeb<F> = Result<F, Error>;

/// Stands for every closure that configures an app; see [`Service`].
///
/// It is met where a function says no more than that its closure can be served:
///
/// ```
/// use actix_web::web::{self, ServiceConfig};
/// use shuttle_service::{ActixWebConfig, Error, Service};
///
/// #[shuttle_service::main]
/// async fn app() -> Result<impl Service<ActixWebConfig>, Error> {
///     Ok(|config: &mut ServiceConfig| {
///         config.route("/", web::get().to(async || "Hello, world!"));
///     })
/// }
/// ```
#[derive(Debug)]
pub struct ActixWebConfig(Infallible);

/// Served with actix-web's own server and as many workers as the machine has cores; the closure is called once in each.
/// Requests in flight are finished before it stops.
impl<F> Service<ActixWebConfig> for F
where
    F: FnOnce(&mut ServiceConfig) + Send + Clone + 'static,
{
    const FRAMEWORK: &'static str = "actix-web";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(Box::new(self), serving).await
    }
}

/// A closure that configures an app, its type put aside.
trait Configure: Send {
    fn configure(self: Box<Self>, config: &mut ServiceConfig);
    fn duplicate(&self) -> Box<dyn Configure>;
}

impl<F: FnOnce(&mut ServiceConfig) + Send + Clone + 'static> Configure for F {
    fn configure(self: Box<Self>, config: &mut ServiceConfig) {
        self(config);
    }

    fn duplicate(&self) -> Box<dyn Configure> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Configure> {
    fn clone(&self) -> Self {
        (**self).duplicate()
    }
}

thread_local! {
    /// Dropped when a worker's thread ends, after all that the worker had.
    static WORKER: RefCell<Option<Sender<Infallible>>> = const { RefCell::new(None) };
}

/// Boxed here, so that actix-web's server is compiled with this crate and not again with every change of the app.
fn serve(configure: Box<dyn Configure>, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        let (worker, mut workers) = mpsc::channel(1);
        let app = move || {
            WORKER.set(Some(worker.clone()));
            let configure = configure.clone();
            App::new().configure(|config| configure.configure(config))
        };
        let server = HttpServer::new(app)
            .listen_uds(listener.into_std()?)?
            // The platform has an end to its patience.
            .shutdown_timeout(u64::from(u32::MAX))
            .disable_signals()
            .run();
        let handle = server.handle();
        tokio::spawn(async move {
            shutdown.await;
            handle.stop(true).await;
        });
        server.await?;
        // The server does not wait for its workers to drop what they have.
        workers.recv().await;
        Ok(())
    })
}
