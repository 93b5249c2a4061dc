#[shuttle_service::main]
#[tokio::main]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
