//! A TLS connection over a TCP socket (RFC 8446, RFC 5246).
//!
//! rustls runs the protocol on buffers owned by this type. One system call transfers many records,
//! and data is decrypted into the reader's buffer with only one copy in between.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::HandshakeKind;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::trust::CertificateVerifier;
use super::{Certificate, HandshakeError};

/// Initial receive buffer of a control connection in bytes. A handshake can enlarge it.
pub(super) const CONTROL_ROOM: usize = 24 << 10;
/// Receive buffer of a data connection in bytes: many records per system call.
pub(super) const DATA_ROOM: usize = 256 << 10;
/// Maximum number of received bytes without a complete message: more than the longest handshake
/// message.
const MAX_ROOM: usize = 256 << 10;
/// Minimum space for a read: a whole record (RFC 8446 §5.2).
const RECORD: usize = (16 << 10) + 256 + 5;
/// Number of bytes to encrypt at a time.
const PIECE: usize = 256 << 10;
/// Maximum number of reads of data that the server sends during an upload.
const MAX_ROUNDS: usize = 64;
/// Initial space for a handshake message or an alert. Longer ones report their size.
const MESSAGE: usize = 4 << 10;

/// The client side of a TLS connection.
pub(in crate::ftp) struct TlsStream {
    socket: Arc<TcpStream>,
    connection: UnbufferedClientConnection,
    verifier: Arc<CertificateVerifier>,
    incoming: Incoming,
    /// Encrypted data not yet sent.
    outgoing: Vec<u8>,
    /// Decrypted data, of which `taken` bytes were read.
    plain: Vec<u8>,
    taken: usize,
    /// The server's close_notify was received.
    ended: bool,
    /// The client's close_notify was sent.
    closing: bool,
    /// The fatal error, after which rustls must not process the connection any further.
    broken: Option<rustls::Error>,
}

/// Destination of decrypted data.
struct Sink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

/// What rustls should do besides processing records.
#[derive(Clone, Copy)]
enum Want<'a> {
    Nothing,
    Encrypt(&'a [u8]),
    CloseNotify,
}

/// Where rustls stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// The handshake waits for the server.
    Handshake,
    /// Data can be sent; the request was carried out.
    Open,
    /// The reader's buffer is full.
    Full,
    /// Both sides have sent close_notify.
    Closed,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
    }
}

impl TlsStream {
    /// Wraps a connection before its handshake, with a receive buffer of `room` bytes.
    pub(super) fn new(
        socket: Arc<TcpStream>,
        connection: UnbufferedClientConnection,
        verifier: Arc<CertificateVerifier>,
        room: usize,
    ) -> Self {
        Self {
            socket,
            connection,
            verifier,
            incoming: Incoming::new(room),
            outgoing: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            ended: false,
            closing: false,
            broken: None,
        }
    }

    /// Returns the underlying TCP socket.
    pub(in crate::ftp) fn socket(&self) -> &Arc<TcpStream> {
        &self.socket
    }

    /// Sends the client's hello without waiting.
    ///
    /// # Errors
    /// Those of the socket.
    pub(in crate::ftp) fn hello(&mut self) -> io::Result<()> {
        let (_, flushed) = (
            self.drive(Want::Nothing, &mut Sink::none()),
            self.flush_out(),
        );
        flushed
    }

    /// Continues the handshake with data that is ready to be read. Returns whether it is over,
    /// successfully or not.
    pub(in crate::ftp) fn continue_handshake(&mut self) -> bool {
        match self.incoming.fill(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            // The error occurs again when the connection is used.
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        let stand = self.drive(Want::Nothing, &mut Sink::none());
        let flushed = self.flush_out();
        flushed.is_err() || !matches!(stand, Ok(Stand::Handshake))
    }

    /// Performs the handshake before `deadline`.
    ///
    /// # Errors
    /// Problems with the server's TLS or certificate, and socket errors including `TimedOut`.
    pub(in crate::ftp) fn handshake(&mut self, deadline: Instant) -> Result<(), HandshakeError> {
        loop {
            let stand = self.drive(Want::Nothing, &mut Sink::none());
            let flushed = self.flush_out();
            if stand? != Stand::Handshake {
                let chain = self.connection.peer_certificates().unwrap_or_default();
                return Ok(self.verifier.confirm(chain)?);
            }
            flushed?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HandshakeError::Io(io::ErrorKind::TimedOut.into()));
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.incoming.fill(&self.socket) {
                Ok(0) => return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(HandshakeError::Io(error)),
            }
        }
    }

    /// Sends close_notify right after the handshake, because the client has nothing else to send.
    /// Only TLS 1.3 allows that: an older peer stops sending (RFC 8446 §6.1, RFC 5246 §7.2.1).
    ///
    /// # Errors
    /// Those of the socket.
    pub(in crate::ftp) fn close_notify_early(&mut self) -> io::Result<()> {
        if self.connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
            self.close_notify()?;
        }
        Ok(())
    }

    /// Sends close_notify unless it was sent before.
    ///
    /// # Errors
    /// Those of the socket.
    pub(in crate::ftp) fn close_notify(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.closing, true) {
            return Ok(());
        }
        self.drive(Want::CloseNotify, &mut Sink::none())
            .map_err(broken)?;
        self.flush_out()
    }

    /// Processes available data without waiting. Returns whether the server has closed the
    /// connection or it failed.
    pub(in crate::ftp) fn has_ended(&mut self) -> bool {
        if self.ended || self.socket.set_nonblocking(true).is_err() {
            return true;
        }
        let mut unwanted = [0; 1024];
        let mut rounds = 0..MAX_ROUNDS;
        let over = loop {
            match self.read(&mut unwanted) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
            if rounds.next().is_none() {
                break true;
            }
        };
        self.socket.set_nonblocking(false).is_err() || over
    }

    /// Whether the session was resumed.
    pub(in crate::ftp) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// Name of the protocol version.
    pub(super) fn version(&self) -> String {
        match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// Name of the cipher suite.
    pub(super) fn cipher(&self) -> String {
        let suite = self.connection.negotiated_cipher_suite();
        suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()))
    }

    /// The server's certificate, and those sent along.
    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        chain.iter().map(|it| Certificate::read(it)).collect()
    }

    /// Runs [`Self::process`] unless the connection failed before. On failure, puts the alert
    /// that reports it into `outgoing`.
    fn drive(&mut self, want: Want<'_>, sink: &mut Sink<'_>) -> Result<Stand, rustls::Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let processed = self.process(want, sink);
        if let Err(error) = &processed {
            self.broken = Some(error.clone());
            if let Ok(ConnectionState::EncodeTlsData(mut alert)) =
                self.connection.process_tls_records(&mut []).state
            {
                append(&mut self.outgoing, MESSAGE, |room| alert.encode(room))?;
            }
        }
        processed
    }

    /// Lets rustls process received data and carry out the request `want`. Decrypted data goes to
    /// `sink`, and to `plain` when that is full; messages to send go to `outgoing`.
    fn process(&mut self, want: Want<'_>, sink: &mut Sink<'_>) -> Result<Stand, rustls::Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(self.incoming.unread());
            let outgoing = &mut self.outgoing;
            let stand = match state {
                Err(error) => Err(error),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        sink.push(record?.payload, &mut self.plain);
                    }
                    Ok(sink.is_filled().then_some(Stand::Full))
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(outgoing, MESSAGE, |room| message.encode(room)).map(|()| None)
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    // It is in `outgoing`, which preserves the order.
                    sent.done();
                    Ok(None)
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => match want {
                    Want::Nothing => Ok(()),
                    Want::Encrypt(bytes) => {
                        append(outgoing, sealed(bytes), |room| traffic.encrypt(bytes, room))
                    }
                    Want::CloseNotify => {
                        append(outgoing, MESSAGE, |room| traffic.queue_close_notify(room))
                    }
                }
                .map(|()| Some(Stand::Open)),
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    Ok(None)
                }
                Ok(ConnectionState::Closed) => Ok(Some(Stand::Closed)),
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(Stand::Handshake)),
                Ok(other) => Err(rustls::Error::General(format!("{other:?}"))),
            };
            self.incoming.discard(discard);
            if let Some(stand) = stand? {
                return Ok(stand);
            }
        }
    }

    fn flush_out(&mut self) -> io::Result<()> {
        let sent = (&*self.socket).write_all(&self.outgoing);
        self.outgoing.clear();
        sent
    }

    /// Moves decrypted bytes into `buffer`.
    fn take_plain(&mut self, buffer: &mut [u8]) -> usize {
        let left = self.plain.get(self.taken..).unwrap_or_default();
        let count = left.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), left.get(..count)) {
            to.copy_from_slice(from);
        }
        self.taken += count;
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        count
    }

    /// Decrypts received data into `buffer`.
    fn decrypt(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut sink = Sink { buffer, filled: 0 };
        let driven = self.drive(Want::Nothing, &mut sink);
        let count = sink.filled;
        let flushed = self.flush_out();
        if count > 0 {
            // The error occurs again at the next read.
            return Ok(count);
        }
        driven.map_err(broken)?;
        flushed?;
        Ok(0)
    }
}

impl Read for TlsStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut count = self.take_plain(buffer);
        if count == 0 {
            count = self.decrypt(buffer)?;
        }
        if count > 0 || self.ended {
            return Ok(count);
        }
        if self.incoming.fill(&self.socket)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        count = self.decrypt(buffer)?;
        if count == 0 && !self.ended {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(count)
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..bytes.len().min(PIECE)).unwrap_or_default();
        let stand = self
            .drive(Want::Encrypt(piece), &mut Sink::none())
            .map_err(broken)?;
        if stand != Stand::Open {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.flush_out()?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink<'_> {
    /// Returns a sink without space, for use outside of reads.
    fn none() -> Self {
        Sink {
            buffer: &mut [],
            filled: 0,
        }
    }

    /// Stores as much of `payload` as there is space for. The rest, and everything after it, goes
    /// to `plain`.
    fn push(&mut self, payload: &[u8], plain: &mut Vec<u8>) {
        let rest = self.buffer.get_mut(self.filled..).unwrap_or_default();
        let fits = if plain.is_empty() { rest.len() } else { 0 };
        let (now, later) = payload.split_at(fits.min(payload.len()));
        if let Some(to) = rest.get_mut(..now.len()) {
            to.copy_from_slice(now);
        }
        self.filled += now.len();
        plain.extend_from_slice(later);
    }

    fn is_filled(&self) -> bool {
        !self.buffer.is_empty() && self.filled == self.buffer.len()
    }
}

/// Received bytes that rustls has not consumed.
#[derive(Debug)]
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Incoming {
    fn new(room: usize) -> Self {
        Self {
            bytes: vec![0; room],
            start: 0,
            end: 0,
        }
    }

    fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn discard(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Receives as much as there is space for. Returns 0 at the end of the connection.
    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        if self.bytes.len() - self.end < RECORD {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < RECORD {
            if self.bytes.len() >= MAX_ROOM {
                let what = "a TLS message too long to be one";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        let count = socket.read(self.bytes.get_mut(self.end..).unwrap_or_default())?;
        self.end += count;
        Ok(count)
    }
}

/// Space for the encrypted form of `bytes`: a header and a tag per record.
fn sealed(bytes: &[u8]) -> usize {
    bytes.len() + (bytes.len() / (16 << 10) + 1) * 64 + MESSAGE
}

/// Lets `write` append to `outgoing`, with `room` bytes of space or as many as it requests.
fn append<E>(
    outgoing: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), rustls::Error>
where
    IoNeeded: From<E>,
{
    let start = outgoing.len();
    let mut room = room;
    loop {
        outgoing.resize(start + room, 0);
        match write(outgoing.get_mut(start..).unwrap_or_default()).map_err(IoNeeded::from) {
            Ok(count) => {
                outgoing.truncate(start + count);
                return Ok(());
            }
            Err(IoNeeded(Some(needed))) if needed > room => room = needed,
            Err(IoNeeded(_)) => {
                outgoing.truncate(start);
                return Err(rustls::Error::EncryptError);
            }
        }
    }
}

/// The required space, if lack of space is the error.
struct IoNeeded(Option<usize>);

impl From<EncodeError> for IoNeeded {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self(Some(size.required_size)),
            EncodeError::AlreadyEncoded => Self(None),
        }
    }
}

impl From<EncryptError> for IoNeeded {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self(Some(size.required_size)),
            EncryptError::EncryptExhausted => Self(None),
        }
    }
}

/// Converts a failure after the handshake to an I/O error: data of the connection can no longer be
/// trusted.
fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
