use sqlx_postgres::PgPool;

#[shuttle_service::main]
async fn app(#[shared::Postgres(max_conections = 3)] pool: PgPool, #[shared::Persist(folder = "f")] dir: shuttle_service::PersistDir) -> shuttle_service::ShuttleAxum {
    drop(dir);
    Ok(axum::Router::new().with_state(pool))
}
