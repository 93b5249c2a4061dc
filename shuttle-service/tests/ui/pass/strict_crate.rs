#![forbid(unsafe_code)]
#![deny(warnings, clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications, let_underscore_drop)]

//! A crate that forbids what the expansion is made of.

mod inner {
    #[shuttle_service::main]
    async fn r#type(r#async: redis::Client, _unused: redis::Client) -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new().with_state(r#async))
    }
}

fn main() {}
