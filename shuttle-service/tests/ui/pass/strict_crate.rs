#![forbid(unsafe_code)]
#![deny(warnings, clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_qualifications, let_underscore_drop)]

//! A crate that forbids what the expansion is made of.

mod app {
    #[shuttle_service::main(instances = 1, health_path = "/")]
    async fn r#type(r#async: redis::Client, #[shared::Redis(name = "other")] _unused: redis::Client) -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new().with_state(r#async))
    }
}

fn main() {}
