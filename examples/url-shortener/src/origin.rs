//! Where a request was sent to, as the one who sent it sees it: the proxy passes the name and the protocol on.

use std::{convert::Infallible, fmt};

use rocket::request::{FromRequest, Outcome, Request};

/// For example `https://url-shortener.example.com`.
#[derive(Debug)]
pub struct Origin(String);

#[rocket::async_trait]
impl<'r> FromRequest<'r> for Origin {
    type Error = Infallible;

    async fn from_request(request: &'r Request<'_>) -> Outcome<Self, Infallible> {
        let scheme = match request.headers().get_one("X-Forwarded-Proto") {
            Some("https") => "https",
            _ => "http",
        };
        let host = request.host().map_or_else(|| "localhost".to_owned(), ToString::to_string);
        Outcome::Success(Self(format!("{scheme}://{host}")))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
