//! The control connection: lines out, replies in, each wait with a deadline (RFC 959 §4, §5.3).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::error::{Error, Phase};
use super::reply::{Reply, first_line, inner_line, last_line};
use super::tls::{self, Connector, Security};
use super::wire::Wire;

/// Longest line of a reply.
const MAX_LINE: usize = 8 * 1024;
/// Most lines of a reply that is kept.
const MAX_LINES: usize = 2_000;
/// Most bytes of a reply that is kept.
const MAX_BYTES: usize = 256 * 1024;
/// Most bytes read at a time.
const CHUNK: usize = 16 * 1024;
/// Most TLS records without data that an idle connection may have received: tickets, a few at a time.
const MOST_WORDLESS: usize = 16;

/// A control connection.
#[derive(Debug)]
pub(super) struct Control {
    stream: Wire,
    timeout: Duration,
    /// Bytes received and not yet taken as lines.
    unread: Vec<u8>,
    usable: bool,
    /// Commands are answered; before that, replies are about the session.
    logged_in: bool,
}

impl Control {
    /// Speaks over `stream`; a reply may take `timeout`.
    pub(super) fn new(stream: TcpStream, timeout: Duration) -> Result<Self, Error> {
        let io = |source| Error::Io {
            phase: Phase::Connect,
            source,
        };
        stream.set_write_timeout(Some(timeout)).map_err(io)?;
        Ok(Self {
            stream: Wire::Clear(stream),
            timeout,
            unread: Vec::new(),
            usable: true,
            logged_in: false,
        })
    }

    /// The server's address.
    pub(super) fn peer(&self) -> Result<SocketAddr, Error> {
        self.stream
            .socket()
            .peer_addr()
            .map_err(|source| Error::Io {
                phase: Phase::Connect,
                source,
            })
    }

    /// Our address, as the server sees it where nothing translates it.
    pub(super) fn local(&self) -> Result<SocketAddr, Error> {
        self.stream
            .socket()
            .local_addr()
            .map_err(|source| Error::Io {
                phase: Phase::Connect,
                source,
            })
    }

    /// A second handle on the socket, to shut it down from another thread.
    pub(super) fn try_clone(&self) -> std::io::Result<TcpStream> {
        self.stream.socket().try_clone()
    }

    /// Goes on over TLS, its handshake done within `patience`.
    ///
    /// # Errors
    /// [`Error::Injected`] where bytes came before it; what the server or its certificate lacks; the socket's.
    pub(super) fn secure(
        &mut self,
        connector: &Connector,
        patience: Duration,
    ) -> Result<(), Error> {
        let io = |source| Error::Io {
            phase: Phase::Handshake,
            source,
        };
        if !self.unread.is_empty() {
            return Err(Error::Injected);
        }
        let socket = self.stream.socket().try_clone().map_err(io)?;
        let mut stream = connector.over_control(socket)?;
        let shaken = stream.handshake(Instant::now() + patience);
        self.stream = Wire::Tls(Box::new(stream));
        shaken.map_err(|error| error.told(Phase::Handshake))
    }

    /// What TLS came to, where there is any.
    pub(super) fn security(&self, data_resumed: Option<bool>) -> Option<Security> {
        match &self.stream {
            Wire::Clear(_) => None,
            Wire::Tls(stream) => Some(stream.security(data_resumed)),
        }
    }

    /// The login is done.
    pub(super) fn logged_in(&mut self) {
        self.logged_in = true;
    }

    /// Whether nothing went wrong that puts client and server out of step.
    pub(super) fn is_usable(&self) -> bool {
        self.usable
    }

    /// The connection is of no use any more.
    pub(super) fn give_up(&mut self) {
        self.usable = false;
    }

    /// Without waiting: whether the connection is open and nothing has come that nobody asked for.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.usable
            || !self.unread.is_empty()
            || self.stream.socket().set_nonblocking(true).is_err()
        {
            return false;
        }
        let received = self.receive_wordless();
        let restored = self.stream.socket().set_nonblocking(false).is_ok();
        restored && matches!(received, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// What there is to receive; what TLS has to say between data (tickets) is none.
    fn receive_wordless(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; CHUNK];
        for _ in 0..MOST_WORDLESS {
            match self.stream.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => {
                    let count = received?;
                    self.unread
                        .extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(count);
                }
            }
        }
        Ok(0)
    }

    /// Sends one command line; `line` has no line end.
    pub(super) fn send(&mut self, line: &[u8]) -> Result<(), Error> {
        self.send_together(&[line])
    }

    /// Sends several command lines in one write; each has its own reply.
    pub(super) fn send_together(&mut self, lines: &[&[u8]]) -> Result<(), Error> {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.len() + 2).sum());
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream
            .write_all(&bytes)
            .map_err(|error| self.broken(Phase::Command, error))
    }

    /// The next reply, whole, within the timeout.
    pub(super) fn reply(&mut self, phase: Phase) -> Result<Reply, Error> {
        self.reply_within(phase, self.timeout)
    }

    /// The next reply, whole, within the timeout and `longer`.
    pub(super) fn reply_after(&mut self, phase: Phase, longer: Duration) -> Result<Reply, Error> {
        self.reply_within(phase, self.timeout.saturating_add(longer))
    }

    /// The next reply, whole, within `patience`.
    pub(super) fn reply_within(
        &mut self,
        phase: Phase,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + patience;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        let mut keep = |line: &[u8]| {
            bytes += line.len();
            if lines.len() >= MAX_LINES {
                return Err(Error::TooLong {
                    what: "lines in a reply",
                    limit: MAX_LINES,
                });
            }
            if bytes > MAX_BYTES {
                return Err(Error::TooLong {
                    what: "bytes in a reply",
                    limit: MAX_BYTES,
                });
            }
            lines.push(line.to_vec());
            Ok(())
        };
        let result = self.each_line(phase, &mut || deadline, &mut keep);
        let code = self.poison(result)?;
        let reply = Reply::new(code, lines);
        log::debug!("< {reply}");
        // 421: the server closes the connection, whatever was asked (RFC 959 §4.2.2).
        self.usable &= code.0 != 421;
        if self.logged_in && reply.is_dying_word() {
            log::info!("the server's session ended by a fault of its own: {reply}");
            self.usable = false;
            return Err(Error::Closed(phase));
        }
        Ok(reply)
    }

    /// The next reply, if one begins within `patience`; none leaves the connection as it was.
    pub(super) fn wait_for_reply(&mut self, patience: Duration) -> Option<Result<Reply, Error>> {
        let (before, deadline) = (self.usable, Instant::now() + patience);
        while self.unread.is_empty() {
            match self.receive(Phase::Reply, deadline) {
                Ok(()) => {}
                Err(Error::Timeout(_)) => {
                    self.usable = before;
                    return None;
                }
                Err(error) => return Some(self.poison(Err(error))),
            }
        }
        // Begun, it has the time of any reply: lines taken cannot be put back.
        Some(self.reply(Phase::Reply))
    }

    /// The next reply, its inner lines told one by one as they come: for listings by STAT, whose
    /// length is the directory's. Each line may take the timeout. First and last line are kept.
    pub(super) fn long_reply(
        &mut self,
        limit: usize,
        tell: &mut dyn FnMut(&[u8]),
    ) -> Result<Reply, Error> {
        let timeout = self.timeout;
        let (mut count, mut bytes) = (0_usize, 0);
        let (mut first, mut last) = (Vec::new(), Vec::new());
        let mut keep = |line: &[u8]| {
            bytes += line.len();
            if bytes > limit {
                return Err(Error::TooLong {
                    what: "bytes in a listing",
                    limit,
                });
            }
            // The line before this one has another after it, so it was no last line.
            if count > 1 {
                tell(&last);
            }
            if count == 0 {
                first = line.to_vec();
            }
            last = line.to_vec();
            count += 1;
            Ok(())
        };
        let result = self.each_line(Phase::Reply, &mut || Instant::now() + timeout, &mut keep);
        let code = self.poison(result)?;
        self.usable &= code.0 != 421;
        let lines = if count > 1 {
            vec![first, last]
        } else {
            vec![first]
        };
        let reply = Reply::new(code, lines);
        log::debug!("< {reply} ({count} lines)");
        Ok(reply)
    }

    fn each_line(
        &mut self,
        phase: Phase,
        deadline: &mut dyn FnMut() -> Instant,
        keep: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<super::ReplyCode, Error> {
        let line = self.line(phase, deadline())?;
        let Some(first) = first_line(&line) else {
            return Err(Error::Malformed {
                expected: "a reply",
                line: shown(&line),
            });
        };
        keep(first.text)?;
        let mut more = first.more;
        while more {
            let line = self.line(phase, deadline())?;
            let text = last_line(&line, first.code);
            more = text.is_none();
            keep(text.unwrap_or_else(|| inner_line(&line, first.code)))?;
        }
        Ok(first.code)
    }

    /// One line, without its end; a bare LF ends one, too.
    fn line(&mut self, phase: Phase, deadline: Instant) -> Result<Vec<u8>, Error> {
        let mut searched = 0;
        loop {
            let rest = self.unread.get(searched..).unwrap_or_default();
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.unread.drain(..=searched + end).collect();
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = self.unread.len();
            if searched > MAX_LINE {
                return Err(Error::TooLong {
                    what: "bytes in a line",
                    limit: MAX_LINE,
                });
            }
            self.receive(phase, deadline)?;
        }
    }

    fn receive(&mut self, phase: Phase, deadline: Instant) -> Result<(), Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Timeout(phase));
        }
        let mut chunk = [0; CHUNK];
        let set = self.stream.socket().set_read_timeout(Some(left));
        match set.and_then(|()| self.stream.read(&mut chunk)) {
            Ok(0) => Err(Error::Closed(phase)),
            Ok(count) => {
                self.unread
                    .extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(Error::Closed(phase))
            }
            Err(error) => Err(self.broken(phase, error)),
        }
    }

    fn broken(&mut self, phase: Phase, error: std::io::Error) -> Error {
        self.usable = false;
        // A server that wants this side's certificate says so only when the handshake is over (RFC 8446 §4.4.2.4).
        let said = error.get_ref().and_then(|error| error.downcast_ref());
        match said {
            Some(alert @ rustls::Error::AlertReceived(_)) if !self.logged_in => tls::told(alert),
            _ => socket_error(phase, error),
        }
    }

    fn poison<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.usable &= result.is_ok();
        result
    }
}

/// A socket's error, told apart from a deadline's end.
pub(super) fn socket_error(phase: Phase, source: std::io::Error) -> Error {
    match source.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Error::Timeout(phase),
        _ => Error::Io { phase, source },
    }
}

/// The beginning of a line that makes no sense, fit for a message.
pub(super) fn shown(line: &[u8]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = super::path::escape(
        line.get(..line.len().min(80)).unwrap_or_default(),
        &mut text,
    );
    text
}
