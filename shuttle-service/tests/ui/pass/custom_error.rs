// As in an app of 2022.
mod app {
    use shuttle_service::{ShuttleAxum, error::CustomError};

    #[shuttle_service::main]
    async fn app() -> ShuttleAxum {
        let _: u16 = "80".parse().map_err(CustomError::new)?;
        let _: u16 = "80".parse::<u16>()?;
        Ok(axum::Router::new())
    }
}

fn main() {}
