//! The socket of one client: remembers when it takes bytes, and lets the client read the answer before it is closed.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::watch::Connection;

/// How long a client that is still sending is listened to, after the answer.
const LINGER: Duration = Duration::from_secs(30);
/// How long it may say nothing meanwhile.
pub(super) const LINGER_QUIET: Duration = Duration::from_secs(5);
/// What is read at a time then.
const PIECE: usize = 16 * 1024;

/// Reads and writes the socket.
pub(super) struct ClientIo<S> {
    stream: S,
    connection: Arc<Connection>,
    lingering: Option<Lingering>,
}

/// A socket that is closed with something unread in it resets the connection, and the answer on its way to the client is
/// lost with it. So what the client still sends is read and dropped, until it has seen the end and closes as well.
struct Lingering {
    until: Instant,
    quiet: Pin<Box<Sleep>>,
    /// It has sent something since, or is known to be in the middle of a body.
    sends: bool,
}

impl<S> ClientIo<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>) -> Self {
        Self { stream, connection, lingering: None }
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(1..)) => self.connection.writes(),
            Poll::Pending => self.connection.cannot_write(),
            Poll::Ready(_) => {}
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(result)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if this.connection.is_tunnel() {
            // One direction has ended. What comes in the other one is read by the tunnel, and none of it is dropped.
            return Poll::Ready(Ok(()));
        }
        let lingering = this.lingering.get_or_insert_with(|| Lingering {
            until: Instant::now() + LINGER,
            quiet: Box::pin(tokio::time::sleep(LINGER_QUIET)),
            sends: this.connection.has_cut_body(),
        });
        loop {
            let mut piece = [MaybeUninit::uninit(); PIECE];
            let mut piece = ReadBuf::uninit(&mut piece);
            match Pin::new(&mut this.stream).poll_read(cx, &mut piece) {
                Poll::Pending if lingering.sends => break,
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    lingering.sends = true;
                    let now = Instant::now();
                    lingering.quiet.as_mut().reset(lingering.until.min(now + LINGER_QUIET));
                    if now >= lingering.until {
                        return Poll::Ready(Ok(()));
                    }
                }
                // It has closed its side, or has nothing more to say.
                _ => return Poll::Ready(Ok(())),
            }
        }
        lingering.quiet.as_mut().poll(cx).map(Ok)
    }
}
