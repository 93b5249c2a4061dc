use shuttle_service::{Error, Kind, Listen, Service, Serving};

struct Bot;

impl Service for Bot {
    const FRAMEWORK: &'static str = "mine";
    const KIND: Kind = Kind::Background;
    const LISTEN: Listen = Listen::None;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serving.ready();
        serving.shutdown().await;
        Ok(())
    }
}

#[shuttle_service::main(health_path = "/healthz")]
async fn bot() -> Result<Bot, Error> {
    Ok(Bot)
}
