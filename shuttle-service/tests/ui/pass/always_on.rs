mod app {
    #[shuttle_service::main(always_on, memory = 67108864)]
    async fn app() -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new())
    }
}

fn main() {}
