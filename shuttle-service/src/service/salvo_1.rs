//! salvo 1, on the inherited Unix socket.

use std::{io, sync::Arc};

use salvo_core::{
    Router, Server,
    conn::{Accepted, Acceptor, ConnCtrl, Holding, SocketAddr, StraightStream, tcp::TcpCoupler},
    fuse::{ArcFusePolicy, FuseAction, FuseInfo, TransProto},
    http::{Version, uri::Scheme},
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::oneshot,
};

use super::{MAX_HEADERS, Served, Shutdown};
use crate::{Error, Listen, Service, Serving};

/// What a function that serves with salvo returns.
///
/// ```
/// # use salvo_core as salvo;
/// use salvo::{Router, handler};
///
/// #[handler]
/// async fn hello() -> &'static str {
///     "Hello, world!"
/// }
///
/// #[shuttle_service::main]
/// async fn salvo() -> shuttle_service::ShuttleSalvo {
///     Ok(Router::new().get(hello))
/// }
/// ```
pub type ShuttleSalvo = Result<Router, Error>;

/// Served with salvo's own server; requests in flight are finished before it stops.
impl Service for Router {
    const FRAMEWORK: &'static str = "salvo";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self.into(), serving).await
    }
}

/// For an app with a catcher of its own. Served as a router is.
impl Service for salvo_core::Service {
    const FRAMEWORK: &'static str = "salvo";
    const LISTEN: Listen = Listen::Unix;

    async fn serve(self, serving: Serving) -> Result<(), Error> {
        serve(self, serving).await
    }
}

/// Boxed here, so that salvo's server is compiled with this crate and not again with every change of the app.
fn serve(service: salvo_core::Service, serving: Serving) -> Served {
    Box::pin(async move {
        let (listener, shutdown) = serving.unix()?;
        let (inherited, closed) = Inherited::new(listener, shutdown)?;
        let mut server = Server::new(inherited);
        server.http1_mut().max_headers(MAX_HEADERS);
        let handle = server.handle();
        tokio::spawn(async move {
            drop(closed.await);
            handle.stop_graceful(None);
        });
        server.try_serve(service).await?;
        Ok(())
    })
}

/// The socket, as salvo wants it: its own acceptor for Unix sockets binds by itself. A server that has been told to stop keeps
/// its acceptor until all connections have ended, so the socket is closed here, before it is told.
struct Inherited {
    listener: Option<UnixListener>,
    holdings: [Holding; 1],
    shutdown: Shutdown,
    closed: Option<oneshot::Sender<()>>,
}

impl Inherited {
    fn new(listener: UnixListener, shutdown: Shutdown) -> io::Result<(Self, oneshot::Receiver<()>)> {
        let local_addr = listener.local_addr()?.into();
        let holding = Holding { local_addr, http_versions: vec![Version::HTTP_11], http_scheme: Scheme::HTTP };
        let (closed, when_closed) = oneshot::channel();
        Ok((Self { listener: Some(listener), holdings: [holding], shutdown, closed: Some(closed) }, when_closed))
    }

    /// The next connection. There is none any more once it is time to stop.
    async fn next(&mut self) -> io::Result<(UnixStream, SocketAddr)> {
        if let Some(listener) = &self.listener {
            tokio::select! {
                biased;
                () = &mut self.shutdown => {}
                accepted = listener.accept() => return accepted.map(|(stream, from)| (stream, Arc::new(from).into())),
            }
        }
        self.listener = None;
        self.closed = None;
        std::future::pending().await
    }
}

impl Acceptor for Inherited {
    type Coupler = TcpCoupler<Self::Stream>;
    type Stream = StraightStream<UnixStream>;

    fn holdings(&self) -> &[Holding] {
        &self.holdings
    }

    async fn accept(&mut self, policy: Option<ArcFusePolicy>) -> io::Result<Accepted<Self::Coupler, Self::Stream>> {
        let local_addr = self.holdings[0].local_addr.clone();
        loop {
            let (stream, remote_addr) = self.next().await?;
            let conn_ctrl = ConnCtrl::new();
            let (fuse_config, observer) = match &policy {
                Some(policy) => {
                    let info = FuseInfo {
                        trans_proto: TransProto::Tcp,
                        remote_addr: remote_addr.clone(),
                        local_addr: local_addr.clone(),
                    };
                    match policy.decide(&info).await {
                        FuseAction::Accept(config) => (Some(config), policy.observe(&info, &conn_ctrl)),
                        FuseAction::Reject => continue,
                    }
                }
                None => (None, None),
            };
            return Ok(Accepted {
                coupler: TcpCoupler::new(),
                stream: StraightStream::new(stream, fuse_config, conn_ctrl.clone(), observer),
                fuse_config,
                conn_ctrl,
                local_addr,
                remote_addr,
                http_scheme: Scheme::HTTP,
            });
        }
    }
}
