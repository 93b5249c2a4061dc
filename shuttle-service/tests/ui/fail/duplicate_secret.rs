use shuttle_service::SecretStore;

#[shuttle_service::main]
async fn app(#[shuttle_secrets::Secrets(required = ["API_KEY", "TOKEN", "API_KEY", "a-b"])] secrets: SecretStore) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().with_state(secrets))
}
