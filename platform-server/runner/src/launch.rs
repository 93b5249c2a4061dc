//! The control socket, and the launch that comes over it: one frame, with descriptors attached to its bytes.

use std::{
    io::{self, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::net::UnixStream,
};

use rustix::{
    fs::{Mode, OFlags},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use shuttle_abi::{ABI_VERSION, FailedStage, LAUNCH_FDS, Launch, frame};

use crate::failure::{Failure, Stage};

/// The control socket, and the descriptors that came with what was read from it.
pub(crate) struct Control {
    socket: UnixStream,
    descriptors: Vec<OwnedFd>,
}

impl Control {
    /// Moves the socket away from stdin, which the app, and any program that it starts, shall find empty.
    pub(crate) fn take_stdin() -> io::Result<Self> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        // Also tells whether it is a socket at all.
        rustix::net::sockopt::socket_type(&socket)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::stdio::dup2_stdin(null)?;
        Ok(Self { socket: UnixStream::from(socket), descriptors: Vec::new() })
    }

    pub(crate) fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Read for Control {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(LAUNCH_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        Ok(received.bytes)
    }
}

impl Write for Control {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

/// A launch with its descriptors, in the order of the `FD_` constants.
pub(crate) struct Received {
    pub(crate) launch: Launch,
    pub(crate) artifact: OwnedFd,
    pub(crate) listener: OwnedFd,
    pub(crate) log: OwnedFd,
}

/// Waits for the launch.
pub(crate) fn receive(control: &mut Control) -> Result<Received, Failure> {
    let message: serde_json::Value = frame::read(control, frame::MAX_FROM_SERVER)
        .and_then(|message| message.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
        .stage(FailedStage::Confine, "reading the launch")?;
    check_version(&message)?;
    let launch = serde_json::from_value(message).stage(FailedStage::Confine, "reading the launch")?;
    let count = control.descriptors.len();
    let [artifact, listener, log] = <[OwnedFd; LAUNCH_FDS]>::try_from(std::mem::take(&mut control.descriptors))
        .map_err(|_| Failure::new(FailedStage::Confine, format!("{count} descriptors came with the launch, not {LAUNCH_FDS}")))?;
    Ok(Received { launch, artifact, listener, log })
}

/// The version is in every version; the rest is only read when it is ours.
fn check_version(message: &serde_json::Value) -> Result<(), Failure> {
    match message.get("abi_version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(ABI_VERSION) => Ok(()),
        version => Err(Failure::new(
            FailedStage::Abi,
            format!(
                "platform-server speaks ABI version {}, its platform-runner {ABI_VERSION}: install both from one version",
                version.map_or("(none)".to_owned(), |version| version.to_string()),
            ),
        )),
    }
}
