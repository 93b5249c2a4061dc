//! Rocket with a parameter in its path and one of its own responders.

use rocket::{get, routes};
use shuttle_service::ShuttleRocket;

#[get("/")]
fn index() -> &'static str {
    "Hello, world! Try /hello/your-name\n"
}

#[get("/hello/<name>")]
fn hello(name: &str) -> String {
    format!("Hello, {name}!\n")
}

#[shuttle_service::main]
async fn rocket() -> ShuttleRocket {
    Ok(rocket::build().mount("/", routes![index, hello]))
}
