mod apps {
    #[shuttle_service::main]
    async fn one() -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new())
    }

    #[shuttle_service::main]
    async fn two() -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new())
    }
}

fn main() {}
