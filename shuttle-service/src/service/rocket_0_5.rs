//! rocket 0.5, which binds by itself.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use rocket::{Build, Rocket, fairing::AdHoc};
use tokio::sync::watch;

use super::Served;
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

/// Launched on a port of loopback that the system picks. Of its configuration only `address`, `port`, `shutdown.ctrlc`,
/// `shutdown.signals` and `shutdown.grace` are set by the platform; all else is as the app has it. Requests in flight are finished before it stops.
impl Service for Rocket<Build> {
    const FRAMEWORK: &'static str = "rocket";
    const LISTEN: Listen = Listen::Own;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self, serving).await
    }
}

/// How long rocket lets requests in flight go on, in seconds: longer than the platform, which has an end to its patience.
const GRACE: u32 = u32::MAX;
/// How long rocket's shutdown fairings have once no request is in flight.
const FAIRINGS: Duration = Duration::from_secs(1);

/// Boxed here, so that rocket's server is compiled with this crate and not again with every change of the app.
fn serve(rocket: Rocket<Build>, serving: Serving) -> Served {
    Box::pin(async move {
        let config = rocket
            .figment()
            .clone()
            .merge(("address", Ipv4Addr::LOCALHOST))
            .merge(("port", 0))
            .merge(("shutdown.ctrlc", false))
            // Its handler of SIGTERM; the wish to stop comes from the platform.
            .merge(("shutdown.signals", [""; 0]))
            .merge(("shutdown.grace", GRACE));
        let reporter = serving.reporter();
        let tell_address = AdHoc::on_liftoff("platform: ready", move |rocket| {
            Box::pin(async move {
                reporter.ready(Some(SocketAddr::new(rocket.config().address, rocket.config().port)));
            })
        });
        let (count, mut in_flight) = count_requests();
        let rocket = rocket.configure(config).attach(tell_address).attach(count);
        let rocket = rocket.ignite().await.map_err(|error| explain(&error))?;
        let stop = rocket.shutdown();
        let mut launch = Box::pin(rocket.launch());
        tokio::select! {
            ended = &mut launch => return ended.map(drop).map_err(|error| explain(&error)),
            () = serving.shutdown() => stop.notify(),
        }
        // Where a connection is open at this moment, rocket waits for the whole of its grace period, whether or not there is
        // anything to wait for; so it is not waited for then. The connections stop by themselves, and what they share with it
        // is dropped with the last of them.
        let idle = async {
            drop(in_flight.wait_for(|requests| *requests == 0).await);
            tokio::time::sleep(FAIRINGS).await;
        };
        tokio::select! {
            ended = &mut launch => return ended.map(drop).map_err(|error| explain(&error)),
            () = idle => drop(launch),
        }
        while in_flight.changed().await.is_ok() {}
        Ok(())
    })
}

/// A fairing that counts the requests in flight. It is dropped, and the count with it, when rocket is.
fn count_requests() -> (AdHoc, watch::Receiver<usize>) {
    let (count, in_flight) = watch::channel(0);
    let count = Arc::new(count);
    let fairing = AdHoc::on_request("platform: requests in flight", move |request, _| {
        request.local_cache(|| InFlight::new(Arc::clone(&count)));
        Box::pin(async {})
    });
    (fairing, in_flight)
}

/// Kept by a request for as long as it is there, which is until its response has been sent.
struct InFlight(Arc<watch::Sender<usize>>);

impl InFlight {
    fn new(count: Arc<watch::Sender<usize>>) -> Self {
        count.send_modify(|requests| *requests += 1);
        Self(count)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|requests| *requests -= 1);
    }
}

/// Rocket's error panics when it is dropped unread, and its details only go to the log.
fn explain(error: &rocket::Error) -> Error {
    let advice = error.pretty_print();
    Error::msg(format!("{error} ({advice}; the log has the details)"))
}
