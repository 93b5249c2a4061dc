#[shuttle_service::main]
async fn app(client: impl shuttle_service::Resource) -> shuttle_service::ShuttleAxum {
    drop(client);
    Ok(axum::Router::new())
}
