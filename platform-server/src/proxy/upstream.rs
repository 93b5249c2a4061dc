//! The socket of one connection to an app. An app may answer before it has read the whole request, and close: then writing
//! the rest fails, while the answer waits to be read. What has arrived counts, so a write that fails is no end here: the
//! rest of the request is dropped, and reading goes on until the answer or the end of the connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is known of the connection beside what it carries.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// The app takes no more bytes.
    deaf: AtomicBool,
    /// The app has said something since the last request began.
    heard: AtomicBool,
}

impl Wire {
    /// A request is about to be sent.
    pub(super) fn begin(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether anything of an answer has come.
    pub(super) fn was_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    /// Whether the app has stopped reading. Nothing more may be sent then: it would vanish.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.load(Ordering::Relaxed)
    }
}

/// Reads and writes the socket.
pub(super) struct UpstreamIo<S> {
    stream: S,
    wire: Arc<Wire>,
}

impl<S> UpstreamIo<S> {
    pub(super) fn new(stream: S) -> (Self, Arc<Wire>) {
        let wire = Arc::new(Wire::default());
        (Self { stream, wire: wire.clone() }, wire)
    }

    /// What a write has come to; `bytes` is what it was to send.
    fn written(&self, result: io::Result<usize>, bytes: impl FnOnce() -> usize) -> io::Result<usize> {
        match result {
            Err(error) if is_closed(&error) => {
                self.wire.deaf.store(true, Ordering::Relaxed);
                Ok(bytes())
            }
            result => result,
        }
    }
}

/// Whether the other side has closed the connection.
fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::BrokenPipe | K::ConnectionReset | K::ConnectionAborted | K::NotConnected)
}

impl<S: AsyncRead + Unpin> AsyncRead for UpstreamIo<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match ready!(Pin::new(&mut this.stream).poll_read(cx, buffer)) {
            Ok(()) => {
                if buffer.filled().len() > before {
                    this.wire.heard.store(true, Ordering::Relaxed);
                }
                Poll::Ready(Ok(()))
            }
            // A reset instead of an end says that the app had not read everything. That is no fault of its answer.
            Err(error) if is_closed(&error) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for UpstreamIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.wire.is_deaf() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let result = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes));
        Poll::Ready(this.written(result, || bytes.len()))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let bytes = || slices.iter().map(|slice| slice.len()).sum();
        if this.wire.is_deaf() {
            return Poll::Ready(Ok(bytes()));
        }
        let result = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, slices));
        Poll::Ready(this.written(result, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_flush(cx));
        Poll::Ready(this.written(result.map(|()| 0), || 0).map(drop))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = ready!(Pin::new(&mut this.stream).poll_shutdown(cx));
        Poll::Ready(this.written(result.map(|()| 0), || 0).map(drop))
    }
}
