use sqlx_postgres::PgPool;

#[shuttle_service::main]
async fn app(
    #[shared::Postgres(name = "Big-Data", extensions = ["a b"], max_connections = 0)] a: PgPool,
    #[shared::Postgres(min_connections = 9, max_connections = 8)] b: PgPool,
    #[shared::Postgres(min_connections = -1, migrations = "../migrations", local_uri = "localhost")] c: PgPool,
    #[shared::Postgres(migrations = "/srv/migrations", max_connections = 99999999999999999999)] d: PgPool,
) -> shuttle_service::ShuttleAxum {
    let _ = (a, b, c, d);
    Ok(axum::Router::new())
}
