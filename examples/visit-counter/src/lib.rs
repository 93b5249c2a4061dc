//! Counts the visits of each page in Redis. The counts outlive a redeploy.

use axum::{
    Router,
    extract::{Path, State},
    http::StatusCode,
    routing::get,
};
use redis::{AsyncCommands, RedisResult, aio::ConnectionManager};
use shuttle_service::Error;

async fn count(redis: &mut ConnectionManager, page: &str) -> RedisResult<u64> {
    redis.hincr("visits", page, 1).await
}

async fn index(State(mut redis): State<ConnectionManager>) -> Result<String, StatusCode> {
    let visits = count(&mut redis, "/").await.map_err(unavailable)?;
    Ok(format!("This page was visited {visits} times. Try /any-name to count another one, /top for the most visited.\n"))
}

async fn page(State(mut redis): State<ConnectionManager>, Path(page): Path<String>) -> Result<String, StatusCode> {
    let visits = count(&mut redis, &format!("/{page}")).await.map_err(unavailable)?;
    Ok(format!("/{page} was visited {visits} times.\n"))
}

async fn top(State(mut redis): State<ConnectionManager>) -> Result<String, StatusCode> {
    let mut pages: Vec<(String, u64)> = redis.hgetall("visits").await.map_err(unavailable)?;
    pages.sort_by_key(|(_, visits)| std::cmp::Reverse(*visits));
    Ok(pages.iter().take(10).map(|(page, visits)| format!("{visits:>8}  {page}\n")).collect())
}

fn unavailable(error: redis::RedisError) -> StatusCode {
    eprintln!("redis: {error}");
    StatusCode::SERVICE_UNAVAILABLE
}

#[shuttle_service::main]
async fn counter(redis: redis::Client) -> Result<Router, Error> {
    // One connection, shared by all requests, that comes back by itself after Redis has been restarted.
    let redis = redis.get_connection_manager().await?;
    Ok(Router::new().route("/", get(index)).route("/top", get(top)).route("/{page}", get(page)).with_state(redis))
}
