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
async fn app(#[resource(sender = "me@{secrets.DOMAIN", copies = ["{secrets.}", "{secrets.MY KEY}"])] mailer: Mailer) -> shuttle_service::ShuttleAxum {
    drop(mailer);
    Ok(axum::Router::new())
}
