#[shuttle_service::main]
async fn app(client: &redis::Client) -> shuttle_service::ShuttleAxum {
    let _ = client;
    Ok(axum::Router::new())
}
