//! Transfers: RETR, STOR, APPE, each after REST where it begins in the middle (RFC 959 §4.1.3,
//! RFC 3659 §5).
//!
//! Data is read to its end and the data connection closed before the completion reply is awaited:
//! ProFTPD sends its 226 only then. Only that reply says that all of it arrived.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::control::{shown, socket_error};
use super::data::{Pending, open};
use super::error::{Error, Phase};
use super::path::RemotePath;
use super::reply::{Reply, ReplyClass};
use super::session::{Failed, Session};

/// How long the end of a given-up transfer is waited for before ABOR is sent, and then again.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// Most replies that may still come of a transfer before NOOP is answered, with that answer.
const MOST_REPLIES_BEFORE_NOOPS: usize = 3;
/// How long a server that hung up on an upload has to say why.
const REASON_PATIENCE: Duration = Duration::from_secs(2);
/// Time enough to take a reply that has arrived.
const SAID_ALREADY: Duration = Duration::from_millis(10);
/// How often the last bytes of an upload, handed to the kernel already, are looked after: first, and at the longest.
const LOOKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// A file of at most so many bytes is sent with its STOR: a socket takes them without anybody reading.
const EARLY: u64 = 64 << 10;

/// A RETR under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Download {
    session: Session,
    data: TcpStream,
}

/// A STOR or APPE under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Upload {
    session: Session,
    data: TcpStream,
    verb: &'static str,
    /// Bytes sent with the command.
    sent_early: u64,
    /// The server ended the transfer before we did, and said this.
    ended: Option<Reply>,
}

/// Ends another thread's wait on a transfer at once, by shutting its sockets down.
#[derive(Debug)]
pub struct Interrupter {
    sockets: [TcpStream; 2],
}

impl Interrupter {
    /// The transfer's reads, writes and waits fail from now on.
    pub fn interrupt(&self) {
        for socket in &self.sockets {
            // It may be closed already, which is what is wanted.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Session {
    /// Starts receiving `path` from `offset` on (RETR, after REST where `offset` is not 0).
    pub fn retrieve(self, path: &RemotePath, offset: u64) -> Result<Download, Box<Failed>> {
        let (session, data) = self.start("RETR", path, offset)?;
        Ok(Download { session, data })
    }

    /// Starts storing `path` from `offset` on (STOR, after REST where `offset` is not 0).
    pub fn store(self, path: &RemotePath, offset: u64) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("STOR", path, offset)?;
        Ok(Upload::new(session, data, "STOR", 0))
    }

    /// Starts storing `path`, which is to have the first `length` bytes of `file` and no more (STOR). Few bytes go with
    /// the command, all of them, where the server is known to bear it and its data connection is open already: then
    /// [`Upload::sent_early`] says `length`. Else none were sent.
    pub fn store_whole(
        mut self,
        path: &RemotePath,
        file: &File,
        length: u64,
    ) -> Result<Upload, Box<Failed>> {
        if length > EARLY || !self.habits.takes_data_early {
            return self.store(path, 0);
        }
        match self.begin_early(path, file, length) {
            Ok(Some(data)) => Ok(Upload::new(self, data, "STOR", length)),
            Ok(None) => self.store(path, 0),
            Err(error) => Err(Failed::new(error, self)),
        }
    }

    /// Sends STOR and the whole of its data, then takes the 1yz; none where there is no data connection for it yet.
    fn begin_early(
        &mut self,
        path: &RemotePath,
        file: &File,
        length: u64,
    ) -> Result<Option<TcpStream>, Error> {
        let line = self.line(b"STOR ", path, b"")?;
        let Some(armed) = self.take_armed()? else {
            return Ok(None);
        };
        self.ahead.used_up();
        let data = self.accept(Pending::Connected(armed))?;
        log::debug!("> {}", shown(&line));
        self.control.send(&line)?;
        let sent = send_file(&data, file, 0, length);
        // The end of the data; where the server hung up, its reply says why.
        let _ = data.shutdown(Shutdown::Write);
        let reply = self.answer("STOR");
        let reply = self.note_armed(reply)?;
        if reply.code().class() != ReplyClass::Preliminary {
            let command = "STOR";
            return Err(Error::Refused { command, reply });
        }
        if sent.is_err() {
            // What there is of it is no whole file, and its completion is still to come.
            self.control.give_up();
        }
        sent.map(|()| Some(data))
    }

    /// Starts storing at the end of `path` (APPE).
    pub fn append(self, path: &RemotePath) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("APPE", path, 0)?;
        Ok(Upload::new(session, data, "APPE", 0))
    }

    fn start(
        mut self,
        verb: &'static str,
        path: &RemotePath,
        offset: u64,
    ) -> Result<(Self, TcpStream), Box<Failed>> {
        let begun = self.line(format!("{verb} ").as_bytes(), path, b"");
        match begun.and_then(|line| self.begin(verb, &line, offset)) {
            Ok(data) => Ok((self, data)),
            Err(error) => Err(Failed::new(error, self)),
        }
    }

    /// Opens a data connection, sends `line` over the control connection and takes the 1yz.
    fn begin(&mut self, verb: &'static str, line: &[u8], offset: u64) -> Result<TcpStream, Error> {
        let (pending, reply) = self.ask_for_transfer(verb, line, offset)?;
        if reply.code().class() != ReplyClass::Preliminary {
            // A completion without a transfer: nothing was sent, nothing more will come.
            return Err(Error::Refused {
                command: verb,
                reply,
            });
        }
        self.accept(pending)
    }

    /// Agrees on a data connection, sends `line` over the control connection and takes its reply:
    /// with a 1yz, the data connection is to be [accepted](Self::accept).
    pub(super) fn ask_for_transfer(
        &mut self,
        verb: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<(Pending, Reply), Error> {
        if let Some(armed) = self.take_armed()? {
            self.ahead.used_up();
            let reply = self.command_transfer(verb, line, offset);
            match self.note_armed(reply) {
                // Of a STOR that was refused so vsftpd has made the file: to go on is its caller's decision.
                Err(error)
                    if has_no_data_connection(&error) && !matches!(verb, "STOR" | "APPE") => {}
                reply => return Ok((Pending::Connected(armed), reply?)),
            }
        }
        let pending = open(&mut self.control, &mut self.data)?;
        self.ahead.used_up();
        let reply = self.command_transfer(verb, line, offset)?;
        Ok((pending, reply))
    }

    /// The transfer's command, after REST where it begins in the middle, and its reply.
    fn command_transfer(
        &mut self,
        verb: &'static str,
        line: &[u8],
        offset: u64,
    ) -> Result<Reply, Error> {
        if offset == 0 {
            return self.exchange(verb, line);
        }
        // REST holds for the very next command (RFC 3659 §5.3), so it follows EPSV.
        let rest = format!("REST {offset}");
        // A STOR whose REST was refused would cut the file short.
        if verb != "RETR" || !self.habits.queues {
            let asked = self.exchange("REST", rest.as_bytes());
            self.intermediate("REST", asked)?;
            return self.exchange(verb, line);
        }
        log::debug!("> {rest}");
        log::debug!("> {}", shown(line));
        self.control.send_together(&[rest.as_bytes(), line])?;
        let asked = self.answer("REST");
        let begun = self.intermediate("REST", asked);
        if !self.control.is_usable() {
            return begun.and_then(|()| self.answer(verb));
        }
        let reply = self.answer(verb);
        if let Err(refused) = begun {
            // It would begin at the start: its data connection is closed by whoever asked.
            if reply.is_ok_and(|reply| reply.code().class() == ReplyClass::Preliminary) {
                self.control.give_up();
            }
            return Err(refused);
        }
        reply
    }

    /// Notes whether the server still knew the data connection that was opened ahead of this answer.
    fn note_armed(&mut self, reply: Result<Reply, Error>) -> Result<Reply, Error> {
        match &reply {
            Err(error) if has_no_data_connection(error) => {
                log::debug!("a data connection opened ahead was forgotten: {error}");
                self.ahead.was_dead();
            }
            _ => self.ahead.was_alive(),
        }
        reply
    }

    /// The data connection of a transfer that has begun.
    pub(super) fn accept(&mut self, pending: Pending) -> Result<TcpStream, Error> {
        let accepted = pending.accept(self.peer, &self.data);
        if accepted.is_err() {
            // The transfer's reply is still to come, some time.
            self.control.give_up();
        }
        accepted
    }

    /// Takes the reply that ends a transfer, its data connection being closed.
    pub(super) fn complete(
        &mut self,
        verb: &'static str,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.control.reply_within(Phase::Reply, patience)?;
        self.judge(verb, reply)
    }

    /// What the reply that ends a transfer says.
    fn judge(&mut self, verb: &'static str, reply: Reply) -> Result<Reply, Error> {
        match reply.code().class() {
            ReplyClass::Completion => Ok(reply),
            ReplyClass::Transient | ReplyClass::Permanent => Err(Error::Refused {
                command: verb,
                reply,
            }),
            ReplyClass::Preliminary | ReplyClass::Intermediate => {
                self.control.give_up();
                let line = reply.to_string();
                Err(Error::Malformed {
                    expected: "the end of a transfer",
                    line,
                })
            }
        }
    }

    /// Brings the session back in step after the data connection was closed early: each transfer
    /// has one completion reply, whatever it says. False when the session is of no use any more.
    pub(super) fn resynchronise(&mut self) -> bool {
        let in_step = match self.control.wait_for_reply(ABORT_PATIENCE) {
            Some(Ok(reply)) if reply.code().class() == ReplyClass::Preliminary => {
                self.passes_noop()
            }
            Some(Ok(_)) => true,
            Some(Err(_)) => false,
            // The server has not noticed that its data goes nowhere. One reply ends the transfer,
            // the other answers ABOR (RFC 959 §4.1.3).
            None => {
                self.control.send(b"ABOR").is_ok()
                    && self.end_of_transfer()
                    && self.end_of_transfer()
            }
        };
        if !in_step {
            self.control.give_up();
        }
        self.control.is_usable()
    }

    /// Pure-FTPd ends a broken download with one more 150 and says nothing after it; another server
    /// might mean it. NOOP's 200 is no transfer's reply, so all is said when it comes.
    fn passes_noop(&mut self) -> bool {
        if self.control.send(b"NOOP").is_err() {
            return false;
        }
        for _ in 0..MOST_REPLIES_BEFORE_NOOPS {
            match self.control.wait_for_reply(ABORT_PATIENCE) {
                Some(Ok(reply)) if reply.code().0 == 200 => return true,
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
        false
    }

    /// Waits until the server's end has acknowledged all data, for as long as some is acknowledged within the
    /// timeout; the transfer's reply, should it come first.
    fn drain(&mut self, data: &TcpStream) -> Result<Option<Reply>, Error> {
        let (mut left, mut moved) = (usize::MAX, Instant::now());
        let [mut pause, longest] = LOOKS;
        loop {
            // A socket that does not tell is asked for no more.
            let now = crate::sys::unacknowledged(data).unwrap_or(0);
            if now == 0 {
                return Ok(None);
            }
            if now < left {
                (left, moved) = (now, Instant::now());
            }
            if moved.elapsed() >= self.data.timeout {
                self.control.give_up();
                return Err(Error::Timeout(Phase::DataWrite));
            }
            if let Some(reply) = self.control.wait_for_reply(pause) {
                return reply.map(Some);
            }
            pause = (pause * 2).min(longest);
        }
    }

    fn end_of_transfer(&mut self) -> bool {
        match self.control.wait_for_reply(ABORT_PATIENCE) {
            Some(Ok(reply)) => reply.code().class() != ReplyClass::Preliminary,
            Some(Err(_)) | None => false,
        }
    }

    fn interrupter(&self, data: &TcpStream) -> std::io::Result<Interrupter> {
        Ok(Interrupter {
            sockets: [data.try_clone()?, self.control.try_clone()?],
        })
    }
}

/// Sends `length` bytes of `file` from `offset` on; what the socket says is [`Error::Io`].
fn send_file(data: &TcpStream, file: &File, offset: u64, length: u64) -> Result<(), Error> {
    let mut sent = 0;
    while sent < length {
        match crate::sys::send_file(data, file, offset + sent, length - sent) {
            Ok(0) => return Err(Error::LocalFile(std::io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => sent += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => {
                let phase = Phase::DataWrite;
                return Err(Error::Io { phase, source });
            }
        }
    }
    Ok(())
}

/// Whether a transfer was refused before it began for want of a data connection: it can be asked for again.
fn has_no_data_connection(error: &Error) -> bool {
    error
        .reply()
        .is_some_and(|reply| matches!(reply.code().0, 425 | 426))
}

impl Download {
    /// Some bytes into `buffer`; 0 at the end of the data, which [`Download::finish`] must confirm.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.data.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(socket_error(Phase::DataRead, error)),
                Ok(count) => return Ok(count),
            }
        }
    }

    /// After the end of the data: closes the data connection, then takes the completion reply.
    /// A refusal there means that the data is not whole, however much came.
    pub fn finish(self) -> Result<Session, Box<Failed>> {
        let Self { mut session, data } = self;
        drop(data);
        match session.complete("RETR", session.data.timeout) {
            Ok(_) => Ok(session),
            Err(error) => Err(Failed::new(error, session)),
        }
    }

    /// Before the end of the data: ends the transfer and brings the session back in step; none when in doubt.
    pub fn abort(self) -> Option<Session> {
        let Self { mut session, data } = self;
        drop(data);
        session.resynchronise().then_some(session)
    }

    /// Ends a `read` that another thread waits in.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.interrupter(&self.data)
    }
}

impl Upload {
    fn new(session: Session, data: TcpStream, verb: &'static str, sent_early: u64) -> Self {
        Self {
            session,
            data,
            verb,
            sent_early,
            ended: None,
        }
    }

    /// Bytes that went with the command: all there are to be, or none.
    pub fn sent_early(&self) -> u64 {
        self.sent_early
    }

    /// Sends these bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.data
            .write_all(bytes)
            .map_err(|error| self.hung_up(error))
    }

    /// Sends `length` bytes of `file` from `offset` on: from the page cache to the socket, where
    /// the kernel can (sendfile). A file that ends before is [`Error::LocalFile`].
    pub fn send_file(&mut self, file: &File, offset: u64, length: u64) -> Result<(), Error> {
        match send_file(&self.data, file, offset, length) {
            Err(Error::Io { source, .. }) => Err(self.hung_up(source)),
            sent => sent,
        }
    }

    /// Ends the data and takes the 226 or 250: only then is it stored.
    pub fn finish(self) -> Result<(Session, Reply), Box<Failed>> {
        let Self {
            mut session,
            data,
            verb,
            ended,
            ..
        } = self;
        if let Some(reply) = ended {
            return Err(Failed::new(
                Error::Refused {
                    command: verb,
                    reply,
                },
                session,
            ));
        }
        // The end of the data; it may be refused only because the server hung up, and says why next.
        let _ = data.shutdown(Shutdown::Write);
        let early = session.drain(&data);
        drop(data);
        let patience = session.data.timeout;
        let reply = match early {
            Ok(Some(reply)) => session.judge(verb, reply),
            Ok(None) => session.complete(verb, patience),
            Err(error) => Err(error),
        };
        match reply {
            Ok(reply) => {
                // What is asked about the file next goes with it.
                session.arm();
                Ok((session, reply))
            }
            Err(error) => Err(Failed::new(error, session)),
        }
    }

    /// Gives the upload up; what the server keeps of it is unknown.
    pub fn abort(self) -> Option<Session> {
        let Self {
            mut session,
            data,
            ended,
            ..
        } = self;
        drop(data);
        let in_step = ended.is_some() || session.resynchronise();
        (in_step && session.is_usable()).then_some(session)
    }

    /// Ends a write that another thread waits in.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.interrupter(&self.data)
    }

    /// A broken data connection's reason, which the server gives on the control connection: 552 for a full disk.
    fn hung_up(&mut self, error: std::io::Error) -> Error {
        let patience = match error.kind() {
            std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => REASON_PATIENCE,
            // It stopped reading a whole timeout ago: what it had to say is here.
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => SAID_ALREADY,
            _ => return socket_error(Phase::DataWrite, error),
        };
        match self.session.control.wait_for_reply(patience) {
            Some(Ok(reply)) => {
                self.ended = Some(reply.clone());
                Error::Refused {
                    command: self.verb,
                    reply,
                }
            }
            Some(Err(error)) => error,
            None => socket_error(Phase::DataWrite, error),
        }
    }
}
