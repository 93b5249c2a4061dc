#[shuttle_service::main]
async fn app() -> Result<String, shuttle_service::Error> {
    Ok("Hello, world!".to_owned())
}
