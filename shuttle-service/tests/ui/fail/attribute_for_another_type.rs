#[shuttle_service::main]
async fn app(#[shared::Postgres] client: redis::Client) -> shuttle_service::ShuttleAxum {
    drop(client);
    Ok(axum::Router::new())
}
