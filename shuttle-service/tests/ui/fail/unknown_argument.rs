#[shuttle_service::main(idle_timout = "10m", local)]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
