//! Postgres through SeaORM 2.

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sqlx_postgres::PgPool;

use crate::{Error, Options, Resource};

/// A connection over the pool of sqlx 0.9, and with its options: `max_connections`, `min_connections`, `migrations`, and
/// those of [`Postgres`](crate::Postgres). Migrations of SeaORM's own are run by the app: `Migrator::up(&connection, None)`.
impl Resource for DatabaseConnection {
    type From = PgPool;

    async fn make(pool: PgPool, _: &Options) -> Result<Self, Error> {
        Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
    }
}
