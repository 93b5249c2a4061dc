struct Mine;

#[shuttle_service::main]
async fn app() -> Result<axum::Router, Mine> {
    Err(Mine)
}
