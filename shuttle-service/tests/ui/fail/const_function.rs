#[shuttle_service::main]
const async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
