#[shuttle_service::main(idle_timeout = "soon", always_on = "yes", health_path, memory = true, instances = "2", crate = "other")]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
