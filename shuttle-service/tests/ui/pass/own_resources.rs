mod app {
    use shuttle_service::{Error, Options, Postgres, Resource, SecretStore};
    use sqlx_postgres::PgPool;

    struct Mailer;

    impl Resource for Mailer {
        type From = (SecretStore, PgPool);
        const OPTIONS: &'static [&'static str] = &["sender", "copies", "retries", "tls", "type"];

        async fn make(_: Self::From, _: &Options) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    /// Options that are not its own are those of what it is made from.
    struct Store;

    impl Resource for Store {
        type From = Postgres;
        const OPTIONS: &'static [&'static str] = &["cache"];

        async fn make(_: Postgres, _: &Options) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    /// Made of its options alone.
    struct Limits;

    impl Resource for Limits {
        type From = ();
        const OPTIONS: &'static [&'static str] = &["most"];

        async fn make((): (), _: &Options) -> Result<Self, Error> {
            Ok(Self)
        }
    }

    #[shuttle_service::main]
    async fn app(
        #[resource(most = 3)] limits: Limits,
        #[resource(sender = "me@{secrets.DOMAIN}", copies = ["a", "{secrets.COPY}"], retries = -3, tls, r#type = false)] mailer: Mailer,
        #[shuttle_service::resource(cache, name = "store", extensions = [])] store: Store,
        #[shuttle_service::Postgres(name = "other")] other: Store,
        #[shuttle_service::Postgres] through: Mailer,
    ) -> shuttle_service::ShuttleAxum {
        let _ = (limits, mailer, store, other, through);
        Ok(axum::Router::new())
    }
}

fn main() {}
