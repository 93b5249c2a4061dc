// What cannot be a parameter's type cannot be a part of one either.
#[shuttle_service::main]
async fn app(a: (redis::Client, &'static str), b: Vec<impl Send>, c: Option<_>) -> shuttle_service::ShuttleAxum {
    let _ = (a, b, c);
    Ok(axum::Router::new())
}
