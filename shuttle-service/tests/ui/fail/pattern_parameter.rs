#[shuttle_service::main]
async fn app((a, b): (redis::Client, redis::Client)) -> shuttle_service::ShuttleAxum {
    let _ = (a, b);
    Ok(axum::Router::new())
}
