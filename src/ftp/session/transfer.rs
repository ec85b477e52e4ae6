//! Downloads: RETR, after REST if they begin at an offset (RFC 959 §4.1.3, RFC 3659 §5); and what
//! all transfers have in common.
//!
//! Data is read to its end and the data connection closed before waiting for the completion reply:
//! ProFTPD sends its 226 only then. Only that reply confirms that all data arrived.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::restart_marker::RestartMarker;
use super::{Failed, Session};
use crate::ftp::error::{Error, Phase, socket_error};
use crate::ftp::path::RemotePath;
use crate::ftp::reply::{Reply, ReplyClass};
use crate::ftp::stream::MaybeTlsStream;

/// Time to wait for the end of an aborted transfer before sending ABOR, and again after it.
const ABORT_PATIENCE: Duration = Duration::from_secs(2);
/// Maximum number of replies to a transfer that can precede the reply to NOOP, including that one.
const MAX_REPLIES_BEFORE_NOOP: usize = 3;

/// A RETR in progress, which owns its session. Dropping it closes both connections.
#[derive(Debug)]
pub struct Download {
    session: Session,
    data: MaybeTlsStream,
    /// The data ended without close_notify.
    cut_off: bool,
}

/// Immediately interrupts a command or transfer in which another thread waits, by shutting down its
/// sockets.
#[derive(Debug)]
pub struct Interrupter {
    sockets: Vec<TcpStream>,
    is_interrupted: Arc<AtomicBool>,
}

impl Interrupter {
    /// Makes all reads, writes and waits of the session or transfer fail.
    pub fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::Relaxed);
        for socket in &self.sockets {
            // An error means that it is already closed.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Session {
    /// Starts to download `path` from `offset` on (RETR, after REST if `offset` is not 0).
    pub fn retrieve(self, path: &RemotePath, offset: u64) -> Result<Download, Box<Failed>> {
        self.retrieve_marked(path, &RestartMarker::at(offset))
    }

    /// Starts to download the non-empty `range` of `path` (RANG, RETR). The transfer ends by itself
    /// at the end of the range. Only for servers that list RANG in FEAT.
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
        marker: &RestartMarker,
    ) -> Result<Download, Box<Failed>> {
        let (session, data) = self.start("RETR", path, marker)?;
        Ok(Download {
            session,
            data,
            cut_off: false,
        })
    }

    /// Receives the completion reply of a transfer whose data connection is closed.
    pub(in crate::ftp) fn complete(
        &mut self,
        verb: &'static str,
        patience: Duration,
    ) -> Result<Reply, Error> {
        let reply = self.control.reply_within(Phase::Reply, patience)?;
        self.check_completion(verb, reply)
    }

    /// Evaluates the completion reply of a transfer.
    pub(super) fn check_completion(
        &mut self,
        verb: &'static str,
        reply: Reply,
    ) -> Result<Reply, Error> {
        if self.is_skipped_by(&reply) {
            log::warn!(reply; "the server sent no completion reply for {verb}, but {reply}");
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

    /// Brings the session back in step after an early close of the data connection: each transfer
    /// has one completion reply, whatever its code. Returns false if the session is no longer
    /// usable.
    pub(in crate::ftp) fn resynchronise(&mut self) -> bool {
        if self.has_pipelined() {
            self.control.give_up();
            return false;
        }
        let in_step = match self.control.wait_for_reply(ABORT_PATIENCE) {
            Some(Ok(reply)) if reply.code().class() == ReplyClass::Preliminary => {
                self.resynchronise_by_noop()
            }
            Some(Ok(_)) => true,
            Some(Err(_)) => false,
            // The server has not noticed the closed connection. One reply ends the transfer, the
            // other answers ABOR (RFC 959 §4.1.3).
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

    /// Checks with NOOP that no more replies follow. Pure-FTPd ends an aborted download with a
    /// second 150 and nothing after it, while another server might mean it. The reply to NOOP, 200
    /// or a refusal, answers no transfer, so everything before it has arrived.
    fn resynchronise_by_noop(&mut self) -> bool {
        if self.control.send(b"NOOP").is_err() {
            return false;
        }
        for _ in 0..MAX_REPLIES_BEFORE_NOOP {
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

    fn end_of_transfer(&mut self) -> bool {
        match self.control.wait_for_reply(ABORT_PATIENCE) {
            Some(Ok(reply)) => reply.code().class() != ReplyClass::Preliminary,
            Some(Err(_)) | None => false,
        }
    }

    /// Returns a handle that interrupts a command in another thread.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        Ok(Interrupter {
            sockets: vec![self.control.try_clone()?],
            is_interrupted: self.control.interrupted_flag(),
        })
    }

    pub(super) fn transfer_interrupter(
        &self,
        data: &MaybeTlsStream,
    ) -> std::io::Result<Interrupter> {
        let mut interrupter = self.interrupter()?;
        interrupter.sockets.push(data.socket().try_clone()?);
        Ok(interrupter)
    }
}

impl Download {
    /// Reads some bytes into `buffer`. Returns 0 at the end of the data, which [`Download::finish`]
    /// must confirm.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let traffic = &self.session.data.traffic;
        let buffer = traffic.portion(buffer);
        loop {
            match self.data.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    self.cut_off = true;
                    return Ok(0);
                }
                Err(error) => return Err(socket_error(Phase::DataRead, error)),
                Ok(count) => {
                    self.session.profile.record_heard();
                    traffic.receive(count);
                    return Ok(count);
                }
            }
        }
    }

    /// Whether the data ended without close_notify.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// Finishes the download after the end of the data: closes the data connection and receives the
    /// completion reply. A refusal means that the data is incomplete, however much arrived.
    ///
    /// # Errors
    /// [`Error::NoCloseNotify`] if only the TLS close_notify is missing. The data is complete if
    /// its size matches a size known otherwise.
    pub fn finish(self) -> Result<Session, Box<Failed>> {
        let Self {
            mut session,
            mut data,
            cut_off,
        } = self;
        // Some servers wait for the client's close_notify. An error means that the server has
        // closed the connection.
        let _ = data.end();
        drop(data);
        session.pipeline_passive_command();
        match session.complete("RETR", session.data.timeout) {
            Ok(_) if cut_off => Err(Failed::new(Error::NoCloseNotify, session)),
            Ok(_) => Ok(session),
            Err(error) => Err(Failed::new(error, session)),
        }
    }

    /// Aborts the download before the end of the data and brings the session back in step. Returns
    /// `None` if that is in doubt.
    pub fn abort(self) -> Option<Session> {
        let Self {
            mut session, data, ..
        } = self;
        drop(data);
        session.resynchronise().then_some(session)
    }

    /// Returns a handle that interrupts a `read` in another thread.
    pub fn interrupter(&self) -> std::io::Result<Interrupter> {
        self.session.transfer_interrupter(&self.data)
    }

    /// Round-trip time of the data connection as measured by the kernel.
    pub fn round_trip(&self) -> Option<Duration> {
        crate::sys::round_trip(self.data.socket()).ok()
    }
}

impl io::Read for Download {
    /// Reads like [`Download::read`]. At the end of the data, [`Download::finish`] must confirm it.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::read(self, buffer).map_err(io::Error::from)
    }
}
