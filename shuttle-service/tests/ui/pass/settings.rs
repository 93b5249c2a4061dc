mod app {
    #[shuttle_service::main(
        idle_timeout = "10m",
        always_on = false,
        health_path = "/healthz?full=1",
        memory = "256 MiB",
        instances = 2,
        crate = ::shuttle_service,
    )]
    async fn app() -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new())
    }
}

fn main() {}
