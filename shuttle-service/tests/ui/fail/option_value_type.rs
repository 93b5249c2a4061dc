use sqlx_postgres::PgPool;

#[shuttle_service::main]
async fn app(
    #[shared::Postgres(name, extensions = "pgcrypto", max_connections = "3")] a: PgPool,
    #[shared::Postgres(extensions = [1], min_connections = 2.5)] b: PgPool,
    #[shared::Postgres(name = 'n', max_connections = 3u8)] c: PgPool,
    #[shuttle_service::Secrets(required = true)] secrets: shuttle_service::SecretStore,
) -> shuttle_service::ShuttleAxum {
    let _ = (a, b, c, secrets);
    Ok(axum::Router::new())
}
