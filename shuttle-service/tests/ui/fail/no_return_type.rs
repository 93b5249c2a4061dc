#[shuttle_service::main]
async fn app() {}
