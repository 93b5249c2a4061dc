//! The one way of a fetch to the network: an HTTP proxy of the server's, which looks names up itself, checks every address that
//! it finds, and connects to that address and no other. So neither a redirect nor a name whose answer changes leads to the
//! machine itself, to its network, or to a cloud's metadata.
//!
//! A sandboxed fetch has a network namespace of its own, in which there is nothing but this proxy: the sandbox hands the
//! server a socket that listens there ([`crate::sandbox::Relay`]). Without a sandbox the proxy listens on loopback, and cargo
//! is only told to use it.

mod address;
mod upstream;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header, uri::Authority};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    body::Incoming,
    service::service_fn,
    upgrade::{self, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub(crate) use address::{AllowedHost, AllowedHosts};
pub(crate) use upstream::Upstreams;

/// Longest wait for a connection to one address.
const CONNECT: Duration = Duration::from_secs(15);

type Body = BoxBody<Bytes, hyper::Error>;

/// Where a fetch may go.
#[derive(Debug)]
pub(crate) struct Relay {
    allowed: AllowedHosts,
    upstreams: Upstreams,
    /// What was asked for first and refused, as `host:port`.
    refused: watch::Sender<Option<String>>,
    /// Ends what it has begun.
    stop: CancellationToken,
}

/// Why there is no connection.
#[derive(Debug)]
enum Failed {
    /// The address is not for fetches. Nothing was sent to it.
    Refused,
    Unreachable(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Unreachable(error)
    }
}

impl Relay {
    pub(crate) fn new(allowed: AllowedHosts, upstreams: Upstreams) -> Arc<Self> {
        Arc::new(Self { allowed, upstreams, refused: watch::Sender::new(None), stop: CancellationToken::new() })
    }

    /// What it has refused, as `host:port`.
    pub(crate) fn has_refused(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// Waits until it refuses something.
    pub(crate) async fn refused(&self) -> String {
        let mut refused = self.refused.subscribe();
        match refused.wait_for(Option::is_some).await.map(|refused| refused.clone()) {
            Ok(Some(host)) => host,
            _ => std::future::pending().await,
        }
    }

    /// Serves until it is dropped, and with it all connections; without a listener nobody asks for anything. Returns only
    /// what went wrong.
    pub(crate) async fn serve(self: &Arc<Self>, listener: Option<TcpListener>) -> io::Error {
        let Some(listener) = listener else { return std::future::pending().await };
        let _stops_with_this = self.stop.clone().drop_guard();
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => return error,
            };
            let relay = Arc::clone(self);
            connections.spawn(async move {
                let service = service_fn(|request| {
                    let relay = Arc::clone(&relay);
                    async move { Ok::<_, std::convert::Infallible>(relay.answer(request).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                if let Err(error) = connection.with_upgrades().await {
                    tracing::debug!(%error, "a connection of a fetch ended");
                }
            });
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let is_tunnel = request.method() == Method::CONNECT;
        let Some((host, port)) = target(request.uri(), is_tunnel) else {
            return told(StatusCode::BAD_REQUEST, "this proxy is asked with CONNECT or with http:// URLs");
        };
        let answered = if is_tunnel { self.tunnel(request, &host, port).await } else { self.pass(request, &host, port).await };
        answered.unwrap_or_else(|failed| match failed {
            Failed::Refused => {
                self.refused.send_if_modified(|refused| {
                    let is_first = refused.is_none();
                    refused.get_or_insert_with(|| format!("{host}:{port}"));
                    is_first
                });
                told(StatusCode::FORBIDDEN, "the platform does not fetch from this address")
            }
            Failed::Unreachable(error) => {
                tracing::debug!(host, port, %error, "a fetch cannot reach it");
                told(StatusCode::BAD_GATEWAY, &format!("it cannot be reached: {error}"))
            }
        })
    }

    /// Answers `CONNECT`, and passes bytes on from then on.
    async fn tunnel(&self, request: Request<Incoming>, host: &str, port: u16) -> Result<Response<Body>, Failed> {
        let mut stream = match self.upstreams.of_host("https", host) {
            None => self.connect(host, port).await?,
            Some(upstream) => {
                self.check_for_upstream(host, port).await?;
                upstream.tunnel(host, port).await?
            }
        };
        let pass_on = async move {
            let mut client: TokioIo<Upgraded> = TokioIo::new(upgrade::on(request).await.map_err(io::Error::other)?);
            tokio::io::copy_bidirectional(&mut client, &mut stream).await
        };
        let stopped = self.stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                passed = pass_on => if let Err(error) = passed {
                    tracing::debug!(%error, "a tunnel of a fetch ended");
                },
                () = stopped => {}
            }
        });
        Ok(told(StatusCode::OK, ""))
    }

    /// Passes one request on, without encryption.
    async fn pass(&self, mut request: Request<Incoming>, host: &str, port: u16) -> Result<Response<Body>, Failed> {
        let stream = match self.upstreams.of_host("http", host) {
            None => {
                // As its own server expects it.
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri = path.parse::<Uri>().map_err(io::Error::other)?;
                *request.uri_mut() = uri;
                self.connect(host, port).await?
            }
            Some(upstream) => {
                self.check_for_upstream(host, port).await?;
                upstream.authorize(request.headers_mut());
                upstream.connect().await?
            }
        };
        for name in [header::CONNECTION, header::PROXY_AUTHENTICATE, header::UPGRADE] {
            request.headers_mut().remove(name);
        }
        request.headers_mut().remove("proxy-connection");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let stopped = self.stop.clone().cancelled_owned();
        tokio::spawn(async move {
            tokio::select! {
                _ = connection => {}
                () = stopped => {}
            }
        });
        let mut response = sender.send_request(request).await.map_err(io::Error::other)?;
        response.headers_mut().remove(header::CONNECTION);
        Ok(response.map(BodyExt::boxed))
    }

    /// Connects to the first address that answers, if none of them is refused.
    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failed> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if !self.allowed.contains(host, port) && addresses.iter().any(|address| !address::is_public(address.ip())) {
            return Err(Failed::Refused);
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last.into())
    }

    /// A proxy beyond this one looks names up itself. What can be known here is refused here.
    async fn check_for_upstream(&self, host: &str, port: u16) -> Result<(), Failed> {
        if self.allowed.contains(host, port) {
            return Ok(());
        }
        let addresses = tokio::net::lookup_host((host, port)).await;
        let is_refused = addresses.is_ok_and(|mut all| all.any(|address| !address::is_public(address.ip())));
        if is_refused { Err(Failed::Refused) } else { Ok(()) }
    }
}

/// Whom a request is for.
fn target(uri: &Uri, is_tunnel: bool) -> Option<(String, u16)> {
    let authority: &Authority = uri.authority()?;
    let port = match (is_tunnel, authority.port_u16(), uri.scheme_str()) {
        (_, Some(port), _) => port,
        (false, None, Some("http")) => 80,
        _ => return None,
    };
    if !is_tunnel && uri.scheme_str() != Some("http") {
        return None;
    }
    let host = authority.host();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn told(status: StatusCode, text: &str) -> Response<Body> {
    let body = Full::new(Bytes::copy_from_slice(text.as_bytes())).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
