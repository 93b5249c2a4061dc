mod app {
    use shuttle_service::{Error, Listen, Service, Serving};

    struct With<F>(F);

    impl<F: Fn() -> u8 + 'static> Service for With<F> {
        const FRAMEWORK: &'static str = "mine";
        const LISTEN: Listen = Listen::Tcp;

        async fn serve(self, serving: Serving) -> Result<(), Error> {
            (self.0)();
            serving.tcp_listener()?;
            serving.ready();
            serving.shutdown().await;
            Ok(())
        }
    }

    #[shuttle_service::main]
    async fn app() -> Result<impl Service, std::io::Error> {
        Ok(With(|| 1))
    }
}

fn main() {}
