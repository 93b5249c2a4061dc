#[shuttle_service::main]
async fn app(#[shared::Postgress] pool: sqlx_postgres::PgPool) -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new().with_state(pool))
}
