//! The server's end of a runner's control socket. What arrives is untrusted.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream as StdUnixStream,
    },
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use shuttle_abi::{LAUNCH_FDS, Launch, RunnerMessage, ServerMessage, frame};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::mpsc,
};

/// The two directions of a control socket.
#[derive(Debug)]
pub(super) struct Control {
    /// Messages of the runner, until the socket is closed; an error is the last one.
    pub(super) messages: mpsc::Receiver<io::Result<RunnerMessage>>,
    writer: OwnedWriteHalf,
}

impl Control {
    /// Sends the launch with its descriptors, and begins to read.
    pub(super) async fn open(socket: StdUnixStream, launch: &Launch, fds: [BorrowedFd<'_>; LAUNCH_FDS]) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let rest = send_launch(&socket, launch, fds)?;
        let (mut reader, mut writer) = UnixStream::from_std(socket)?.into_split();
        // With many secrets it does not fit into the socket at once.
        writer.write_all(&rest).await?;
        // A runner has two things to say; one that says more waits until they are read, which nobody does.
        let (sender, messages) = mpsc::channel(2);
        tokio::spawn(async move {
            while let Some(message) = read(&mut reader).await.transpose() {
                let last = message.is_err();
                if sender.send(message).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { messages, writer })
    }

    pub(super) async fn send(&mut self, message: &ServerMessage) -> io::Result<()> {
        self.writer.write_all(&frame::encode(message)?).await
    }
}

/// Sends what fits into the socket, the descriptors with it; the rest is returned.
fn send_launch(socket: &StdUnixStream, launch: &Launch, fds: [BorrowedFd<'_>; LAUNCH_FDS]) -> io::Result<Vec<u8>> {
    let mut bytes = frame::encode(launch)?;
    if bytes.len() > frame::MAX_FROM_SERVER {
        return Err(io::Error::other("its resources and secrets together are too large to be handed over"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LAUNCH_FDS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(socket.as_fd(), &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(bytes.split_off(sent))
}

async fn read(reader: &mut OwnedReadHalf) -> io::Result<Option<RunnerMessage>> {
    let length = match reader.read_u32_le().await {
        Ok(length) => length as usize,
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > frame::MAX_FROM_RUNNER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(Some(serde_json::from_slice(&bytes)?))
}
