// shuttle-service under a name of Shuttle's own platform, and a module of the app with such a name.
extern crate shuttle_service as shuttle_runtime;

mod app {
    mod shuttle_common {
        pub type App = Result<axum::Router, shuttle_runtime::Error>;
    }

    #[shuttle_runtime::main(crate = shuttle_runtime)]
    async fn app(#[shuttle_runtime::Secrets] secrets: shuttle_runtime::SecretStore) -> shuttle_common::App {
        drop(secrets);
        Ok(axum::Router::new())
    }
}

fn main() {}
