//! Shortens URLs: rocket, and Postgres through a pool with migrations.

mod id;
mod origin;

use rocket::{
    State, get,
    http::Status,
    post,
    response::{Redirect, status::Created},
    routes,
};
use shuttle_service::ShuttleRocket;
use sqlx::PgPool;
use url::Url;

use crate::{id::Id, origin::Origin};

/// The longest URL that is taken, in bytes. An index of Postgres has no room for much longer ones, and browsers differ.
const LONGEST: usize = 2048;

type Refused = (Status, String);

#[get("/")]
fn index(origin: Origin) -> String {
    format!("Send a URL, get a short one. Try: curl -d https://www.rust-lang.org {origin}/\n")
}

#[post("/", data = "<url>")]
async fn shorten(url: String, origin: Origin, pool: &State<PgPool>) -> Result<Created<String>, Refused> {
    let url = check(&url)?;
    // The update does nothing, but gives the row that was there back.
    let number: i64 = sqlx::query_scalar(
        "INSERT INTO urls (url) VALUES ($1) ON CONFLICT (url) DO UPDATE SET url = excluded.url RETURNING number",
    )
    .bind(url.as_str())
    .fetch_one(pool.inner())
    .await
    .map_err(unavailable)?;
    let short = format!("{origin}/{}", Id(number));
    Ok(Created::new(short.clone()).body(format!("{short}\n")))
}

#[get("/<id>")]
async fn follow(id: Id, pool: &State<PgPool>) -> Result<Redirect, Refused> {
    let url: Option<String> = sqlx::query_scalar("SELECT url FROM urls WHERE number = $1")
        .bind(id.0)
        .fetch_optional(pool.inner())
        .await
        .map_err(unavailable)?;
    match url {
        Some(url) => Ok(Redirect::temporary(url)),
        None => Err((Status::NotFound, format!("There is no short URL {id} here.\n"))),
    }
}

/// Only the web: a short URL of ours shall not run a script.
fn check(url: &str) -> Result<Url, Refused> {
    let refused = |why: &str| (Status::BadRequest, format!("That is no URL to shorten: {why}.\n"));
    let url = Url::parse(url.trim()).map_err(|error| refused(&error.to_string()))?;
    match url.scheme() {
        // As it is stored: with its special characters escaped.
        "http" | "https" if url.as_str().len() > LONGEST => Err(refused(&format!("it is longer than {LONGEST} bytes"))),
        "http" | "https" => Ok(url),
        other => Err(refused(&format!("it begins with {other}:, not with http: or https:"))),
    }
}

fn unavailable(error: sqlx::Error) -> Refused {
    eprintln!("postgres: {error}");
    (Status::ServiceUnavailable, "The database does not answer. Try again in a moment.\n".to_owned())
}

#[shuttle_service::main]
async fn rocket(pool: PgPool) -> ShuttleRocket {
    sqlx::migrate!().run(&pool).await?;
    Ok(rocket::build().mount("/", routes![index, shorten, follow]).manage(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_and_only_so_long() {
        let path = |length: usize| format!("http://a/{}", "x".repeat(length - "http://a/".len()));
        for url in ["https://www.rust-lang.org", " http://a\n", &path(LONGEST)] {
            assert!(check(url).is_ok(), "{url}");
        }
        for url in
            ["", "rust-lang.org", "javascript:alert(1)", &path(LONGEST + 1), &format!("http://a/{}", "é".repeat(LONGEST / 4))]
        {
            assert_eq!(check(url).unwrap_err().0, Status::BadRequest, "{url}");
        }
    }
}
