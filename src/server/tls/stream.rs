//! A connection over a non-blocking socket, in the clear or with TLS.
//!
//! Operations that would block return [`WouldBlock`](ErrorKind::WouldBlock). The caller then waits
//! for the control connection and for this one together.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::PollFlags;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};

/// A control or data connection.
pub(in crate::server) struct Stream {
    socket: TcpStream,
    tls: Option<Records>,
}

/// The state of TLS.
struct Records {
    connection: Box<ServerConnection>,
    /// TLS may have received data that poll(2) on the socket does not report.
    holds_input: bool,
}

impl Stream {
    /// Wraps a connection in the clear.
    pub(in crate::server) fn new(socket: TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, tls: None })
    }

    /// Returns the underlying socket.
    pub(in crate::server) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(in crate::server) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Switches to TLS. [`Stream::handshake`] must follow.
    pub(in crate::server) fn begin_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Records {
            connection: Box::new(connection),
            holds_input: true,
        });
        Ok(())
    }

    /// Continues the handshake. Returns the readiness to wait for, or `None` once it is done.
    pub(in crate::server) fn handshake(&mut self) -> io::Result<Option<PollFlags>> {
        loop {
            match self.flush() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Some(PollFlags::OUT));
                }
                Err(error) => return Err(error),
            }
            match &mut self.tls {
                Some(tls) if tls.connection.is_handshaking() => match tls.receive(&self.socket) {
                    Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Ok(Some(PollFlags::IN));
                    }
                    Err(error) => return Err(error),
                },
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// Whether the handshake resumed a TLS session known to this server configuration.
    pub(in crate::server) fn is_resumed(&self) -> bool {
        let kind = self
            .tls
            .as_ref()
            .and_then(|tls| tls.connection.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether TLS may have received data that poll(2) does not report, which must be read first.
    pub(in crate::server) fn holds_input(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.holds_input)
    }

    /// Reads available data. 0 means an orderly end: of the socket, or with TLS a close_notify. A
    /// TLS connection that ends without one returns [`UnexpectedEof`](ErrorKind::UnexpectedEof).
    pub(in crate::server) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return (&self.socket).read(buffer);
        };
        loop {
            match tls.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if let Err(error) = tls.receive(&self.socket) {
                tls.holds_input = error.kind() != ErrorKind::WouldBlock;
                return Err(error);
            }
            tls.holds_input = true;
        }
    }

    /// Writes some of the bytes. With TLS they may be buffered until [`Stream::flush`].
    pub(in crate::server) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return (&self.socket).write(bytes);
        };
        tls.send(&self.socket)?;
        let count = tls.connection.writer().write(bytes)?;
        match tls.send(&self.socket) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            Ok(()) | Err(_) => Ok(count),
        }
    }

    /// Passes all buffered bytes to the socket.
    pub(in crate::server) fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.send(&self.socket),
            None => Ok(()),
        }
    }

    /// Sends close_notify. [`Stream::flush`] must follow.
    pub(in crate::server) fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Records {
    /// Receives TLS records from the socket. Returns 0 at its end.
    fn receive(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        let count = self.connection.read_tls(&mut socket)?;
        if let Err(error) = self.connection.process_new_packets() {
            // Send the alert that describes the error, if the client still listens.
            let _ = self.send(socket);
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        Ok(count)
    }

    fn send(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut socket)?;
        }
        Ok(())
    }
}
