mod app {
    #[shuttle_service::main]
    async fn app() -> Result<axum::Router, Box<dyn std::error::Error + Send + Sync>> {
        Ok(axum::Router::new())
    }
}

fn main() {}
