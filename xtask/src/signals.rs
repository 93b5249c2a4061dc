//! Ctrl-C, SIGTERM and SIGHUP become a flag, so that whatever was started is stopped in order.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Call once, before anything is started.
pub(crate) fn install() -> Result<()> {
    let flag = Arc::clone(STOP.get_or_init(Arc::default));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Error::new(format!("cannot handle signal {signal}: {error}")))?;
    }
    Ok(())
}

pub(crate) fn stopped() -> bool {
    STOP.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// Fails when the user wants to stop.
pub(crate) fn check() -> Result<()> {
    if stopped() { Err(Error::interrupted()) } else { Ok(()) }
}

/// Polls `ready` until it gives something, the time is over (`Ok(None)`) or the user stops.
pub(crate) fn poll<T>(limit: Duration, pause: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let began = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(Some(value));
        }
        check()?;
        if began.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(pause);
    }
}
