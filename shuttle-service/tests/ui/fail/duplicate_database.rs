use sqlx_postgres::PgPool;

#[shuttle_service::main]
async fn app(
    #[shared::Postgres(name = "analytics")] events: PgPool,
    #[shared::Redis(name = "analytics")] cache: redis::Client,
    #[shared::Postgres(name = "analytics", max_connections = 2)] reports: PgPool,
) -> shuttle_service::ShuttleAxum {
    let _ = (events, cache, reports);
    Ok(axum::Router::new())
}
