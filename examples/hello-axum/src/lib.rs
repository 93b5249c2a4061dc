//! The smallest app: one route, no resource.

use axum::{Router, routing::get};
use shuttle_service::ShuttleAxum;

#[shuttle_service::main]
async fn hello() -> ShuttleAxum {
    Ok(Router::new().route("/", get(|| async { "Hello, world!" })))
}
