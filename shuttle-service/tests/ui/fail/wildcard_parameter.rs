#[shuttle_service::main]
async fn app(_: redis::Client) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
