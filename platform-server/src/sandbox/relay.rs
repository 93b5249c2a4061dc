//! A network that consists of one socket. The sandboxed program has a network namespace of its own; in it listens a socket that
//! is handed to the server, which answers there and decides what lies beyond.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socket_with,
};
use tokio::io::Interest;

/// Where the socket listens in every such namespace.
pub(crate) const ADDRESS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 3128);

/// The server's end: the socket, once the namespace has been made.
#[derive(Debug)]
pub(crate) struct Relay {
    stream: tokio::net::UnixStream,
}

impl Relay {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: tokio::net::UnixStream::from_std(stream)? })
    }

    /// Waits for the socket. `None`: the sandbox ended without making it, and has said why on its stderr.
    pub(crate) async fn listener(&self) -> io::Result<Option<tokio::net::TcpListener>> {
        let received = self.stream.async_io(Interest::READABLE, || receive(self.stream.as_fd())).await?;
        received
            .map(|socket| {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener)
            })
            .transpose()
    }
}

fn receive(stream: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut [0])], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let found = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
        _ => None,
    });
    Ok(found)
}

/// In the new network namespace: makes the socket, and sends it over `stream`.
pub(super) fn hand_over(stream: BorrowedFd<'_>) -> io::Result<()> {
    loopback_up()?;
    let listener = TcpListener::bind(ADDRESS)?;
    let sockets = [listener.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&sockets));
    sendmsg(stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A new network namespace has a loopback interface that is down. rtnetlink(7) describes the messages.
fn loopback_up() -> io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_ACK: u16 = 1 | 4;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    const LENGTH: u32 = 32;
    let mut message = Vec::new();
    // nlmsghdr: length, type, flags, sequence, sender.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // ifinfomsg: family and type, index, flags, which of them change.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    // The protocol is NETLINK_ROUTE, which is the first.
    let netlink = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&netlink, &message, SendFlags::empty())?;
    let mut answer = [0_u8; 64];
    let (length, _) = rustix::net::recv(&netlink, &mut answer[..], RecvFlags::empty())?;
    // nlmsgerr: behind the header, an error as a negative number, or zero.
    let error = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(io::Error::from_raw_os_error(-error)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
