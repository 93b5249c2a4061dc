mod app {
    #[shuttle_service::main]
    async fn app(
        #[cfg(all())] here: redis::Client,
        #[cfg(any())] absent: NoSuchType,
        #[allow(unused_variables)]
        #[cfg(not(any()))]
        also: redis::Client,
    ) -> shuttle_service::ShuttleAxum {
        Ok(axum::Router::new().with_state(here))
    }
}

fn main() {}
