#[shuttle_service::main]
async fn app<T: Default>() -> shuttle_service::ShuttleAxum {
    let _ = T::default();
    Ok(axum::Router::new())
}
