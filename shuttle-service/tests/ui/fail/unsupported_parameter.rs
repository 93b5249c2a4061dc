#[shuttle_service::main]
async fn app(client: redis::Client, name: String) -> shuttle_service::ShuttleAxum {
    let _ = (client, name);
    Ok(axum::Router::new())
}
