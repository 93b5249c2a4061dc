//! The API: what `cargo shuttle` talks to. [`platform_wire`] describes every path.
//!
//! Handlers check, ask the driver or the database, and convert; they decide nothing about deployments. All errors are
//! rendered in [`error`].

mod auth;
mod deploy;
mod env;
mod error;
mod parameters;
mod projects;
mod secrets;
mod stream;

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json, Router,
    body::Body,
    extract::{self, State},
    http::{Method, Request},
    middleware::{self, Next},
    response::Response,
    routing::{get, post, put},
};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use platform_wire::Health;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::ArchiveLimits,
    config::Limits,
    connection::{self, ClientBody, Ending},
    db::Db,
    deployment::Driver,
    logs::LogStore,
    remove::Trash,
    stored::Stored,
};
pub(crate) use auth::hash_key;
use error::Error;

/// What handlers share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) db: Db,
    pub(crate) driver: Arc<Driver>,
    pub(crate) logs: LogStore,
    pub(crate) limits: Limits,
    pub(crate) archive_limits: ArchiveLimits,
    pub(crate) archives: Stored,
    pub(crate) trash: Trash,
    /// Folder of the deployments' own files.
    pub(crate) deployments: PathBuf,
    pub(crate) protections: Vec<String>,
    /// Ends event streams when the server stops.
    pub(crate) stop: CancellationToken,
}

type Shared = State<Arc<Api>>;

/// All paths.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let with_key = Router::new()
        .route("/deploy", post(deploy::deploy))
        .route("/projects", get(projects::list))
        .route("/projects/{name}", get(projects::show).delete(projects::delete))
        .route("/projects/{name}/logs", get(projects::logs))
        .route("/projects/{name}/restart", post(projects::restart))
        .route("/projects/{name}/secrets", put(secrets::put))
        .route("/projects/{name}/env", get(env::show).patch(env::change))
        .route("/projects/{name}/deployments", get(projects::deployments))
        .route("/deployments/{id}", get(projects::deployment))
        .route("/deployments/{id}/cancel", post(projects::cancel))
        .route("/deployments/{id}/events", get(projects::events))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&api), auth::require_key));
    Router::new()
        .route("/healthz", get(health))
        .merge(with_key)
        .fallback(async || {
            Error::not_found("the API has no such path").hint("cargo-shuttle may be of another version than platform-server")
        })
        .method_not_allowed_fallback(async |method: Method| Error::method_not_allowed(&method))
        .layer(middleware::from_fn(request_id))
        .with_state(api)
}

/// Serves the API until `shutdown` resolves, then finishes what is in flight, within the grace of the limits.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: connection::Config, shutdown: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(router);
    let answer = move |request: Request<ClientBody>, _, _: &_| {
        let answered = service.call(request.map(Body::new));
        async move { answered.await.unwrap_or_else(|never| match never {}) }
    };
    connection::run(listener, limits, Ending::default(), answer, shutdown).await;
}

async fn health(State(api): Shared) -> Json<Health> {
    Json(Health {
        status: "ok".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        protections: api.protections.clone(),
        warnings: api.driver.warnings().await,
    })
}

/// Gives every request an id that its error carries and the server's log repeats.
async fn request_id(request: extract::Request, next: Next) -> Response {
    let id = crate::provision::secret(6).unwrap_or_default();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    error::render(response, &id, &method, &path)
}
