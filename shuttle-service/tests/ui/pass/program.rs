// In a program the macro makes `main`; the function may be called so as well.
mod app {
    #[shuttle_service::main]
    async fn main() -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new())
    }
}

fn main() {}
