//! TLS handshake of a data connection while the control connection waits for a reply.
//!
//! Some servers (npm ftp-srv) send the 150 of a transfer only after the handshake, others do not
//! start the handshake before. A handshake that does not wait for the 150 also saves a round trip.

use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

use super::pending::{PendingConnection, accept_one, begin_handshake};
use super::tls::Connector;

/// The data connection and what its handshake needs.
#[derive(Debug)]
pub(super) struct ConcurrentHandshake {
    pending: PendingConnection,
    tls: Connector,
    /// The only address accepted in active mode.
    peer: IpAddr,
    /// The handshake cannot continue before the reply.
    is_over: bool,
}

/// Which of the two connections is readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Readable {
    pub(super) control: bool,
    pub(super) handshake: bool,
}

impl ConcurrentHandshake {
    pub(super) fn new(pending: PendingConnection, tls: Connector, peer: IpAddr) -> Self {
        Self {
            pending,
            tls,
            peer,
            is_over: false,
        }
    }

    /// Returns the connection in its current state.
    pub(super) fn into_pending(self) -> PendingConnection {
        self.pending
    }

    /// Waits until `control` or this connection is readable.
    pub(super) fn wait(
        &self,
        control: &TcpStream,
        patience: Duration,
    ) -> std::io::Result<Readable> {
        let mut polled = vec![PollFd::new(control, PollFlags::IN)];
        let own = self.socket().filter(|_| !self.is_over);
        polled.extend(own.iter().map(|socket| PollFd::new(socket, PollFlags::IN)));
        match poll(&mut polled, Timespec::try_from(patience).ok().as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut is_readable = polled.iter().map(|it| !it.revents().is_empty());
        Ok(Readable {
            control: is_readable.next().unwrap_or(false),
            handshake: is_readable.next().unwrap_or(false),
        })
    }

    /// Continues the handshake. Called when this connection is readable.
    pub(super) fn advance(&mut self) {
        match &mut self.pending {
            PendingConnection::Handshaking(stream) => self.is_over = stream.continue_handshake(),
            PendingConnection::Listening(listener) => match accept_one(listener, self.peer) {
                Ok(Some(socket)) => match begin_handshake(socket, &self.tls) {
                    Ok(stream) => self.pending = PendingConnection::Handshaking(stream),
                    Err(error) => {
                        log::debug!("no TLS over the server's data connection: {error}");
                        self.is_over = true;
                    }
                },
                Ok(None) => {}
                // The error occurs again after the reply and is reported then.
                Err(_) => self.is_over = true,
            },
            PendingConnection::Connected(_) => self.is_over = true,
        }
    }

    fn socket(&self) -> Option<BorrowedFd<'_>> {
        match &self.pending {
            PendingConnection::Handshaking(stream) => Some(stream.socket().as_fd()),
            PendingConnection::Listening(listener) => Some(listener.as_fd()),
            PendingConnection::Connected(_) => None,
        }
    }
}
