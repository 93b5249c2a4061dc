#[shuttle_service::main(instances = 1, memory = "1 GiB", instances = 2)]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
