//! Uploads: STOR and APPE, after REST if they begin at an offset (RFC 959 §4.1.3, RFC 3659 §5),
//! their data, and its end.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::restart_marker::RestartMarker;
use super::start::{SentEarly, send_file};
use super::transfer::Interrupter;
use super::{Failed, Session};
use crate::ftp::error::{Error, Phase, socket_error};
use crate::ftp::path::RemotePath;
use crate::ftp::profile::Capability;
use crate::ftp::reply::Reply;
use crate::ftp::stream::MaybeTlsStream;

/// Time to receive a reply that has already arrived.
const ARRIVED_PATIENCE: Duration = Duration::from_millis(10);
/// Time to wait for the end of an upload whose data connection was reset behind the data: nothing
/// is sent again to a server that lacks some of it.
const RESET_PATIENCE: Duration = Duration::from_secs(5);
/// Time for a server that closed the data connection of an upload to report why.
const REASON_PATIENCE: Duration = Duration::from_secs(2);
/// Interval for checking whether the last bytes of an upload have left the kernel: initial and
/// maximum.
const DRAIN_INTERVALS: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(100)];
/// Maximum size of a file that is sent together with its STOR: a socket buffers this much even if
/// nothing is read.
const MAX_EARLY_UPLOAD: u64 = 64 << 10;

/// A STOR or APPE in progress, which owns its session. Dropping it closes both connections.
#[derive(Debug)]
pub struct Upload {
    session: Session,
    data: MaybeTlsStream,
    /// Buffer for file data to be encrypted.
    piece: Vec<u8>,
    verb: &'static str,
    /// Number of bytes sent together with the command.
    sent_early: u64,
    /// Whether the data connection was reset behind the data.
    is_reset: bool,
    /// The file whose facts to ask for behind the data.
    asked: Option<RemotePath>,
    /// Reply of a server that ended the transfer early.
    ended: Option<Reply>,
}

impl Session {
    /// Starts to upload to `path` from `offset` on (STOR, after REST if `offset` is not 0).
    pub fn store(self, path: &RemotePath, offset: u64) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("STOR", path, &RestartMarker::at(offset))?;
        Ok(Upload::new(session, data, "STOR", 0))
    }

    /// Starts to upload the first `length` bytes of `file` to `path` (STOR). A small file is sent
    /// completely with the command if the server is known to support that and a data connection is
    /// prepared; [`Upload::sent_early`] is then `length`, and otherwise 0. With `ask_facts`, a
    /// question about the file is sent along if possible, so that [`Session::mlst`] or
    /// [`Session::size_and_modified`] right after the upload costs no round trip.
    pub fn store_whole(
        mut self,
        path: &RemotePath,
        file: &File,
        length: u64,
        ask_facts: bool,
    ) -> Result<Upload, Box<Failed>> {
        let asked = ask_facts.then_some(path);
        // With TLS, the handshake comes first and needs the server's reply.
        if length > MAX_EARLY_UPLOAD
            || !self.profile.has(Capability::EarlyUpload)
            || self.tls.is_some()
        {
            return self.store_asking(path, asked);
        }
        match self.begin_early(path, file, length, ask_facts) {
            Ok(Some(SentEarly { data, is_reset })) => Ok(Upload {
                is_reset,
                ..Upload::new(self, data, "STOR", length)
            }),
            Ok(None) => self.store_asking(path, asked),
            Err(error) => Err(Failed::new(error, self)),
        }
    }

    /// Starts to upload to `path` (STOR), and to ask for the facts of `asked` behind the data.
    fn store_asking(
        self,
        path: &RemotePath,
        asked: Option<&RemotePath>,
    ) -> Result<Upload, Box<Failed>> {
        let mut upload = self.store(path, 0)?;
        upload.asked = asked.cloned();
        Ok(upload)
    }

    /// Starts to append to `path` (APPE).
    pub fn append(self, path: &RemotePath) -> Result<Upload, Box<Failed>> {
        let (session, data) = self.start("APPE", path, &RestartMarker::None)?;
        Ok(Upload::new(session, data, "APPE", 0))
    }

    /// Like [`Session::append`]. Asks for the facts of the file behind the data if possible, so
    /// that [`Session::mlst`] or [`Session::size_and_modified`] right after the upload costs no
    /// round trip.
    pub fn append_asking(self, path: &RemotePath) -> Result<Upload, Box<Failed>> {
        let mut upload = self.append(path)?;
        upload.asked = Some(path.clone());
        Ok(upload)
    }

    /// Receives the completion reply of an upload, as long as the server `is_alive` whenever a
    /// timeout has passed.
    fn complete_upload(
        &mut self,
        verb: &'static str,
        is_alive: &dyn Fn() -> bool,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.data.completion_timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Some(reply) = self.control.wait_for_reply(left.min(self.data.timeout)) {
                return self.check_completion(verb, reply?);
            }
            if left <= self.data.timeout || !is_alive() {
                self.control.give_up();
                return Err(Error::Timeout(Phase::Reply));
            }
        }
    }

    /// Waits until the server has acknowledged all data, as long as it acknowledges some within
    /// each timeout. Returns the transfer's reply if that arrives first.
    fn drain(&mut self, data: &MaybeTlsStream) -> Result<Option<Reply>, Error> {
        let (mut left, mut moved) = (usize::MAX, Instant::now());
        let [mut pause, longest] = DRAIN_INTERVALS;
        loop {
            // Stop waiting if the socket does not report it.
            let now = crate::sys::unacknowledged(data.socket()).unwrap_or(0);
            if now == 0 {
                return Ok(None);
            }
            if now < left {
                (left, moved) = (now, Instant::now());
                self.profile.record_heard();
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

    /// After an upload, reads what the server still sends on the data connection (tickets, its
    /// close_notify) until it closes it. Closing a socket with unread data would reset it, which
    /// vsftpd treats as a failed upload. Returns the transfer's reply if that arrives first.
    fn drain_data_connection(&mut self, data: &mut MaybeTlsStream) -> Option<Result<Reply, Error>> {
        let MaybeTlsStream::Tls(stream) = data else {
            return None;
        };
        let deadline = Instant::now() + REASON_PATIENCE;
        let [mut pause, longest] = DRAIN_INTERVALS;
        while Instant::now() < deadline && !stream.has_ended() {
            if let Some(reply) = self.control.wait_for_reply(pause) {
                return Some(reply);
            }
            pause = (pause * 2).min(longest);
        }
        None
    }
}

impl Upload {
    fn new(session: Session, data: MaybeTlsStream, verb: &'static str, sent_early: u64) -> Self {
        if verb == "APPE" {
            // If the transfer ends early, also because this process is killed, what is still on its
            // way must not arrive: it would end up behind what is appended next.
            let _ = SockRef::from(data.socket()).set_linger(Some(Duration::ZERO));
        }
        Self {
            session,
            data,
            verb,
            sent_early,
            is_reset: false,
            asked: None,
            piece: Vec::new(),
            ended: None,
        }
    }

    /// Number of bytes sent with the command: the whole file or 0.
    pub fn sent_early(&self) -> u64 {
        self.sent_early
    }

    /// Sends bytes.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let mut left = bytes;
        while !left.is_empty() {
            let traffic = &self.session.data.traffic;
            let most = traffic.most_to_send(left.len() as u64);
            let (part, rest) = left.split_at(usize::try_from(most).unwrap_or(left.len()));
            if let Err(error) = self.data.write_all(part) {
                return Err(self.reason_for_hangup(error));
            }
            self.session.profile.record_heard();
            traffic.send(part.len() as u64);
            left = rest;
        }
        Ok(())
    }

    /// Sends `length` bytes of `file` from `offset` on, with sendfile where possible. If the file
    /// ends earlier, fails with [`Error::LocalFile`].
    pub fn send_file(&mut self, file: &File, offset: u64, length: u64) -> Result<(), Error> {
        let traffic = &self.session.data.traffic;
        let profile = &self.session.profile;
        send_file(
            &mut self.data,
            file,
            offset,
            length,
            &mut self.piece,
            traffic,
            profile,
        )?
        .map_err(|error| self.reason_for_hangup(error))
    }

    /// Ends the data and receives the 226 or 250, which confirms the upload. It may take several
    /// timeouts: servers that scan uploads, or forward them to another store, reply late.
    pub fn finish(self) -> Result<(Session, Reply), Box<Failed>> {
        self.finish_while(&|| true)
    }

    /// Like [`Upload::finish`]. After each timeout without a reply, ends the wait unless `is_alive`
    /// returns that the server still responds.
    pub fn finish_while(
        self,
        is_alive: &dyn Fn() -> bool,
    ) -> Result<(Session, Reply), Box<Failed>> {
        let Self {
            mut session,
            mut data,
            verb,
            is_reset,
            asked,
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
        if !is_reset {
            // End of the data. An error only means that the server has closed the connection; it
            // reports why in the reply.
            let _ = data.end();
        }
        if session.profile.has(Capability::QueuesDuringUpload)
            && let Err(error) = session.send_pipelined(asked.as_ref())
        {
            return Err(Failed::new(error, session));
        }
        let drained = if is_reset {
            Ok(None)
        } else {
            session.drain(&data)
        };
        let early = match drained {
            Ok(None) => session.drain_data_connection(&mut data).transpose(),
            early => early,
        };
        if early.is_ok() {
            // The server has everything, and reads the end of the data.
            let _ = SockRef::from(data.socket()).set_linger(None);
        }
        data.take_tickets();
        drop(data);
        if let Some(tls) = &session.tls {
            tls.check_tickets_after_upload();
        }
        let reply = match early {
            Ok(Some(reply)) => session.check_completion(verb, reply),
            Ok(None) if is_reset => session.complete(verb, RESET_PATIENCE),
            Ok(None) => session.complete_upload(verb, is_alive),
            Err(error) => Err(error),
        };
        match reply {
            Ok(reply) => {
                // Request the next data connection together with the next question about the file.
                session.prepare_data();
                Ok((session, reply))
            }
            Err(error) => {
                session.check_reset(is_reset, &error);
                Err(Failed::new(error, session))
            }
        }
    }

    /// Aborts the upload. How much the server has stored is unknown.
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

    /// Returns a handle that interrupts a write in another thread.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.transfer_interrupter(&self.data)
    }

    /// Returns the reason for a broken data connection, which the server reports on the control
    /// connection: 552 for a full disk.
    fn reason_for_hangup(&mut self, error: std::io::Error) -> Error {
        let patience = match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => REASON_PATIENCE,
            // The server stopped reading a whole timeout ago, so its reply has already arrived.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => ARRIVED_PATIENCE,
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

impl io::Write for Upload {
    /// Sends all of `bytes`. [`Upload::finish`] must confirm that the server has stored them.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write_all(self, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
