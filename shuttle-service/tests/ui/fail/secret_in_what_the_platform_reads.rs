use shuttle_service::{Error, Options, Postgres, Resource};

struct Store;

impl Resource for Store {
    type From = Postgres;

    async fn make(_: Postgres, _: &Options) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[shuttle_service::main]
async fn app(#[resource(name = "{secrets.NAME}")] store: Store) -> shuttle_service::ShuttleAxum {
    drop(store);
    Ok(axum::Router::new())
}
