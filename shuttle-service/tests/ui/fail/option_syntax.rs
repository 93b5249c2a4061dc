use redis::Client;

#[shuttle_service::main]
async fn app(
    #[shared::Redis = "a"] a: Client,
    #[shared::Redis("b")] b: Client,
    #[shared::Redis(name: "c")] c: Client,
    #[shared::Redis(name =)] d: Client,
    #[shared::Redis(name = "e" "f")] e: Client,
    #[shared::Redis(, name = "g",, max_connections = 1)] f: Client,
) -> shuttle_service::ShuttleAxum {
    let _ = (a, b, c, d, e, f);
    Ok(axum::Router::new())
}
