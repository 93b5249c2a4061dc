#[shuttle_service::main]
async fn app(self) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
