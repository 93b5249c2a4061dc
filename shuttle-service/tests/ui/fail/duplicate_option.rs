#[shuttle_service::main]
async fn app(#[shared::Redis(name = "a", name = "b")] client: redis::Client) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().with_state(client))
}
