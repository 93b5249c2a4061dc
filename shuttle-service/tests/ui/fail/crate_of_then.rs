#[shuttle_service::main]
async fn app() -> shuttle_axum::ShuttleAxum {
    Ok(axum::Router::new())
}
