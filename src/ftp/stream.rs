//! The byte stream of a control or data connection: TCP, or TLS over TCP (RFC 4217).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::net::connect_unspec;
use socket2::SockRef;

use super::tls::TlsStream;

/// Maximum number of bytes under way on a connection that is reset. About as many are sent before
/// the first acknowledgement (RFC 6928).
const MAX_AT_RISK: usize = 16 << 10;
/// Number of file bytes to encrypt at a time.
const PIECE: usize = 256 << 10;

/// A connection in the clear or over TLS.
///
/// A read that yields only TLS records without data (session tickets) fails with `Interrupted`, so
/// that callers check their deadline. An end without close_notify fails with `UnexpectedEof`,
/// because an attacker may have caused it.
#[derive(Debug)]
pub(super) enum MaybeTlsStream {
    Clear(Arc<TcpStream>),
    Tls(Box<TlsStream>),
}

impl MaybeTlsStream {
    /// Returns the underlying TCP socket.
    pub(super) fn socket(&self) -> &Arc<TcpStream> {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Sends up to `length` bytes of `file` from `offset` on. Returns the number of bytes sent; 0
    /// means the end of the file. In the clear they go from the page cache to the socket
    /// (sendfile). For TLS, `piece` buffers them.
    ///
    /// # Errors
    /// Those of the connection in the inner result, those of the file in the outer one.
    pub(super) fn send_file(
        &mut self,
        file: &File,
        offset: u64,
        length: u64,
        piece: &mut Vec<u8>,
    ) -> io::Result<io::Result<usize>> {
        let stream = match self {
            Self::Clear(socket) => return Ok(crate::sys::send_file(socket, file, offset, length)),
            Self::Tls(stream) => stream,
        };
        piece.resize(PIECE, 0);
        let wanted = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
        let count = file.read_at(piece.get_mut(..wanted).unwrap_or_default(), offset)?;
        let sent = stream.write_all(piece.get(..count).unwrap_or_default());
        Ok(sent.map(|()| count))
    }

    /// Processes session tickets received on a connection that is only written to.
    pub(super) fn take_tickets(&mut self) {
        if let Self::Tls(stream) = self {
            stream.has_ended();
        }
    }

    /// Holds back the last segment of the data, if it is not full, until [`Self::end`], which it
    /// then carries. The end of a file that fills the first congestion window would otherwise wait
    /// for a round trip.
    pub(super) fn hold_last_segment(&self) {
        if let Self::Clear(socket) = self {
            // If the system refuses, the end takes a segment of its own.
            let _ = SockRef::from(&**socket).set_tcp_cork(true);
        }
    }

    /// Ends the outgoing direction: close_notify with TLS, then FIN.
    ///
    /// # Errors
    /// The peer has closed the connection.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.close_notify()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }

    /// Resets the connection right behind its [end](Self::end), so that a peer with SO_LINGER does
    /// not wait for the acknowledgement of its own end. Returns whether it did: not with TLS, where
    /// the peer still sends close_notify, and not if the network has not taken everything, which
    /// would be lost, or much is under way, of which a packet may get lost.
    pub(super) fn reset_behind_end(&self) -> bool {
        let Self::Clear(socket) = self else {
            return false;
        };
        let is_sent = matches!(crate::sys::unsent(socket), Ok(0));
        let under_way = crate::sys::unacknowledged(socket);
        let is_little = under_way.is_ok_and(|bytes| bytes <= MAX_AT_RISK);
        is_sent && is_little && connect_unspec(socket).is_ok()
    }
}

impl Read for MaybeTlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => (&**socket).read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for MaybeTlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => (&**socket).write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
