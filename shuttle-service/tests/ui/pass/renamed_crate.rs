mod deeper {
    pub use shuttle_service as platform;
}
use deeper::platform::main as entry;

mod app {
    use super::{deeper, entry};

    #[entry(crate = crate::deeper::platform)]
    async fn app() -> deeper::platform::ShuttleAxum {
        Ok(axum::Router::new())
    }
}

fn main() {}
