// As apps of several years write them, with every option.
mod app {
    use redis::Client;
    use shuttle_service::{Metadata, PersistDir, SecretStore};
    use sqlx_postgres::PgPool;

    #[shuttle_service::main]
    async fn app(
        #[shared::Postgres] a: PgPool,
        #[shuttle_shared_db::Postgres()] b: PgPool,
        #[shuttle_service::Postgres(
            name = "analytics",
            extensions = ["pgcrypto", "uuid-ossp"],
            max_connections = 10,
            min_connections = 0,
            migrations = "db/{secrets.FOLDER}",
            local_uri = "postgres://postgres:{secrets.PASSWORD}@localhost:5432/dev",
        )]
        c: PgPool,
        #[cfg(all())]
        #[shared::Redis(name = "analytics")]
        d: Client,
        #[cfg(any())]
        #[shared::Redis(name = "analytics")]
        absent: Client,
        #[shuttle_secrets::Secrets(required = ["API_KEY", "TOKEN_2"])] e: SecretStore,
        #[shuttle_service::Persist] f: PersistDir,
        #[Metadata] g: Metadata,
        #[shuttle_service::Postgres(name = "plain")] h: shuttle_service::Postgres,
        #[shuttle_service::Redis] i: shuttle_service::Redis,
    ) -> shuttle_service::ShuttleAxum {
        let _ = (a, b, c, d, e, f, g, h, i);
        Ok(axum::Router::new())
    }
}

fn main() {}
