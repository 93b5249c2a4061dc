//! The proxy: takes HTTP requests from the world and hands each to the app that its host name names.
//!
//! `<project>.<domain>` is looked up in [`Routes`], which leads to a [`Target`]: one live instance of an app. A request
//! for a target that is starting is held until it is ready. Bodies pass through in both directions piece by piece,
//! upgraded connections (WebSockets) as bytes. Whatever the proxy has to say itself is a short page with the header
//! `x-shuttle-proxy`, so that it cannot be mistaken for the app's own answer.
//!
//! The proxy never starts, stops or probes anything, never decides which instance serves, never buffers a body, and
//! believes no forwarding header of a client that is not one of the owner's own proxies. The connections of clients and
//! their limits are [`connection`]'s.
//!
//! | File | Owns |
//! |---|---|
//! | this one | what all requests share |
//! | `config` | the limits |
//! | `routes`, `target` | which instance serves a project; what is in flight to it |
//! | `forward` | the way of one request |
//! | `host`, `headers` | what a request is about; which headers pass |
//! | `forwarded` | what the owner's own proxies say of a client |
//! | `pool`, `body` | connections to one instance, and when they are free again |
//! | `upstream` | the socket of one such connection |
//! | `tunnel` | connections after an upgrade |
//! | `pages` | the proxy's own answers |

mod body;
mod config;
mod forward;
mod forwarded;
mod headers;
mod host;
mod pages;
mod pool;
mod routes;
mod target;
#[cfg(test)]
mod tests;
mod tunnel;
mod upstream;

use std::sync::Arc;

use tokio::net::TcpListener;

use self::forward::Forwarder;
pub use self::{
    config::ProxyConfig,
    routes::Routes,
    target::{Target, TargetState, Upstream},
};
use crate::connection::{self, Ending};

/// What every request shares.
struct Shared {
    routes: Arc<Routes>,
    config: ProxyConfig,
    ending: Ending,
}

/// Serves connections from `listener` until `shutdown` resolves, then finishes what is in flight, within the grace of the
/// connections' limits.
pub async fn run(listener: TcpListener, routes: Arc<Routes>, config: ProxyConfig, shutdown: impl Future<Output = ()>) {
    let (clients, ending) = (config.clients.clone(), Ending::default());
    let shared = Arc::new(Shared { routes, config, ending: ending.clone() });
    let answer = move |request, peer, place: &_| Forwarder::new(&shared, peer, place).answer(request);
    connection::run(listener, clients, ending, answer, shutdown).await;
}
