use shuttle_service::SecretStore;
use sqlx_postgres::PgPool;

#[shuttle_service::main]
async fn app(
    #[shared::Postgres(name = "{secrets.NAME}", extensions = ["{secrets.EXTENSION}"])] pool: PgPool,
    #[shared::Secrets(required = ["{secrets.KEY}"])] secrets: SecretStore,
) -> shuttle_service::ShuttleAxum {
    let _ = (pool, secrets);
    Ok(axum::Router::new())
}
