#[shuttle_service::main]
fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
