//! HTTP to the server: requests, and what its answers mean. Knows nothing of projects, files or output.

mod upload;

use std::{error::Error as _, time::Duration};

use platform_wire::{
    ApiError, Deleted, Deployment, EnvChange, ErrorCode, LogLine, Project, ProjectName, Variables,
    secrets::{SecretSet, Secrets},
};
use reqwest::{
    Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue},
    redirect::Policy,
};
use serde::de::DeserializeOwned;

pub(crate) use upload::{Sent, Upload};

use crate::config::{self, Server};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For an answer to a request that is no upload.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The server has limits of its own for a start; this is for one that has gone.
const RESTART_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest text of an answer, which is no error of the platform's, that is shown.
const SHOWN_BODY: usize = 200;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot reach the server at {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("the server refused the key: {error}")]
    KeyRefused { error: ApiError },
    #[error("{error}")]
    Refused { status: u16, error: ApiError },
    #[error("the server at {url} answered with what no platform-server answers: {what}")]
    Unexpected { url: String, what: String },
    #[error("the server takes no secrets: it is older than this cargo-shuttle")]
    NoSecrets { error: ApiError },
    #[error("cannot set up HTTP: {why}")]
    Setup { why: String },
}

impl ClientError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { url, .. } if url == config::DEFAULT_API => {
                Some("start it with `platform-server serve`, or name another one with --api-url".to_owned())
            }
            Self::Unreachable { .. } => Some("look whether the server runs, and whether the address is right".to_owned()),
            Self::KeyRefused { error } => error
                .hint
                .clone()
                .or_else(|| Some(format!("give the server's key to `cargo shuttle login`, or set {}", config::KEY_VARIABLE))),
            Self::Refused { error, .. } if error.code == ErrorCode::TooLarge => {
                let list = "`cargo shuttle deploy --dry-run` lists what is sent".to_owned();
                Some(error.hint.as_ref().map_or(list.clone(), |hint| format!("{hint}\n{list}")))
            }
            Self::Refused { error, .. } => error.hint.clone().or_else(|| match error.code {
                ErrorCode::NotFound => Some("deploy it first with `cargo shuttle deploy`".to_owned()),
                ErrorCode::Unavailable | ErrorCode::TooManyRequests => Some("try again in a moment".to_owned()),
                _ => None,
            }),
            Self::Unexpected { .. } => Some("look whether --api-url names the API, not the address of the apps".to_owned()),
            Self::NoSecrets { .. } => Some(
                "update platform-server and deploy again; without a Secrets.toml, the app is deployed without secrets".to_owned(),
            ),
            Self::Setup { .. } => None,
        }
    }

    /// Whether an instance did not start.
    pub(crate) fn is_failed_start(&self) -> bool {
        matches!(self, Self::Refused { error, .. } if error.code == ErrorCode::NotStarted)
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Unexpected { .. } | Self::KeyRefused { .. } | Self::NoSecrets { .. } | Self::Setup { .. } => false,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
}

impl Client {
    pub(crate) fn new(server: &Server) -> Result<Self, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cargo-shuttle/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the key to wherever it points.
            .redirect(Policy::none());
        if config::is_loopback(&server.url) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| ClientError::Setup { why: cause(&error) })?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", server.key))
            .map_err(|error| ClientError::Setup { why: error.to_string() })?;
        authorization.set_sensitive(true);
        Ok(Self { http, base: server.url.clone(), authorization })
    }

    pub(crate) fn address(&self) -> String {
        config::display(&self.base)
    }

    pub(crate) async fn projects(&self) -> Result<Vec<Project>, ClientError> {
        self.get(&["projects"]).await
    }

    pub(crate) async fn project(&self, name: &ProjectName) -> Result<Project, ClientError> {
        self.get(&["projects", name.as_str()]).await
    }

    pub(crate) async fn deployment(&self, id: &str) -> Result<Deployment, ClientError> {
        self.get(&["deployments", id]).await
    }

    /// Newest first.
    pub(crate) async fn deployments(&self, name: &ProjectName) -> Result<Vec<Deployment>, ClientError> {
        self.get(&["projects", name.as_str(), "deployments"]).await
    }

    /// Ends a deployment that is under way. What serves, or has ended, is refused as a conflict.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Deployment, ClientError> {
        let url = self.url(&["deployments", id, "cancel"]);
        self.answer(self.request(Method::POST, url).timeout(ANSWER_TIMEOUT)).await
    }

    /// Waits until the new instance answers.
    pub(crate) async fn restart(&self, name: &ProjectName) -> Result<Project, ClientError> {
        let url = self.url(&["projects", name.as_str(), "restart"]);
        self.answer(self.request(Method::POST, url).timeout(RESTART_TIMEOUT)).await
    }

    pub(crate) async fn delete(&self, name: &ProjectName) -> Result<Deleted, ClientError> {
        self.answer(self.request(Method::DELETE, self.url(&["projects", name.as_str()])).timeout(ANSWER_TIMEOUT)).await
    }

    /// Keeps a set of secrets for the project.
    pub(crate) async fn put_secrets(&self, name: &ProjectName, secrets: &Secrets) -> Result<SecretSet, ClientError> {
        let url = self.url(&["projects", name.as_str(), "secrets"]);
        let request = self.request(Method::PUT, url).timeout(ANSWER_TIMEOUT).json(secrets);
        match self.answer(request).await {
            // The project itself need not be there yet.
            Err(ClientError::Refused { status: 404 | 405, error }) => Err(ClientError::NoSecrets { error }),
            result => result,
        }
    }

    pub(crate) async fn env(&self, name: &ProjectName) -> Result<Variables, ClientError> {
        self.get(&["projects", name.as_str(), "env"]).await
    }

    /// Changes the project's variables; the project need not be there yet.
    pub(crate) async fn change_env(&self, name: &ProjectName, change: &EnvChange) -> Result<Variables, ClientError> {
        let url = self.url(&["projects", name.as_str(), "env"]);
        self.answer(self.request(Method::PATCH, url).timeout(ANSWER_TIMEOUT).json(change)).await
    }

    pub(crate) async fn logs(
        &self,
        name: &ProjectName,
        deployment: Option<&str>,
        tail: u32,
    ) -> Result<Vec<LogLine>, ClientError> {
        let url = self.logs_url(name, deployment, tail, false);
        self.answer(self.request(Method::GET, url).timeout(ANSWER_TIMEOUT)).await
    }

    /// Opens an event stream, from the event after `last_id`.
    pub(crate) async fn stream(&self, url: Url, last_id: Option<u64>) -> Result<Response, ClientError> {
        let mut request = self.request(Method::GET, url).header(ACCEPT, "text/event-stream");
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = match tokio::time::timeout(ANSWER_TIMEOUT, self.send(request)).await {
            Ok(response) => response?,
            Err(_) => return Err(ClientError::Unreachable { url: self.address(), why: "it gives no answer".to_owned() }),
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            let what = format!("`{kind}` instead of an event stream");
            return Err(ClientError::Unexpected { url: self.address(), what });
        }
        Ok(response)
    }

    pub(crate) fn events_url(&self, id: &str) -> Url {
        self.url(&["deployments", id, "events"])
    }

    pub(crate) fn logs_url(&self, name: &ProjectName, deployment: Option<&str>, tail: u32, follow: bool) -> Url {
        let mut url = self.url(&["projects", name.as_str(), "logs"]);
        let mut query = url.query_pairs_mut();
        query.append_pair("tail", &tail.to_string()).append_pair("follow", if follow { "true" } else { "false" });
        if let Some(deployment) = deployment {
            query.append_pair("deployment", deployment);
        }
        drop(query);
        url
    }

    fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        // Only a URL that cannot be a base (`mailto:`) has no segments, and the configuration takes none of these.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).header(AUTHORIZATION, self.authorization.clone())
    }

    async fn get<T: DeserializeOwned>(&self, segments: &[&str]) -> Result<T, ClientError> {
        self.answer(self.request(Method::GET, self.url(segments)).timeout(ANSWER_TIMEOUT)).await
    }

    async fn answer<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        self.document(response).await
    }

    /// The JSON document in an answer.
    async fn document<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| {
            let what = format!("{error} in `{}`", shown(&body));
            ClientError::Unexpected { url: self.address(), what }
        })
    }

    /// The answer, if it is a success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        match serde_json::from_slice::<ApiError>(&body) {
            Ok(error) if status == StatusCode::UNAUTHORIZED => Err(ClientError::KeyRefused { error }),
            Ok(error) => Err(ClientError::Refused { status: status.as_u16(), error }),
            // A reverse proxy in front of a server that restarts speaks for it.
            Err(_) if matches!(status.as_u16(), 502..=504) => {
                Err(ClientError::Unreachable { url: self.address(), why: format!("a proxy in front of it says {status}") })
            }
            Err(_) => {
                let what = format!("status {status}, `{}`", shown(&body));
                Err(ClientError::Unexpected { url: self.address(), what })
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.address(), why: cause(error) }
    }
}

/// The innermost error says what happened; the outer ones repeat the URL.
pub(crate) fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it gives no answer".to_owned();
    }
    let mut source = error.source();
    let mut text = error.to_string();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN_BODY).collect()
}
