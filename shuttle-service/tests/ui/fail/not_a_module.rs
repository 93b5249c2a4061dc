#[shuttle_service::main]
pub(crate) mod app {
    pub(crate) async fn app() {}
}

fn main() {}
