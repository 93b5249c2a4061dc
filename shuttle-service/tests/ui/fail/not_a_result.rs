#[shuttle_service::main]
async fn app() -> axum::Router {
    axum::Router::new()
}
