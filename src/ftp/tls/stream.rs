//! A TLS connection over a TCP socket: records in, records out (RFC 8446, RFC 5246).
//!
//! rustls does the protocol on buffers that are kept here, so that a system call moves many records
//! and data is decrypted into its reader's buffer with one copy in between.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustls::HandshakeKind;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::{Certificate, HandshakeError};

/// Received bytes a control connection has room for, until a handshake needs more.
pub(super) const CONTROL_ROOM: usize = 24 << 10;
/// Received bytes a data connection has room for: many records in one system call.
pub(super) const DATA_ROOM: usize = 256 << 10;
/// Most bytes received and not understood: more than the longest handshake message.
const MOST_ROOM: usize = 256 << 10;
/// Less room than this is not worth a system call: a whole record (RFC 8446 §5.2).
const RECORD: usize = (16 << 10) + 256 + 5;
/// Data that is encrypted at a time.
const PIECE: usize = 256 << 10;
/// Most reads of what an upload's server says for itself.
const MOST_ROUNDS: usize = 64;
/// What a handshake message or an alert needs; a longer one says so.
const MESSAGE: usize = 4 << 10;

/// A TLS connection, client's side.
pub(in crate::ftp) struct TlsStream {
    socket: TcpStream,
    connection: UnbufferedClientConnection,
    incoming: Incoming,
    /// Encrypted and not yet sent.
    outgoing: Vec<u8>,
    /// Decrypted, and `taken` bytes of it taken.
    plain: Vec<u8>,
    taken: usize,
    /// The server's close_notify came.
    ended: bool,
    /// What broke it: rustls must not look at a connection again that it has given up.
    broken: Option<rustls::Error>,
}

/// Where data goes that is decrypted.
struct Sink<'a> {
    buffer: &'a mut [u8],
    filled: usize,
}

/// What is wanted of rustls beyond looking through the records.
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
    /// Data may be sent; what was wanted is done.
    Open,
    /// The reader's buffer is full.
    Full,
    /// Both sides said close_notify.
    Closed,
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TlsStream").field(&self.socket).finish()
    }
}

impl TlsStream {
    /// A connection whose handshake has not begun, with `room` for received bytes.
    pub(super) fn new(
        socket: TcpStream,
        connection: UnbufferedClientConnection,
        room: usize,
    ) -> Self {
        Self {
            socket,
            connection,
            incoming: Incoming::new(room),
            outgoing: Vec::new(),
            plain: Vec::new(),
            taken: 0,
            ended: false,
            broken: None,
        }
    }

    /// The TCP socket below.
    pub(in crate::ftp) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Sends the client's hello, without waiting for anything.
    ///
    /// # Errors
    /// The socket's.
    pub(in crate::ftp) fn hello(&mut self) -> io::Result<()> {
        let (_, flushed) = (
            self.drive(Want::Nothing, &mut Sink::none()),
            self.flush_out(),
        );
        flushed
    }

    /// Goes on with the handshake by what has come, of which there is some or the end; whether that
    /// ends it, well or not.
    pub(in crate::ftp) fn continue_handshake(&mut self) -> bool {
        match self.incoming.fill(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
            // What is wrong shows again when the connection is used.
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        let stand = self.drive(Want::Nothing, &mut Sink::none());
        let flushed = self.flush_out();
        flushed.is_err() || !matches!(stand, Ok(Stand::Handshake))
    }

    /// Shakes hands, before `deadline`.
    ///
    /// # Errors
    /// What the server or its certificate lacks; the socket's, a `TimedOut` among them.
    pub(in crate::ftp) fn handshake(&mut self, deadline: Instant) -> Result<(), HandshakeError> {
        loop {
            let stand = self.drive(Want::Nothing, &mut Sink::none());
            let flushed = self.flush_out();
            if stand? != Stand::Handshake {
                return Ok(());
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

    /// Tells the server that this side has sent all it had.
    ///
    /// # Errors
    /// The socket's.
    pub(in crate::ftp) fn close_notify(&mut self) -> io::Result<()> {
        self.drive(Want::CloseNotify, &mut Sink::none())
            .map_err(broken)?;
        self.flush_out()
    }

    /// Takes what has come, without waiting; whether the server has closed the connection, or it
    /// broke.
    pub(in crate::ftp) fn has_ended(&mut self) -> bool {
        if self.ended || self.socket.set_nonblocking(true).is_err() {
            return true;
        }
        let mut unwanted = [0; 1024];
        let mut rounds = 0..MOST_ROUNDS;
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

    /// Whether the session is one resumed.
    pub(in crate::ftp) fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The protocol's version, as people write it.
    pub(super) fn version(&self) -> String {
        match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3".to_owned(),
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2".to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// The cipher suite's name.
    pub(super) fn cipher(&self) -> String {
        let suite = self.connection.negotiated_cipher_suite();
        suite.map_or_else(String::new, |suite| format!("{:?}", suite.suite()))
    }

    /// The server's certificate, and those it sent along.
    pub(super) fn certificates(&self) -> Vec<Certificate> {
        let chain = self.connection.peer_certificates().unwrap_or_default();
        chain.iter().map(|it| Certificate::read(it)).collect()
    }

    /// [Looks](Self::look_through) through what was received, unless it broke before; when it
    /// breaks, the alert that tells the server why is put into `outgoing`.
    fn drive(&mut self, want: Want<'_>, sink: &mut Sink<'_>) -> Result<Stand, rustls::Error> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let looked = self.look_through(want, sink);
        if let Err(error) = &looked {
            self.broken = Some(error.clone());
            if let Ok(ConnectionState::EncodeTlsData(mut alert)) =
                self.connection.process_tls_records(&mut []).state
            {
                append(&mut self.outgoing, MESSAGE, |room| alert.encode(room))?;
            }
        }
        looked
    }

    /// Has rustls look through what was received, and do what is `want`ed. Data goes to `sink` and,
    /// where that has no room, to `plain`; messages to send are put into `outgoing`.
    fn look_through(
        &mut self,
        want: Want<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<Stand, rustls::Error> {
        loop {
            let UnbufferedStatus { discard, state } =
                self.connection.process_tls_records(self.incoming.unread());
            let outgoing = &mut self.outgoing;
            let stand = match state {
                Err(error) => Err(error),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        sink.give(record?.payload, &mut self.plain);
                    }
                    Ok(sink.is_filled().then_some(Stand::Full))
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    append(outgoing, MESSAGE, |room| message.encode(room)).map(|()| None)
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => {
                    // It is in `outgoing`, which keeps the order.
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
        let sent = (&self.socket).write_all(&self.outgoing);
        self.outgoing.clear();
        sent
    }

    /// Bytes decrypted before, into `buffer`.
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

    /// What was received already, decrypted into `buffer`.
    fn decrypt(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut sink = Sink { buffer, filled: 0 };
        let driven = self.drive(Want::Nothing, &mut sink);
        let count = sink.filled;
        let flushed = self.flush_out();
        if count > 0 {
            // What is wrong will be so again at the next read.
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
    /// For what is not read now.
    fn none() -> Self {
        Sink {
            buffer: &mut [],
            filled: 0,
        }
    }

    /// As much of `payload` as there is room for; the rest, and all that follows it, goes behind
    /// `plain`.
    fn give(&mut self, payload: &[u8], plain: &mut Vec<u8>) {
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

/// Received bytes that rustls has not used up.
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

    /// Receives what there is room for; 0 at the connection's end.
    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<usize> {
        if self.bytes.len() - self.end < RECORD {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < RECORD {
            if self.bytes.len() >= MOST_ROOM {
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

/// Room for `bytes` once they are encrypted: a header and a tag for each record.
fn sealed(bytes: &[u8]) -> usize {
    bytes.len() + (bytes.len() / (16 << 10) + 1) * 64 + MESSAGE
}

/// Has `write` write behind `outgoing`, into `room` bytes or as many as it says it needs.
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

/// How much room would have been enough, where room was what was missing.
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

/// An error in the middle of a connection: what it carries cannot be trusted any more, as if the
/// socket had failed.
fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
