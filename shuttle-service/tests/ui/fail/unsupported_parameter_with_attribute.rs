// One error, not one more for what the attribute would have been for.
#[shuttle_service::main]
async fn app(#[shared::Postgres(name = "a")] pool: String) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().with_state(pool))
}
