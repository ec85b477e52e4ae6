//! A data connection whose TLS handshake goes on while the control connection waits for a reply.
//!
//! Some servers (npm ftp-srv) announce a transfer by its 150 only when the handshake is done,
//! others do not begin it before; and a handshake that does not wait for the 150 spares a round
//! trip.

use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::time::Duration;

use super::data::{PendingConnection, accept_one, begin_handshake};
use super::tls::Connector;

/// The connection, and what its handshake needs.
#[derive(Debug)]
pub(super) struct ConcurrentHandshake {
    pending: PendingConnection,
    tls: Connector,
    /// Who may connect in active mode.
    peer: IpAddr,
    /// Nothing more can be done before the reply.
    is_over: bool,
}

/// Which of the two connections has something to be read.
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

    /// The connection, as far as it has come.
    pub(super) fn into_pending(self) -> PendingConnection {
        self.pending
    }

    /// Waits until there is something to be read from `control` or from this one.
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

    /// Does what can be done of the handshake: this one is readable.
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
                // What is wrong shows again after the reply.
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
