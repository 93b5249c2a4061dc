//! One function that asks for a Postgres and a Redis: the snippet that the platform grew from, completed.
//!
//! A guest book. The entries are in Postgres; Redis counts how often the book was read.

use redis::{AsyncCommands, aio::ConnectionManager};
use rocket::{State, get, post, routes};
use shuttle_service::{Error, ShuttleRocket};
use sqlx::PgPool;

type Answer<T> = Result<T, rocket::response::Debug<Error>>;

#[get("/")]
fn index() -> &'static str {
    "A guest book. Try /hello, sign it with: curl -d 'I was here' ADDRESS/book and read it at /book\n"
}

#[get("/hello")]
fn hello() -> &'static str {
    "Hello, world!"
}

#[post("/book", data = "<entry>")]
async fn sign(entry: String, pool: &State<PgPool>) -> Answer<String> {
    let number: i64 = sqlx::query_scalar("INSERT INTO book (entry) VALUES ($1) RETURNING number")
        .bind(entry.trim())
        .fetch_one(pool.inner())
        .await
        .map_err(Error::new)?;
    Ok(format!("You are number {number}. Thank you!\n"))
}

#[get("/book")]
async fn read(pool: &State<PgPool>, redis: &State<ConnectionManager>) -> Answer<String> {
    let readers: u64 = redis.inner().clone().incr("readers", 1).await.map_err(Error::new)?;
    let entries: Vec<(i64, String)> = sqlx::query_as("SELECT number, entry FROM book ORDER BY number DESC LIMIT 50")
        .fetch_all(pool.inner())
        .await
        .map_err(Error::new)?;
    let lines: String = entries.iter().map(|(number, entry)| format!("{number:>6}  {entry}\n")).collect();
    Ok(format!("Read {readers} times.\n{lines}"))
}

#[shuttle_service::main]
async fn rocket(
    pool: PgPool, // This will spin up a Postgres database, create an account and hand you an authenticated connection pool
    redis: redis::Client, // This will spin up a Redis instance and hand you back a client
) -> ShuttleRocket {
    sqlx::query("CREATE TABLE IF NOT EXISTS book (number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, entry TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    let redis = redis.get_connection_manager().await?;
    Ok(rocket::build().mount("/", routes![index, hello, sign, read]).manage(pool).manage(redis))
}
