// `Postgres` knows the option, but only pools have it.
#[shuttle_service::main]
async fn app(#[shuttle_service::Postgres(name = "a", max_connections = 3)] database: shuttle_service::Postgres) -> shuttle_service::ShuttleAxum {
    drop(database);
    Ok(axum::Router::new())
}
