#[shuttle_service::main]
async fn app<'a>(client: std::borrow::Cow<'a, str>) -> shuttle_service::ShuttleAxum {
    drop(client);
    Ok(axum::Router::new())
}
