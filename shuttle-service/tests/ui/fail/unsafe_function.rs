#[shuttle_service::main]
async unsafe fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
