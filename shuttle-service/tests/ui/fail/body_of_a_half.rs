// An editor goes on understanding a body that is being written: its mistakes are the compiler's to tell.
#[shuttle_service::main]
fn app(#[shared::Redis] client: redis::Client) -> shuttle_service::ShuttleAxum {
    let router = axum::Router::new().with_state(client.);
    Ok(router)
}
