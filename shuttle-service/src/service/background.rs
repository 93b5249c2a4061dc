//! Services that serve nobody: bots, consumers of queues, other protocols.

use std::fmt;

use super::{Served, Shutdown};
use crate::{Error, Kind, Listen, Service, Serving};

/// A service that listens on nothing: it always runs, is never put to sleep, and is sent no requests.
///
/// The future that the closure gives is the service. It ends when the [`Shutdown`] is done, and not before: one that ends by
/// itself has failed, and is started again. What it has to tidy up, it does before it returns; a future that pays no heed to
/// the signal is dropped when the platform's time for stopping is over.
///
/// ```
/// use std::time::Duration;
///
/// use shuttle_service::{Background, Error, background};
///
/// #[shuttle_service::main]
/// async fn bot() -> Result<Background, Error> {
///     Ok(background(|mut shutdown| async move {
///         let mut every_minute = tokio::time::interval(Duration::from_secs(60));
///         loop {
///             tokio::select! {
///                 _ = every_minute.tick() => println!("a minute has passed"),
///                 () = &mut shutdown => return Ok(()),
///             }
///         }
///     }))
/// }
/// ```
pub fn background<F, Fut>(run: F) -> Background
where
    F: FnOnce(Shutdown) -> Fut + 'static,
    Fut: Future<Output = Result<(), Error>> + 'static,
{
    Background(Box::new(|shutdown| Box::pin(run(shutdown))))
}

/// What [`background`] gives.
///
/// ```
/// use shuttle_service::{Background, background};
///
/// fn bot(name: String) -> Background {
///     background(|shutdown| async move {
///         println!("{name} is here");
///         shutdown.await;
///         Ok(())
///     })
/// }
/// ```
pub struct Background(Box<dyn FnOnce(Shutdown) -> Served>);

/// Ready as soon as it runs.
impl Service for Background {
    const FRAMEWORK: &'static str = "background";
    const KIND: Kind = Kind::Background;
    const LISTEN: Listen = Listen::None;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        let shutdown = serving.shutdown();
        serving.ready();
        (self.0)(shutdown).await
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}
