//! A server that does what a test tells it. It keeps what it was sent.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path as Segment, Query, Request, State as Shared},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use futures_util::StreamExt as _;
use platform_wire::{ApiError, Deployment, EnvChange, ErrorCode, Event, Outcome, Project, State, Variables};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::archive::Archive;

pub(crate) const KEY: &str = "test-key";

/// The state that handlers share with the test.
#[derive(Default)]
struct Inner {
    archives: Vec<Archive>,
    /// Project and body of each set of secrets.
    secrets: Vec<(String, Value)>,
    uploaded: Arc<tokio::sync::Notify>,
    takes_no_secrets: bool,
    /// What is done to the next uploads instead of answering them.
    breaks: VecDeque<Break>,
    /// One body for each connection to an event stream; the last one stays open where it is marked so.
    streams: VecDeque<Stream>,
    /// `Last-Event-ID` of each connection.
    resumed_from: Vec<Option<String>>,
    deployment: Option<Deployment>,
    deployments: Vec<Deployment>,
    /// Lists of them that are answered before that one.
    earlier_deployments: VecDeque<Vec<Deployment>>,
    /// How often they were listed.
    listings: usize,
    cancels: Vec<String>,
    cancelled: Arc<tokio::sync::Notify>,
    project: Option<Project>,
    logs: String,
    /// The parameters of each request for logs.
    log_queries: Vec<BTreeMap<String, String>>,
    refuse_upload: Option<(StatusCode, ApiError)>,
    refuse_restart: Option<(StatusCode, ApiError)>,
    has_the_same: bool,
    deleted: Vec<String>,
    variables: Variables,
}

/// How an upload loses its connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// In its midst.
    Midway,
    /// When all of it has arrived and become a deployment.
    BeforeTheAnswer,
}

struct Stream {
    text: String,
    then: Then,
}

/// What comes after the text of a stream.
enum Then {
    Close,
    StayOpen,
    /// More, once somebody asks to cancel a deployment.
    AfterCancel(String),
    /// The same, until the project's deployments were listed so often, and once more; then it is closed.
    UntilListed(usize),
}

pub(crate) struct Server {
    pub(crate) url: String,
    inner: Arc<Mutex<Inner>>,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    pub(crate) fn start() -> Self {
        let inner = Arc::new(Mutex::new(Inner::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = router(Arc::clone(&inner));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, inner, runtime }
    }

    /// The next connection to an event stream gets this, and is closed.
    pub(crate) fn streams(&self, text: impl Into<String>) -> &Self {
        self.inner.lock().unwrap().streams.push_back(Stream { text: text.into(), then: Then::Close });
        self
    }

    /// The next connection to an event stream gets this, and stays open.
    pub(crate) fn streams_on(&self, text: impl Into<String>) -> &Self {
        self.inner.lock().unwrap().streams.push_back(Stream { text: text.into(), then: Then::StayOpen });
        self
    }

    /// The next connection to an event stream gets the first text, and the other one once a deployment is to be cancelled.
    pub(crate) fn streams_until_cancel(&self, first: String, rest: String) -> &Self {
        self.inner.lock().unwrap().streams.push_back(Stream { text: first, then: Then::AfterCancel(rest) });
        self
    }

    /// The next connection to an event stream gets this again and again, until the project's deployments were listed so often.
    pub(crate) fn streams_until_listed(&self, text: impl Into<String>, times: usize) -> &Self {
        self.inner.lock().unwrap().streams.push_back(Stream { text: text.into(), then: Then::UntilListed(times) });
        self
    }

    pub(crate) fn resumed_from(&self) -> Vec<Option<String>> {
        self.inner.lock().unwrap().resumed_from.clone()
    }

    pub(crate) fn knows(&self, deployment: Deployment) -> &Self {
        self.inner.lock().unwrap().deployment = Some(deployment);
        self
    }

    /// The project's deployments, newest first.
    pub(crate) fn has_deployments(&self, deployments: &[Deployment]) -> &Self {
        self.inner.lock().unwrap().deployments = deployments.to_vec();
        self
    }

    /// The next request for the project's deployments gets these.
    pub(crate) fn had_deployments(&self, deployments: &[Deployment]) -> &Self {
        self.inner.lock().unwrap().earlier_deployments.push_back(deployments.to_vec());
        self
    }

    pub(crate) fn listings(&self) -> usize {
        self.inner.lock().unwrap().listings
    }

    /// The deployments that were to be cancelled, whatever the answer was.
    pub(crate) fn cancels(&self) -> Vec<String> {
        self.inner.lock().unwrap().cancels.clone()
    }

    pub(crate) fn has_project(&self, project: Project) -> &Self {
        self.inner.lock().unwrap().project = Some(project);
        self
    }

    /// The answer to a request for logs, as JSON.
    pub(crate) fn has_logs(&self, json: &str) -> &Self {
        self.inner.lock().unwrap().logs = json.to_owned();
        self
    }

    pub(crate) fn log_queries(&self) -> Vec<BTreeMap<String, String>> {
        self.inner.lock().unwrap().log_queries.clone()
    }

    pub(crate) fn refuses_uploads(&self, status: u16, code: ErrorCode, message: &str) -> &Self {
        let error = error(code, message);
        self.inner.lock().unwrap().refuse_upload = Some((StatusCode::from_u16(status).unwrap(), error));
        self
    }

    pub(crate) fn refuses_restarts(&self, status: u16, code: ErrorCode, message: &str) -> &Self {
        let error = error(code, message);
        self.inner.lock().unwrap().refuse_restart = Some((StatusCode::from_u16(status).unwrap(), error));
        self
    }

    /// Whatever is uploaded serves already.
    pub(crate) fn has_the_same(&self) -> &Self {
        self.inner.lock().unwrap().has_the_same = true;
        self
    }

    /// Uploads lose their connections, in this order; the ones after them are answered.
    pub(crate) fn breaks_uploads(&self, breaks: &[Break]) -> &Self {
        self.inner.lock().unwrap().breaks.extend(breaks);
        self
    }

    /// The deployment that serves brought these variables.
    pub(crate) fn has_deployed(&self, env: &[(&str, &str)]) {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.inner.lock().unwrap().variables.deployment = env.collect();
    }

    /// As a server of a version that knows no secrets.
    pub(crate) fn takes_no_secrets(&self) -> &Self {
        self.inner.lock().unwrap().takes_no_secrets = true;
        self
    }

    /// The sets that were sent, with their projects.
    pub(crate) fn secrets(&self) -> Vec<(String, Value)> {
        self.inner.lock().unwrap().secrets.clone()
    }

    pub(crate) fn deleted(&self) -> Vec<String> {
        self.inner.lock().unwrap().deleted.clone()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.inner.lock().unwrap().archives.len()
    }

    /// The newest archive.
    pub(crate) fn archive(&self) -> Archive {
        self.archives().pop().expect("nothing was uploaded")
    }

    /// Returns once an archive has arrived.
    pub(crate) fn wait_for_upload(&self) {
        let uploaded = Arc::clone(&self.inner.lock().unwrap().uploaded);
        self.runtime.block_on(uploaded.notified());
    }

    pub(crate) fn archives(&self) -> Vec<Archive> {
        self.inner.lock().unwrap().archives.clone()
    }
}

fn router(inner: Arc<Mutex<Inner>>) -> Router {
    Router::new()
        .route("/deploy", post(deploy))
        .route("/projects", get(projects))
        .route("/projects/{name}", get(project).delete(delete))
        .route("/projects/{name}/logs", get(logs))
        .route("/projects/{name}/restart", post(restart))
        .route("/projects/{name}/env", get(env).patch(change_env))
        .route("/projects/{name}/secrets", put(secrets))
        .route("/projects/{name}/deployments", get(deployments))
        .route("/deployments/{id}", get(one))
        .route("/deployments/{id}/cancel", post(cancel))
        .route("/deployments/{id}/events", get(events))
        .layer(from_fn(check_key))
        .layer(DefaultBodyLimit::disable())
        .with_state(inner)
}

type Inside = Shared<Arc<Mutex<Inner>>>;

async fn check_key(request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if given == Some(&format!("Bearer {KEY}")) {
        next.run(request).await
    } else {
        (StatusCode::UNAUTHORIZED, Json(error(ErrorCode::Unauthorized, "this key is not known"))).into_response()
    }
}

async fn deploy(Shared(inner): Inside, Query(query): Query<BTreeMap<String, String>>, request: Request) -> Response {
    // A refusal does not wait for the body, as it would not where the body is too large.
    if let Some(refusal) = inner.lock().unwrap().refuse_upload.clone() {
        return (refusal.0, Json(refusal.1)).into_response();
    }
    let broken = inner.lock().unwrap().breaks.pop_front();
    if broken == Some(Break::Midway) {
        let mut body = request.into_body().into_data_stream();
        body.next().await.unwrap().unwrap();
        return cut();
    }
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let mut inner = inner.lock().unwrap();
    let mut answer = deployment("d1", State::Queued);
    answer.project = query["project"].parse().unwrap();
    answer.archive_digest = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    inner.archives.push(Archive { project: query["project"].clone(), query: query.clone(), bytes: body });
    inner.uploaded.notify_one();
    if inner.has_the_same && !query.contains_key("force") {
        answer.state = State::Deployed;
        return Json(answer).into_response();
    }
    if broken.is_some() {
        inner.project = Some(Project {
            name: answer.project.clone(),
            url: answer.url.clone(),
            created_at_ms: 0,
            serving: None,
            latest: Some(answer),
            resources: Vec::new(),
            env: Vec::new(),
            origin: platform_wire::Origin::default(),
        });
        return cut();
    }
    (StatusCode::ACCEPTED, Json(answer)).into_response()
}

/// An answer that promises more than comes, so that the connection ends in its midst.
fn cut() -> Response {
    let nothing = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("cut"))]);
    (StatusCode::ACCEPTED, Body::from_stream(nothing)).into_response()
}

async fn secrets(Shared(inner): Inside, Segment(name): Segment<String>, Json(set): Json<Value>) -> Response {
    let mut inner = inner.lock().unwrap();
    if inner.takes_no_secrets {
        return (StatusCode::NOT_FOUND, Json(error(ErrorCode::NotFound, "the API has no such path"))).into_response();
    }
    let count = set["secrets"].as_object().unwrap().len();
    inner.secrets.push((name, set));
    Json(json!({ "id": format!("s{}", inner.secrets.len()), "count": count })).into_response()
}

async fn restart(Shared(inner): Inside) -> Response {
    let inner = inner.lock().unwrap();
    match inner.refuse_restart.clone() {
        Some((status, error)) => (status, Json(error)).into_response(),
        None => found(inner.project.clone()),
    }
}

async fn env(Shared(inner): Inside) -> Response {
    Json(inner.lock().unwrap().variables.clone()).into_response()
}

async fn change_env(Shared(inner): Inside, Json(change): Json<EnvChange>) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.variables.project.retain(|name, _| !change.unset.contains(name));
    inner.variables.project.extend(change.set);
    Json(inner.variables.clone()).into_response()
}

async fn projects(Shared(inner): Inside) -> Response {
    Json(inner.lock().unwrap().project.iter().cloned().collect::<Vec<_>>()).into_response()
}

async fn project(Shared(inner): Inside) -> Response {
    found(inner.lock().unwrap().project.clone())
}

async fn one(Shared(inner): Inside) -> Response {
    found(inner.lock().unwrap().deployment.clone())
}

async fn deployments(Shared(inner): Inside) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.listings += 1;
    let earlier = inner.earlier_deployments.pop_front();
    Json(earlier.unwrap_or_else(|| inner.deployments.clone())).into_response()
}

async fn cancel(Shared(inner): Inside, Segment(id): Segment<String>) -> Response {
    let mut inner = inner.lock().unwrap();
    inner.cancels.push(id.clone());
    inner.cancelled.notify_one();
    let Some(mut deployment) = inner.deployments.iter().find(|deployment| deployment.id == id).cloned() else {
        return (StatusCode::NOT_FOUND, Json(error(ErrorCode::NotFound, "there is no such deployment"))).into_response();
    };
    if !matches!(deployment.state, State::Queued | State::Built | State::Loaded) {
        return (StatusCode::CONFLICT, Json(error(ErrorCode::Conflict, "it is under way no more"))).into_response();
    }
    deployment.state = State::Error;
    Json(deployment).into_response()
}

async fn delete(Shared(inner): Inside, Segment(name): Segment<String>) -> Response {
    let mut inner = inner.lock().unwrap();
    let kept = inner.project.as_ref().map(|project| project.resources.clone()).unwrap_or_default();
    inner.deleted.push(name.clone());
    Json(serde_json::json!({ "project": name, "kept": kept })).into_response()
}

async fn logs(inner: Inside, Query(query): Query<BTreeMap<String, String>>, headers: HeaderMap) -> Response {
    if query.get("follow").is_some_and(|follow| follow == "true") {
        return events(inner, headers).await;
    }
    let text = {
        let mut inner = inner.0.lock().unwrap();
        inner.log_queries.push(query);
        inner.logs.clone()
    };
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn events(Shared(shared): Inside, headers: HeaderMap) -> Response {
    let mut inner = shared.lock().unwrap();
    inner.resumed_from.push(headers.get("last-event-id").map(|id| id.to_str().unwrap().to_owned()));
    let Some(stream) = inner.streams.pop_front() else {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(error(ErrorCode::Unavailable, "the server is stopping"))).into_response();
    };
    let text = Bytes::from(stream.text);
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(text.clone())]);
    let body = match stream.then {
        Then::Close => Body::from_stream(first),
        Then::StayOpen => Body::from_stream(first.chain(futures_util::stream::pending())),
        Then::AfterCancel(rest) => {
            let cancelled = Arc::clone(&inner.cancelled);
            let rest = futures_util::stream::once(async move {
                cancelled.notified().await;
                Ok(Bytes::from(rest))
            });
            Body::from_stream(first.chain(rest))
        }
        Then::UntilListed(times) => Body::from_stream(first.chain(until_listed(text, times, Arc::clone(&shared)))),
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// The text in short intervals; for 20 s at most.
fn until_listed(
    text: Bytes,
    times: usize,
    shared: Arc<Mutex<Inner>>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    const INTERVAL: Duration = Duration::from_millis(50);
    futures_util::stream::unfold(Some(400), move |left| {
        let (text, shared) = (text.clone(), Arc::clone(&shared));
        async move {
            let left: usize = left?;
            tokio::time::sleep(INTERVAL).await;
            let is_last = left == 0 || shared.lock().unwrap().listings >= times;
            Some((Ok(text), (!is_last).then(|| left - 1)))
        }
    })
}

fn found<T: serde::Serialize>(thing: Option<T>) -> Response {
    match thing {
        Some(thing) => Json(thing).into_response(),
        None => (StatusCode::NOT_FOUND, Json(error(ErrorCode::NotFound, "there is no such project"))).into_response(),
    }
}

fn error(code: ErrorCode, message: &str) -> ApiError {
    ApiError { code, message: message.to_owned(), hint: None, request_id: "r1".to_owned() }
}

pub(crate) fn deployment(id: &str, state: State) -> Deployment {
    Deployment {
        id: id.to_owned(),
        project: "my-app".parse().unwrap(),
        state,
        url: "http://my-app.localhost:8000".to_owned(),
        archive_digest: String::new(),
        failure: None,
        created_at_ms: 0,
        updated_at_ms: 0,
    }
}

/// Events as the server writes them, numbered from `first`.
pub(crate) fn sse(first: u64, events: &[Event]) -> String {
    let one = |(index, event): (usize, &Event)| {
        format!("id: {}\ndata: {}\n\n", first + index as u64, serde_json::to_string(event).unwrap())
    };
    events.iter().enumerate().map(one).collect()
}

pub(crate) fn finished() -> Event {
    Event::Finished { outcome: Outcome::Deployed { url: "http://my-app.localhost:8000".to_owned() } }
}
