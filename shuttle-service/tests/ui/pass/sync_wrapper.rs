// Apps of 2022 wrap their routers.
mod app {
    use sync_wrapper_0_1::SyncWrapper;

    #[shuttle_service::main]
    async fn app() -> Result<SyncWrapper<axum::Router>, shuttle_service::Error> {
        Ok(SyncWrapper::new(axum::Router::new()))
    }
}

mod now {
    use sync_wrapper::SyncWrapper;

    #[shuttle_service::main]
    async fn app() -> Result<SyncWrapper<axum::Router>, shuttle_service::Error> {
        Ok(SyncWrapper::new(axum::Router::new()))
    }
}

fn main() {}
