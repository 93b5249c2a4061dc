//! What stands in a request's path and query. A mistake there is answered with where it is and what is expected.

use std::fmt::Display;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};

use super::error::Error;
use crate::listing::shown;

/// The one part of the path that names something.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(segment) = Path::from_request_parts(parts, state).await.map_err(|_| {
            let path = shown(parts.uri.path());
            Error::bad_request(format!("the path `{path}` has a part that is not UTF-8 once its `%` escapes are decoded"))
        })?;
        Ok(Self(segment))
    }
}

/// The parameters behind the `?`. One that is not asked for is not looked at: it may be a newer client's.
pub(super) struct Parameters(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let Query(parameters) = Query::try_from_uri(&parts.uri)
            .map_err(|error| Error::bad_request(format!("the query cannot be read: {}", shown(&error.body_text()))))?;
        Ok(Self(parameters))
    }
}

impl Parameters {
    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        let mut given = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let first = given.next();
        if given.next().is_some() {
            return Err(Error::bad_request(format!("the query parameter `{name}` stands there more than once")));
        }
        Ok(first)
    }

    /// `false` where it is not there.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.text(name)? {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(wrong(name, "`true` or `false`", other)),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Error> {
        self.text(name)?.map(|text| text.parse().map_err(|_| wrong(name, "a number from 0 up", text))).transpose()
    }
}

/// The parameter has another value than it may have.
pub(super) fn wrong(name: &str, wanted: impl Display, value: &str) -> Error {
    Error::bad_request(format!("the query parameter `{name}` has to be {wanted}; it is `{}`", shown(value)))
}
