//! The way of one request: its host, its target, its headers, the app's answer.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
};

use http_body::Body;
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::Incoming,
    header::{self, HeaderValue},
    http::request::Parts,
    upgrade::OnUpgrade,
};
use tokio::time::Instant;

use super::{
    Shared,
    body::{BodyFault, Progress, RequestBody, ResponseBody, UpstreamBody},
    headers::{self, RequestFacts},
    host,
    pages::Page,
    pool::{Lease, Pool, SendError},
    target::{Current, InFlight},
    tunnel,
};
use crate::connection::{ClientBody, Place};

/// Answers one request.
pub(super) struct Forwarder {
    shared: Arc<Shared>,
    peer: IpAddr,
    /// Of the client's connection.
    place: Arc<Place>,
}

/// The two sides of an upgrade that was asked for.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Forwarder {
    pub(super) fn new(shared: &Arc<Shared>, peer: SocketAddr, place: &Arc<Place>) -> Self {
        Self { shared: shared.clone(), peer: peer.ip().to_canonical(), place: place.clone() }
    }

    /// Answers the request, if only with a page.
    pub(super) async fn answer(self, mut request: Request<ClientBody>) -> Response<ResponseBody> {
        let upgrade = headers::wanted_upgrade(request.version(), request.headers())
            .map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let (parts, body) = request.into_parts();
        if let Some(limit) = self.place.has_too_many() {
            return Page::TooMany { limit }.answer(&parts.headers);
        }
        if parts.method == Method::CONNECT {
            return Page::NoTunnels.answer(&parts.headers);
        }
        if let Some(fault) = host::target_fault(&parts.method, &parts.uri, parts.version) {
            return Page::BadTarget(fault).answer(&parts.headers);
        }
        let named = host::authority_of(&parts.uri, parts.version, &parts.headers)
            .and_then(|authority| Ok((authority.to_owned(), host::name_of(authority)?.into_owned())));
        let (authority, name) = match named {
            Ok(named) => named,
            Err(fault) => return Page::BadHost(fault).answer(&parts.headers),
        };
        let domain = self.shared.config.domain.as_str();
        let Some(project) = host::project_of(&name, domain) else {
            return Page::NoSuchHost { host: &name, domain }.answer(&parts.headers);
        };
        let (in_flight, pool) = match self.ready_target(project).await {
            Ok(target) => target,
            Err(page) => return page.answer(&parts.headers),
        };
        self.forward(project, &authority, in_flight, &pool, upgrade, parts, body).await
    }

    /// The target that serves the project, once it is ready.
    async fn ready_target<'a>(&self, project: &'a str) -> Result<(InFlight, Arc<Pool>), Page<'a>> {
        let routes = &self.shared.routes;
        let in_flight = routes.enter(project).ok_or(Page::NoSuchProject { project })?;
        let config = &self.shared.config;
        if in_flight.of_target() > config.max_requests_per_app {
            return Err(Page::Busy { project, limit: config.max_requests_per_app });
        }
        if in_flight.of_all() > config.clients.max_connections {
            return Err(Page::Full { limit: config.clients.max_connections });
        }
        match in_flight.current() {
            Current::Ready(pool) => return Ok((in_flight, pool)),
            Current::Down => return Err(Page::Down { project }),
            Current::Background => return Err(Page::Background { project }),
            Current::Starting => drop(in_flight),
        }
        let deadline = Instant::now() + config.hold_timeout;
        loop {
            // Both are watched before they are looked at, so that no change is missed.
            let mut route = routes.watch();
            let in_flight = routes.enter(project).ok_or(Page::NoSuchProject { project })?;
            let mut state = in_flight.watch();
            match in_flight.current() {
                Current::Ready(pool) => return Ok((in_flight, pool)),
                Current::Down => return Err(Page::Down { project }),
                Current::Background => return Err(Page::Background { project }),
                Current::Starting => {}
            }
            tokio::select! {
                _ = state.changed() => {}
                _ = route.changed() => {}
                () = self.shared.ending.stop.cancelled() => return Err(Page::Starting { project }),
                () = tokio::time::sleep_until(deadline) => return Err(Page::Starting { project }),
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the request, taken apart")]
    async fn forward(
        &self,
        project: &str,
        authority: &str,
        in_flight: InFlight,
        pool: &Arc<Pool>,
        upgrade: Option<Upgrade>,
        mut parts: Parts,
        body: ClientBody,
    ) -> Response<ResponseBody> {
        // The page, should there be one, depends on what the client accepts.
        let accept = parts.headers.get(header::ACCEPT).cloned();
        self.prepare(&mut parts, authority, upgrade.as_ref(), &body);
        let (body, progress) = if body.is_end_stream() {
            (RequestBody::none(), None)
        } else {
            let progress = Progress::new();
            (RequestBody::new(body, progress.clone()), Some(progress))
        };
        let request = Request::from_parts(parts, body);
        let page = match self.send(pool, request, progress.as_deref()).await {
            Ok((response, lease)) => match self.pass_on(response, lease, in_flight, upgrade) {
                Some(response) => return response,
                None => Page::Broken { project },
            },
            Err(Failure::TooSlow) => Page::TooSlow { project, limit: self.shared.config.response_timeout },
            Err(Failure::Client(fault)) => Page::BadBody(fault),
            Err(Failure::Send(error)) => {
                tracing::debug!(project, %error, "an app did not answer");
                match error {
                    SendError::Connect(_) | SendError::ConnectTimeout => Page::Unreachable { project },
                    SendError::Broken(_) => Page::Broken { project },
                }
            }
        };
        page.answer(&accept.into_iter().map(|accept| (header::ACCEPT, accept)).collect())
    }

    fn prepare(&self, parts: &mut Parts, authority: &str, upgrade: Option<&Upgrade>, body: &ClientBody) {
        let facts = RequestFacts {
            version: parts.version,
            peer: self.peer,
            authority,
            upgrade: upgrade.map(|upgrade| &upgrade.protocol),
            streams: !body.is_end_stream() && body.size_hint().exact().is_none(),
            trusted: &self.shared.config.clients.trusted_proxies,
        };
        headers::to_upstream(&mut parts.headers, &facts);
        parts.version = Version::HTTP_11;
        // To an origin only the path is said; the host stands in its header.
        parts.uri = parts.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    }

    async fn send(
        &self,
        pool: &Arc<Pool>,
        request: Request<RequestBody>,
        progress: Option<&Progress>,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let limit = self.shared.config.response_timeout;
        let began = std::time::Instant::now();
        let mut sending = pin!(pool.send(request, &self.shared.config));
        loop {
            // An upload that goes on is not slow.
            let moved = || progress.map_or(began, Progress::last);
            tokio::select! {
                sent = sending.as_mut() => {
                    if let (Ok(_), Some(progress)) = (&sent, progress) {
                        progress.answered();
                    }
                    return sent.map_err(|error| match progress.and_then(Progress::fault) {
                        Some(fault) => Failure::Client(fault),
                        None => Failure::Send(error),
                    });
                }
                () = tokio::time::sleep_until(Instant::from_std(moved() + limit)) => {
                    if moved() + limit <= std::time::Instant::now() {
                        return Err(Failure::TooSlow);
                    }
                }
            }
        }
    }

    /// The app's response as the client gets it; `None` for one that makes no sense.
    fn pass_on(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        in_flight: InFlight,
        upgrade: Option<Upgrade>,
    ) -> Option<Response<ResponseBody>> {
        *response.version_mut() = Version::HTTP_11;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            headers::to_client(response.headers_mut());
            return Some(response.map(|body| ResponseBody::Upstream(UpstreamBody::new(body, lease, in_flight))));
        }
        let Upgrade { client, .. } = upgrade?;
        let upstream = hyper::upgrade::on(&mut response);
        let protocol = response.headers_mut().remove(header::UPGRADE);
        headers::to_client(response.headers_mut());
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().extend(protocol.map(|protocol| (header::UPGRADE, protocol)));
        let end = self.shared.ending.end.clone();
        let (connection, place) = (self.place.becomes_tunnel(), self.place.clone());
        self.shared.ending.tasks.spawn(async move {
            // The client's connection keeps its place.
            let _alive = (lease, in_flight, connection, place);
            end.run_until_cancelled_owned(tunnel::run(client, upstream)).await;
        });
        Some(response.map(|_| ResponseBody::Page(http_body_util::Full::default())))
    }
}

/// Why an app gave no response.
enum Failure {
    Send(SendError),
    TooSlow,
    /// The client did not send what it announced.
    Client(BodyFault),
}
