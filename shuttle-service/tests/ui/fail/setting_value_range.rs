#[shuttle_service::main(idle_timeout = "31d", health_path = "healthz", memory = "1 MiB", instances = 65)]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
