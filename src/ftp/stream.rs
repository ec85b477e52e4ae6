//! What a control or a data connection runs over: TCP as it is, or TLS over it (RFC 4217).

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::FileExt;

use super::tls::TlsStream;

/// Bytes of a file that are encrypted at a time.
const PIECE: usize = 256 << 10;

/// A connection's bytes, in the clear or over TLS.
///
/// A read that brought TLS records without data (session tickets) is `Interrupted`, so that whoever
/// loops counts its deadline on. An end that TLS's close_notify did not announce is
/// `UnexpectedEof`: anybody on the way may have made it.
#[derive(Debug)]
pub(super) enum MaybeTlsStream {
    Clear(TcpStream),
    Tls(Box<TlsStream>),
}

impl MaybeTlsStream {
    /// The TCP socket below.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Clear(socket) => socket,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Sends up to `length` bytes of `file` from `offset` on; how many went, 0 where the file ends.
    /// In the clear they go from the page cache to the socket (sendfile); `piece` holds them on
    /// their way into TLS.
    ///
    /// # Errors
    /// The connection's in the inner result, the file's in the outer one.
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

    /// Takes what has come on a connection that is only written to: tickets for the next one.
    pub(super) fn take_tickets(&mut self) {
        if let Self::Tls(stream) = self {
            stream.has_ended();
        }
    }

    /// Ends what this side sends: close_notify where there is TLS, then the FIN.
    ///
    /// # Errors
    /// The other side has hung up.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            stream.close_notify()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

impl Read for MaybeTlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for MaybeTlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Clear(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
