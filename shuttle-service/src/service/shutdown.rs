//! The signal to stop, as services get it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use crate::control;

/// The platform's wish that the service stops: a future that is done once it has been uttered.
///
/// Take no new connections then, finish what is in flight, and return. What is not done in the time that the platform gives is
/// cut off. A clone waits for the same wish.
///
/// ```
/// async fn work(mut shutdown: shuttle_service::Shutdown) {
///     let mut every_minute = tokio::time::interval(std::time::Duration::from_secs(60));
///     loop {
///         tokio::select! {
///             () = &mut shutdown => return,
///             _ = every_minute.tick() => println!("a minute has passed"),
///         }
///     }
/// }
/// ```
pub struct Shutdown {
    signal: control::Shutdown,
    waiting: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
}

impl Shutdown {
    pub(crate) fn new(signal: control::Shutdown) -> Self {
        let mut waited_for = signal.clone();
        let waiting = Box::pin(async move {
            waited_for.requested().await;
        });
        Self { signal, waiting }
    }

    /// Whether the wish has been uttered already.
    ///
    /// ```
    /// fn work(queue: impl Iterator<Item = String>, shutdown: &shuttle_service::Shutdown) {
    ///     for job in queue.take_while(|_| !shutdown.is_requested()) {
    ///         println!("{job} is done");
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.signal.is_requested()
    }
}

impl Clone for Shutdown {
    fn clone(&self) -> Self {
        Self::new(self.signal.clone())
    }
}

impl Future for Shutdown {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // A future may not be asked again after it is done; this one may, as it stands in loops.
        if self.signal.is_requested() { Poll::Ready(()) } else { self.waiting.as_mut().poll(context) }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("is_requested", &self.is_requested()).finish()
    }
}
