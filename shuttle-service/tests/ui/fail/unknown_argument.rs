#[shuttle_service::main(memory = "1 GB")]
async fn app() -> shuttle_service::ShuttleAxum {
    Ok(axum::Router::new())
}

fn main() {}
