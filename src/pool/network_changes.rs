//! Changes of this machine's network: interfaces, addresses and routes that come and go, as the
//! kernel reports them (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};

/// The groups of messages about interfaces, addresses and routes (rtnetlink(7)).
const GROUPS: i32 = libc::RTMGRP_LINK
    | libc::RTMGRP_IPV4_IFADDR
    | libc::RTMGRP_IPV6_IFADDR
    | libc::RTMGRP_IPV4_ROUTE
    | libc::RTMGRP_IPV6_ROUTE;

/// Receives the kernel's messages.
#[derive(Debug)]
pub(super) struct NetworkChanges(OwnedFd);

impl NetworkChanges {
    /// Receives the changes from now on.
    ///
    /// # Errors
    /// The system does not allow the socket, as in some containers.
    pub(super) fn new() -> io::Result<Self> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            // NETLINK_ROUTE
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, GROUPS.cast_unsigned()))?;
        Ok(Self(socket))
    }

    /// Whether something has changed since the last call. Does not wait.
    pub(super) fn take(&self) -> bool {
        let mut message = [0; 8192];
        let mut has_changed = false;
        loop {
            match rustix::net::recv(&self.0, message.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, 0)) => return has_changed,
                // With NOBUFS, messages were lost because there were too many.
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => has_changed = true,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return has_changed,
            }
        }
    }
}

impl AsFd for NetworkChanges {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
