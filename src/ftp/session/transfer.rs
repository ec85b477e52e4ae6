//! Transfers: RETR, STOR, APPE, each after REST where it begins in the middle (RFC 959 §4.1.3,
//! RFC 3659 §5).
//!
//! Data is read to its end and the data connection closed before the completion reply is awaited:
//! ProFTPD sends its 226 only then. Only that reply says that all of it arrived.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::restart_marker::RestartMarker;
use super::start::send_file;
use super::{Failed, Session};
use crate::ftp::control::socket_error;
use crate::ftp::error::{Error, Phase};
use crate::ftp::path::RemotePath;
use crate::ftp::profile::Capability;
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::stream::MaybeTlsStream;

/// How long the end of a given-up transfer is waited for before ABOR is sent, and then again.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// Most replies that may still come of a transfer before NOOP is answered, with that answer.
const MOST_REPLIES_BEFORE_NOOPS: usize = 3;
/// How long a server that hung up on an upload has to say why.
const REASON_PATIENCE: Duration = Duration::from_secs(2);
/// Time enough to take a reply that has arrived.
const SAID_ALREADY: Duration = Duration::from_millis(10);
/// How often the last bytes of an upload, handed to the kernel already, are looked after: first,
/// and at the longest.
const LOOKS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];

/// A file of at most so many bytes is sent with its STOR: a socket takes them without anybody
/// reading.
const EARLY: u64 = 64 << 10;

/// A RETR under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Download {
    session: Session,
    data: MaybeTlsStream,
    /// The data ended without TLS's word that it was all.
    cut_off: bool,
}

/// A STOR or APPE under way; it owns its session. Dropped, it closes both connections.
#[derive(Debug)]
pub struct Upload {
    session: Session,
    data: MaybeTlsStream,
    /// What of a file is on its way into TLS.
    piece: Vec<u8>,
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
        self.retrieve_marked(path, &RestartMarker::at(offset))
    }

    /// Starts receiving the bytes of `path` in `range`, which is not empty (RANG, RETR): the
    /// transfer ends by itself where they end. For servers whose FEAT has RANG.
    pub fn retrieve_within(
        self,
        path: &RemotePath,
        range: Range<u64>,
    ) -> Result<Download, Box<Failed>> {
        self.retrieve_marked(path, &RestartMarker::Within(range))
    }

    fn retrieve_marked(
        self,
        path: &RemotePath,
        mark: &RestartMarker,
    ) -> Result<Download, Box<Failed>> {
        let (session, data) = self.start("RETR", path, mark)?;
        Ok(Download {
            session,
            data,
            cut_off: false,
        })
    }

    /// Starts storing `path` from `offset` on (STOR, after REST where `offset` is not 0).
    pub fn store(self, path: &RemotePath, offset: u64) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("STOR", path, &RestartMarker::at(offset))?;
        Ok(Upload::new(session, data, "STOR", 0))
    }

    /// Starts storing `path`, which is to have the first `length` bytes of `file` and no more
    /// (STOR). Few bytes go with the command, all of them, where the server is known to bear it and
    /// its data connection is open already: then [`Upload::sent_early`] says `length`. Else none
    /// were sent. With `look`, a question about the file goes along where it can, so that
    /// [`Session::mlst`] or [`Session::size_and_modified`] as the first thing after it costs no
    /// round trip.
    pub fn store_whole(
        mut self,
        path: &RemotePath,
        file: &File,
        length: u64,
        look: bool,
    ) -> Result<Upload, Box<Failed>> {
        // TLS shakes hands first, which takes the server's word.
        if length > EARLY || !self.profile.has(Capability::EarlyUpload) || self.tls.is_some() {
            return self.store(path, 0);
        }
        match self.begin_early(path, file, length, look) {
            Ok(Some(data)) => Ok(Upload::new(self, data, "STOR", length)),
            Ok(None) => self.store(path, 0),
            Err(error) => Err(Failed::new(error, self)),
        }
    }

    /// Starts storing at the end of `path` (APPE).
    pub fn append(self, path: &RemotePath) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("APPE", path, &RestartMarker::None)?;
        Ok(Upload::new(session, data, "APPE", 0))
    }

    /// Takes the reply that ends a transfer, its data connection being closed.
    pub(in crate::ftp) fn complete(
        &mut self,
        verb: &'static str,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.control.reply_within(Phase::Reply, patience)?;
        self.check_completion(verb, reply)
    }

    /// What the reply that ends a transfer says.
    fn check_completion(&mut self, verb: &'static str, reply: Reply) -> Result<Reply, Error> {
        if self.is_skipped_by(&reply) {
            log::warn!("the server did not say how {verb} ended, and went on with {reply}");
            self.control.give_up();
            return Err(Error::Closed(Phase::Reply));
        }
        self.transfer_ended();
        match reply.code().class() {
            ReplyClass::Completion => {
                self.stale_marker = None;
                Ok(reply)
            }
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
    pub(in crate::ftp) fn resynchronise(&mut self) -> bool {
        if self.has_sent_behind() {
            self.control.give_up();
            return false;
        }
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
        if in_step {
            self.control.resynchronised();
        } else {
            self.control.give_up();
        }
        self.control.is_usable()
    }

    /// Pure-FTPd ends a broken download with one more 150 and says nothing after it; another server
    /// might mean it. The reply to NOOP, 200 or a refusal as unknown, is no transfer's: all is said
    /// when it comes.
    fn passes_noop(&mut self) -> bool {
        if self.control.send(b"NOOP").is_err() {
            return false;
        }
        for _ in 0..MOST_REPLIES_BEFORE_NOOPS {
            match self.control.wait_for_reply(ABORT_PATIENCE) {
                Some(Ok(reply)) if reply.code().0 == 200 || reply.code().means_unsupported() => {
                    return true;
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return false,
            }
        }
        false
    }

    /// Waits until the server's end has acknowledged all data, for as long as some is acknowledged
    /// within the timeout; the transfer's reply, should it come first.
    fn drain(&mut self, data: &MaybeTlsStream) -> Result<Option<Reply>, Error> {
        let (mut left, mut moved) = (usize::MAX, Instant::now());
        let [mut pause, longest] = LOOKS;
        loop {
            // A socket that does not tell is asked for no more.
            let now = crate::sys::unacknowledged(data.socket()).unwrap_or(0);
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

    /// After an upload: takes what the server still says on the data connection (tickets, its
    /// close_notify) until it closes it. A socket closed with that unread would be reset, and
    /// vsftpd takes a reset for a broken upload. The transfer's reply, should it come first, is
    /// enough, too.
    fn listen_to_the_end(&mut self, data: &mut MaybeTlsStream) -> Option<Result<Reply, Error>> {
        let MaybeTlsStream::Tls(stream) = data else {
            return None;
        };
        let deadline = Instant::now() + REASON_PATIENCE;
        let [mut pause, longest] = LOOKS;
        while Instant::now() < deadline && !stream.has_ended() {
            if let Some(reply) = self.control.wait_for_reply(pause) {
                return Some(reply);
            }
            pause = (pause * 2).min(longest);
        }
        None
    }

    fn end_of_transfer(&mut self) -> bool {
        match self.control.wait_for_reply(ABORT_PATIENCE) {
            Some(Ok(reply)) => reply.code().class() != ReplyClass::Preliminary,
            Some(Err(_)) | None => false,
        }
    }

    fn interrupter(&self, data: &MaybeTlsStream) -> std::io::Result<Interrupter> {
        Ok(Interrupter {
            sockets: [data.socket().try_clone()?, self.control.try_clone()?],
        })
    }
}

impl Download {
    /// Some bytes into `buffer`; 0 at the end of the data, which [`Download::finish`] must confirm.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.data.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.cut_off = true;
                    return Ok(0);
                }
                Err(error) => return Err(socket_error(Phase::DataRead, error)),
                Ok(count) => return Ok(count),
            }
        }
    }

    /// After the end of the data: closes the data connection, then takes the completion reply.
    /// A refusal there means that the data is not whole, however much came.
    ///
    /// # Errors
    /// [`Error::NoCloseNotify`] where all else is well but TLS did not tell the end: the data is whole
    /// where its size is known otherwise, and right.
    pub fn finish(self) -> Result<Session, Box<Failed>> {
        let Self {
            mut session,
            mut data,
            cut_off,
        } = self;
        // Some servers wait for this side's word that it has seen the end; one that hung up does
        // not.
        let _ = data.end();
        drop(data);
        session.prepare_behind();
        match session.complete("RETR", session.data.timeout) {
            Ok(_) if cut_off => Err(Failed::new(Error::NoCloseNotify, session)),
            Ok(_) => Ok(session),
            Err(error) => Err(Failed::new(error, session)),
        }
    }

    /// Before the end of the data: ends the transfer and brings the session back in step; none when
    /// in doubt.
    pub fn abort(self) -> Option<Session> {
        let Self {
            mut session, data, ..
        } = self;
        drop(data);
        session.resynchronise().then_some(session)
    }

    /// Ends a `read` that another thread waits in.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.interrupter(&self.data)
    }

    /// How long a packet takes to the server and back, as the kernel saw it on the data connection.
    pub fn round_trip(&self) -> Option<Duration> {
        crate::sys::round_trip(self.data.socket()).ok()
    }
}

impl Upload {
    fn new(session: Session, data: MaybeTlsStream, verb: &'static str, sent_early: u64) -> Self {
        Self {
            session,
            data,
            verb,
            sent_early,
            piece: Vec::new(),
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
        send_file(&mut self.data, file, offset, length, &mut self.piece)?
            .map_err(|error| self.hung_up(error))
    }

    /// Ends the data and takes the 226 or 250: only then is it stored.
    pub fn finish(self) -> Result<(Session, Reply), Box<Failed>> {
        let Self {
            mut session,
            mut data,
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
        // The end of the data; it may be refused only because the server hung up, and says why
        // next.
        let _ = data.end();
        let early = match session.drain(&data) {
            Ok(None) => session.listen_to_the_end(&mut data).transpose(),
            early => early,
        };
        data.take_tickets();
        drop(data);
        if let Some(tls) = &session.tls {
            tls.check_tickets_after_upload();
        }
        let patience = session.data.completion_timeout;
        let reply = match early {
            Ok(Some(reply)) => session.check_completion(verb, reply),
            Ok(None) => session.complete(verb, patience),
            Err(error) => Err(error),
        };
        match reply {
            Ok(reply) => {
                // What is asked about the file next goes with it.
                session.prepare_data();
                Ok((session, reply))
            }
            Err(error) => Err(Failed::new(error, session)),
        }
    }

    /// Gives the upload up; what the server keeps of it is unknown.
    pub fn abort(self) -> Option<Session> {
        let Self {
            mut session,
            mut data,
            ended,
            ..
        } = self;
        data.take_tickets();
        drop(data);
        let in_step = ended.is_some() || session.resynchronise();
        (in_step && session.is_usable()).then_some(session)
    }

    /// Ends a write that another thread waits in.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.interrupter(&self.data)
    }

    /// A broken data connection's reason, which the server gives on the control connection: 552 for
    /// a full disk.
    fn hung_up(&mut self, error: std::io::Error) -> Error {
        let patience = match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => REASON_PATIENCE,
            // It stopped reading a whole timeout ago: what it had to say is here.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => SAID_ALREADY,
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
