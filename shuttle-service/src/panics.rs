//! Panics: what one said and where, kept for the report to the server.

use std::{any::Any, cell::RefCell, panic, sync::Arc};

use crate::control::Reporter;

thread_local! {
    /// The last panic of this thread.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps each panic's message and place, then goes on to the hook that there was, which prints it.
pub(crate) fn remember(reporter: Arc<Reporter>) {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("(no message)");
        let text = match info.location() {
            Some(location) => format!("panicked at {location}: {message}"),
            None => format!("panicked: {message}"),
        };
        // Built with `panic = "abort"`, an app gets no further than this.
        if cfg!(panic = "abort") {
            reporter.failed(&text);
        }
        LAST.set(Some(text));
        previous(info);
    }));
}

/// Describes a panic that was caught on this thread. An app's own hook may have taken the place of ours; then only the
/// payload is left.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> String {
    LAST.take().unwrap_or_else(|| {
        let message = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        format!("panicked: {}", message.unwrap_or("(no message)"))
    })
}
