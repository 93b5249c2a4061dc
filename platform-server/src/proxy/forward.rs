//! The way of one request: its host, its target, its headers, the app's answer.

use std::{net::IpAddr, pin::pin, sync::Arc};

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
    body::{Progress, RequestBody, ResponseBody, UpstreamBody},
    headers::{self, RequestFacts},
    host,
    pages::Page,
    pool::{Lease, Pool, SendError},
    target::{Current, InFlight},
    tunnel,
};

/// Answers the requests of one client.
pub(super) struct Forwarder {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: IpAddr,
}

/// The two sides of an upgrade that was asked for.
struct Upgrade {
    protocol: HeaderValue,
    client: OnUpgrade,
}

impl Forwarder {
    /// Answers one request, if only with a page.
    pub(super) async fn answer(&self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        let upgrade = headers::wanted_upgrade(request.version(), request.headers())
            .map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let (parts, body) = request.into_parts();
        if parts.method == Method::CONNECT {
            return Page::NoTunnels.answer(&parts.headers);
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
        match in_flight.current() {
            Current::Ready(pool) => return Ok((in_flight, pool)),
            Current::Down => return Err(Page::Down { project }),
            Current::Background => return Err(Page::Background { project }),
            Current::Starting => drop(in_flight),
        }
        let deadline = Instant::now() + self.shared.config.hold_timeout;
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
                () = self.shared.stop.cancelled() => return Err(Page::Starting { project }),
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
        body: Incoming,
    ) -> Response<ResponseBody> {
        // The page, should there be one, depends on what the client accepts.
        let accept = parts.headers.get(header::ACCEPT).cloned();
        self.prepare(&mut parts, authority, upgrade.as_ref(), &body);
        let progress = Progress::new();
        let request = Request::from_parts(parts, RequestBody { body, progress: progress.clone() });
        let page = match self.send(pool, request, &progress).await {
            Ok((response, lease)) => match self.pass_on(response, lease, in_flight, upgrade) {
                Some(response) => return response,
                None => Page::Broken { project },
            },
            Err(Failure::TooSlow) => Page::TooSlow { project },
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

    fn prepare(&self, parts: &mut Parts, authority: &str, upgrade: Option<&Upgrade>, body: &Incoming) {
        let facts = RequestFacts {
            version: parts.version,
            peer: self.peer,
            authority,
            upgrade: upgrade.map(|upgrade| &upgrade.protocol),
            streams: !body.is_end_stream() && body.size_hint().exact().is_none(),
            trust_forwarded: self.shared.config.trust_forwarded,
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
        progress: &Progress,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let limit = self.shared.config.response_timeout;
        let mut sending = pin!(pool.send(request, &self.shared.config));
        loop {
            let deadline = Instant::from_std(progress.last() + limit);
            tokio::select! {
                sent = sending.as_mut() => return sent.map_err(Failure::Send),
                // An upload that goes on is not slow.
                () = tokio::time::sleep_until(deadline) => if progress.last() + limit <= std::time::Instant::now() {
                    return Err(Failure::TooSlow);
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
        let end = self.shared.end.clone();
        self.shared.tasks.spawn(async move {
            let _alive = (lease, in_flight);
            end.run_until_cancelled_owned(tunnel::run(client, upstream)).await;
        });
        Some(response.map(|_| ResponseBody::Page(http_body_util::Full::default())))
    }
}

/// Why an app gave no response.
enum Failure {
    Send(SendError),
    TooSlow,
}
