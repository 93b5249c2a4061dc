#[shuttle_service::main]
async fn app(#[shared::MongoDb] database: shuttle_service::SecretStore) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().with_state(database))
}
