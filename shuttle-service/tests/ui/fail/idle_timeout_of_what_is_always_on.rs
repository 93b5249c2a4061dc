#[shuttle_service::main(always_on, idle_timeout = "10m")]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
