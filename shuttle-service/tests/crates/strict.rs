//! A crate that allows nothing of what the expansion is made of, and uses all that the annotation has.

#![forbid(unsafe_code)]
#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, let_underscore_drop, unused_results, single_use_lifetimes)]
#![deny(clippy::all, clippy::pedantic, clippy::nursery, clippy::cargo)]
#![deny(clippy::unwrap_used, clippy::panic, clippy::missing_docs_in_private_items, clippy::absolute_paths, clippy::shadow_unrelated)]
#![allow(clippy::multiple_crate_versions, reason = "of the dependencies' making")]

use shuttle_service::{Error, Listen, Metadata, Options, PersistDir, Postgres, Redis, Resource, SecretStore, Service, Serving};

/// Made of others.
struct Mailer;

impl Resource for Mailer {
    type From = (SecretStore, Metadata);
    const OPTIONS: &'static [&'static str] = &["sender"];

    async fn make(_: Self::From, _: &Options) -> Result<Self, Error> {
        Ok(Self)
    }
}

/// Serves nothing.
struct Silent;

impl Service for Silent {
    const FRAMEWORK: &'static str = "none";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serving.ready();
        serving.shutdown().await;
        Ok(())
    }
}

/// The app.
#[shuttle_service::main(idle_timeout = "10m", always_on = false, health_path = "/", memory = "256 MiB", instances = 2)]
async fn r#async(
    #[cfg(unix)]
    #[shared::Postgres(name = "one", extensions = ["pgcrypto"])]
    r#type: Postgres,
    #[cfg(windows)]
    #[shared::Postgres(name = "one")]
    absent: Postgres,
    #[shared::Redis] mut redis: Redis,
    #[shared::Secrets(required = ["KEY"])] _secrets: SecretStore,
    folder: PersistDir,
    #[shared::Metadata] metadata: Metadata,
    #[resource(sender = "{secrets.SENDER}")] mailer: Mailer,
) -> Result<impl Service, Error> {
    if metadata.project() == redis.url() {
        redis = Redis::new(r#type.url());
    }
    drop((redis, folder, mailer));
    Ok(Silent)
}
