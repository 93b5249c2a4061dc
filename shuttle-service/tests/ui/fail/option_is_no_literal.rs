const NAME: &str = "analytics";

#[shuttle_service::main]
async fn app(#[shared::Postgres(name = NAME)] a: sqlx_postgres::PgPool, #[shared::Postgres(name = concat!("a", "b"))] b: sqlx_postgres::PgPool) -> shuttle_service::ShuttleAxum {
    let _ = (a, b, NAME);
    Ok(axum::Router::new())
}
