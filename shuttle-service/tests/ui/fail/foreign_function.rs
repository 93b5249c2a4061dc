#[shuttle_service::main]
async extern "C" fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}
