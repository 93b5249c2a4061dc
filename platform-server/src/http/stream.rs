//! Server-sent events: a numbered stream as a response.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::HeaderMap,
    response::{
        IntoResponse,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use crate::listing::shown;

/// A comment is sent as often, so that no proxy on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The number after which a client wants to go on.
pub(super) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| {
        let value = shown(&String::from_utf8_lossy(value.as_bytes()));
        Error::bad_request(format!(
            "the header `Last-Event-ID` has to be the id of an event, a number from 0 up; it is `{value}`"
        ))
    })
}

/// Sends each item with its number, until the stream or the server ends.
pub(super) fn respond<T: Serialize + Send + 'static>(
    items: impl Stream<Item = (u64, T)> + Send + 'static,
    stop: CancellationToken,
) -> impl IntoResponse {
    let events = items.take_until(stop.cancelled_owned()).filter_map(async |(number, item)| {
        // Every type that is sent serializes; one that did not would be left out.
        let data = serde_json::to_string(&item).ok()?;
        Some(Ok::<_, Infallible>(Event::default().id(number.to_string()).data(data)))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
