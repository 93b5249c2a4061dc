//! Who may use the API: whoever has a key.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::header::AUTHORIZATION,
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest as _, Sha256};

use super::{Api, error::Error};
use crate::deployment::Digest;

/// What is stored of a key. The key has 256 random bits, so a plain hash is as good as a slow one.
pub(crate) fn hash_key(key: &str) -> String {
    Digest::new(&Sha256::digest(key.as_bytes())).as_str().to_owned()
}

/// The key in `Bearer KEY`. The scheme's case does not matter (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, key) = value.trim_start().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key)
}

/// Lets a request with a known key pass.
///
/// The comparison is a look-up by hash: how long it takes says nothing about the key.
pub(super) async fn require_key(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(key) = header.and_then(bearer) else {
        return Error::unauthorized("the request has no key").into_response();
    };
    match api.db.knows_key(hash_key(key.trim())).await {
        Ok(true) => next.run(request).await,
        Ok(false) => Error::unauthorized("the key is not one of this server's").into_response(),
        Err(error) => Error::from(error).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn the_case_of_the_scheme_does_not_matter() {
        for value in ["Bearer key", "bearer key", "BEARER key"] {
            assert_eq!(bearer(value), Some("key"), "{value}");
        }
        for value in ["", "Bearer", "Basic key", "Bearerkey", "key"] {
            assert_eq!(bearer(value), None, "{value}");
        }
    }
}
