use shuttle_service::{Error, Options, Resource, SecretStore};

struct Mailer;

impl Resource for Mailer {
    type From = SecretStore;
    const OPTIONS: &'static [&'static str] = &["sender", "copies"];

    async fn make(_: SecretStore, _: &Options) -> Result<Self, Error> {
        Ok(Self)
    }
}

#[shuttle_service::main]
async fn app(#[shuttle_service::resource(sendr = "me", copies = ["you"])] mailer: Mailer) -> shuttle_service::ShuttleAxum {
    drop(mailer);
    Ok(axum::Router::new())
}
