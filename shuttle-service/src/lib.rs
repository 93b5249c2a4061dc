//! The SDK: annotate one function, and its parameters say which infrastructure exists.
//!
//! ```
//! use axum::{Router, routing::get};
//!
//! #[shuttle_service::main]
//! async fn app() -> shuttle_service::ShuttleAxum {
//!     Ok(Router::new().route("/", get(async || "Hello, world!")))
//! }
//! ```
//!
//! in a library (`src/lib.rs`), then `cargo shuttle deploy`. A parameter of type `sqlx::PgPool` is a Postgres database, one
//! of type `redis::Client` is a Redis: see [`Resource`]. What the function returns is what is served: see [`Service`].
//!
//! # Features
//!
//! None is on by default.
//!
//! | Feature | Gives | Other names |
//! |---|---|---|
//! | `axum` | [`Service`] for `axum::Router`, axum 0.8 | `axum-0-8`; `web-axum`, also for `SyncWrapper` of 2022 |
//! | `axum-0-7` | [`Service`] for `axum::Router`, axum 0.7 | |
//! | `rocket` | [`Service`] for `rocket::Rocket<rocket::Build>`, rocket 0.5 | `web-rocket`, `rocket-0-5` |
//! | `actix-web` | [`Service`] for closures over `&mut actix_web::web::ServiceConfig`, actix-web 4 | `web-actix-web`, `actix-web-4` |
//! | `poem` | [`Service`] for every `poem::Endpoint`, poem 3 | `web-poem`, `poem-3` |
//! | `warp` | [`Service`] for every `warp::Filter` that gives a reply, warp 0.4 | `web-warp`, `warp-0-4` |
//! | `salvo` | [`Service`] for `salvo::Router` and `salvo::Service`, salvo 1 | `web-salvo`, `salvo-1` |
//! | `tide` | [`Service`] for `tide::Server<State>`, tide 0.16 | `web-tide`, `tide-0-16` |
//! | `thruster` | [`Service`] for `thruster::App<HyperRequest, …>`, thruster 1 | `web-thruster`, `thruster-1` |
//! | `tower` | `Tower`, a [`Service`] of every `tower::Service` over requests of hyper 1 | `web-tower`, `tower-hyper-1` |
//! | `sqlx-postgres` | [`Resource`] for `sqlx::PgPool`, sqlx 0.9 | `sqlx-0-9` |
//! | `sqlx-0-8` | the same, sqlx 0.8 | |
//! | `tokio-postgres` | [`Resource`] for `tokio_postgres::Client`, tokio-postgres 0.7 | `tokio-postgres-0-7` |
//! | `deadpool-postgres` | [`Resource`] for `deadpool_postgres::Pool`, deadpool-postgres 0.14 | `deadpool-postgres-0-14` |
//! | `diesel-async` | [`Resource`] for `diesel_async`'s pool of deadpool, diesel-async 0.9 | `diesel-async-0-9` |
//! | `sea-orm` | [`Resource`] for `sea_orm::DatabaseConnection`, SeaORM 2 | `sea-orm-2` |
//! | `redis` | [`Resource`] for `redis::Client` and `redis::aio::ConnectionManager`, redis 1 | `redis-1` |
//! | `redis-0-32` | the same, redis 0.32 | |
//! | `deadpool-redis` | [`Resource`] for `deadpool_redis::Pool`, deadpool-redis 0.23 over redis 1 | `deadpool-redis-0-23` |
//! | `deadpool-redis-0-22` | the same, deadpool-redis 0.22 over redis 0.32 | |
//!
//! | `secrets` | `SecretStore::local`, which reads `Secrets.dev.toml` | |
//!
//! Without any, [`on_unix`] and [`on_tcp`] serve with whatever framework can take a listening socket, and [`background`] runs
//! what serves nobody.
//!
//! The frameworks and clients are the app's own: name them in the app's `Cargo.toml` with the features it needs.
//!
//! # Output
//!
//! All that an app prints or logs is in the platform's logs. Records of `log` and `tracing` are taken from level `info` on,
//! or as `RUST_LOG` says (`warn,my_app=debug`). An app that installs a logger or subscriber of its own in the annotated
//! function keeps it. Until that function has returned only `tracing` is recorded by the SDK: `log` knows one logger a
//! process, and the function may be about to install it.
//!
//! # Stopping
//!
//! When the platform stops an app, the framework takes no new connections and finishes the requests in flight; what is not
//! done in the time that the platform gives is cut off.
//!
//! # Testing
//!
//! The annotated function stays an ordinary `async fn`, so that `cargo test` needs no platform: a test calls it with
//! resources of its own, made from a URL as the platform makes them, and asks what it returns with the framework's tools.
//!
//! ```
//! use axum::{Router, body::{Body, to_bytes}, http::Request, routing::get};
//! use shuttle_service::{Options, Postgres, Resource, SecretStore};
//! # use sqlx_postgres as sqlx;
//! use sqlx::PgPool;
//! use tower::ServiceExt;
//!
//! #[shuttle_service::main]
//! async fn app(pool: PgPool, secrets: SecretStore) -> shuttle_service::ShuttleAxum {
//!     let greeting: String = secrets.require("GREETING")?;
//!     Ok(Router::new().route("/", get(async move || greeting)).with_state(pool))
//! }
//!
//! // In a module of tests, with #[tokio::test]:
//! async fn it_greets() -> Result<(), shuttle_service::Error> {
//!     // What an attribute would say, such as `.with("migrations", "migrations")`, stands in the options. The pool connects
//!     // when it is first used.
//!     let pool = PgPool::make(Postgres::new("postgres://localhost/test"), &Options::new()).await?;
//!     let router = app(pool, SecretStore::from_iter([("GREETING", "Hello!")])).await?;
//!
//!     let response = router.oneshot(Request::get("/").body(Body::empty())?).await?;
//!     assert_eq!(to_bytes(response.into_body(), 1024).await?, "Hello!");
//!     Ok(())
//! }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(it_greets()).unwrap();
//! ```
//!
//! [`Metadata::local`], [`PersistDir::new`] and [`Redis::new`] make the rest. With the feature `secrets`,
//! `SecretStore::local()` reads those for this machine from `Secrets.dev.toml`, which is never sent.
//!
//! This package owns what runs inside an artifact: the entry, the runtime, the adapters. It never reads the platform's
//! environment, and only [`shuttle_abi`] crosses its boundary.

mod control;
mod entry;
pub mod error;
mod manifest;
mod output;
mod panics;
mod resource;
mod service;

pub use error::Error;
pub use resource::{IntoOption, Metadata, Options, Parameter, PersistDir, Postgres, Redis, Resource, SecretStore};
#[cfg(feature = "axum-0-8")]
pub use service::ShuttleAxum;
#[cfg(feature = "axum-0-7")]
pub use service::ShuttleAxum07;
#[cfg(feature = "rocket-0-5")]
pub use service::ShuttleRocket;
#[cfg(feature = "salvo-1")]
pub use service::ShuttleSalvo;
#[cfg(feature = "thruster-1")]
pub use service::ShuttleThruster;
#[cfg(feature = "tide-0-16")]
pub use service::ShuttleTide;
#[cfg(feature = "actix-web-4")]
pub use service::{ActixWebConfig, ShuttleActixWeb};
pub use service::{Background, Kind, Listen, OnTcp, OnUnix, Service, Serving, Shutdown, background, on_tcp, on_unix};
#[cfg(feature = "poem-3")]
pub use service::{PoemEndpoint, ShuttlePoem};
#[cfg(feature = "tower-hyper-1")]
pub use service::{ShuttleTower, Tower};
#[cfg(feature = "warp-0-4")]
pub use service::{ShuttleWarp, WarpFilter};
#[doc = include_str!("main.md")]
pub use shuttle_codegen::main;

/// The version of this SDK, as it stands in a manifest.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the macro's expansion uses. Not for anything else; it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::{
        entry::{Args, Export, Failure, Outcome, Param, Resources, ServiceEntry, main, param, run, service},
        manifest::{Manifest, ParamInfo, SettingsInfo},
        resource::{Accepts, Needs, OptionEntry, OptionValue, Slot},
    };
}
