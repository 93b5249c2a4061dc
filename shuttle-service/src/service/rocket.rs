//! rocket 0.5, which binds by itself.

use std::{
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
};

use rocket::{Build, Rocket, fairing::AdHoc};

use crate::{Error, Listen, Service, Serving};

/// What a function that serves with rocket returns.
///
/// ```
/// #[rocket::get("/")]
/// fn index() -> &'static str {
///     "Hello, world!"
/// }
///
/// #[shuttle_service::main]
/// async fn rocket() -> shuttle_service::ShuttleRocket {
///     Ok(rocket::build().mount("/", rocket::routes![index]))
/// }
/// ```
pub type ShuttleRocket = Result<Rocket<Build>, Error>;

/// Launched on a port of loopback that the system picks. Of its configuration only `address`, `port` and `shutdown.ctrlc`
/// are set by the platform; all else is as the app has it.
impl Service for Rocket<Build> {
    const FRAMEWORK: &'static str = "rocket";
    const LISTEN: Listen = Listen::Own;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self, serving).await
    }
}

/// Boxed here, so that rocket's server is compiled with this crate and not again with every change of the app.
fn serve(rocket: Rocket<Build>, serving: Serving) -> Pin<Box<dyn Future<Output = Result<(), Error>>>> {
    Box::pin(async move {
        let config =
            rocket.figment().clone().merge(("address", Ipv4Addr::LOCALHOST)).merge(("port", 0)).merge(("shutdown.ctrlc", false));
        let reporter = serving.reporter();
        let tell_address = AdHoc::on_liftoff("platform: ready", move |rocket| {
            Box::pin(async move {
                reporter.ready(Some(SocketAddr::new(rocket.config().address, rocket.config().port)));
            })
        });
        let rocket = rocket.configure(config).attach(tell_address).ignite().await.map_err(|error| explain(&error))?;
        let stop = rocket.shutdown();
        let requested = serving.shutdown();
        tokio::spawn(async move {
            requested.await;
            stop.notify();
        });
        rocket.launch().await.map(drop).map_err(|error| explain(&error))
    })
}

/// Rocket's error panics when it is dropped unread, and its details only go to the log.
fn explain(error: &rocket::Error) -> Error {
    let advice = error.pretty_print();
    Error::msg(format!("{error} ({advice}; the log has the details)"))
}
