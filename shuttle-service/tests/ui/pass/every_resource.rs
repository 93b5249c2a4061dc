mod app {
    use shuttle_service::ShuttleRocket;
    use sqlx_postgres::PgPool;

    #[shuttle_service::main]
    async fn rocket(pool: PgPool, mut redis: redis::Client) -> ShuttleRocket {
        redis = redis.clone();
        Ok(rocket::build().manage(pool).manage(redis))
    }
}

fn main() {}
