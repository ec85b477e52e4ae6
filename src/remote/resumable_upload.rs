//! An upload over as many transfers as it takes. A broken transfer is resumed at the size that the
//! server has received (REST and STOR, RFC 3659 §5; APPE, RFC 959 §4.1.3).

use std::cell::Cell;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use std::{mem, thread};

use super::Remote;
use super::error::refusal;
use super::fallbacks::{Fallback, ResumeWay};
use super::resume_probe::{self, Soundness};
use super::retry::{Exchange, interruption};
use super::transience::{Attempts, is_lost, transience};
use crate::ftp::{self, Capability, Cause, Phase, RemotePath, Transience};
use crate::pool::{self, Lease, Permit, RetryMode};

/// Time after which a server that reports an empty file does not show what it receives.
const HIDDEN_AFTER: Duration = Duration::from_secs(2);

/// How long it is not asked after there was no session for the question.
const BUSY_FOR: Duration = Duration::from_secs(20);

/// Bytes copied at a time.
const COPIED: usize = 256 << 10;

/// An upload to one path. Dropping it ends the transfer, which may take a moment.
#[derive(Debug)]
pub(super) struct ResumableUpload {
    remote: Remote,
    path: RemotePath,
    /// Whether nothing else writes to the path, so that everything the server has there comes from
    /// this transfer.
    is_ours: bool,
    line: UploadConnection,
    sent: u64,
    /// Offset before which the bytes can no longer be read from the file.
    kept_from: u64,
    /// Offset from which on the connection gets copies. Before it, it shares the pages of the file,
    /// which must not change until the server has received them.
    copied_from: Option<u64>,
    progress: UploadProgress,
    /// When to ask again what the server has received.
    ask_again: Instant,
    /// When bytes were last sent, or received by the server.
    moved: Instant,
    attempts: Attempts,
    /// Whether a connection was lost. The server may still be processing the data it received over
    /// it.
    lost: bool,
}

/// What SIZE says about the file while it is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadProgress {
    /// It was not asked yet.
    Unknown,
    /// The number of bytes received, as of the last answer.
    Shown(u64),
    /// The server reports no size during an upload.
    Hidden,
}

/// The answer to the question how much the server has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReceivedSize {
    Bytes(u64),
    /// The file is empty, or the server shows no more before the upload has ended.
    Nothing,
    /// There was no other session, or it was lost.
    NotAsked,
    /// The server does not say, or has no second session.
    Unknown,
}

/// What [`ResumableUpload::keep_from`] allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discardable {
    /// The bytes before this offset may be discarded.
    Before(u64),
    /// Nothing more at the moment.
    NotYet,
    /// Nothing: the connection shares the pages of the file, and the server does not say what it
    /// has received.
    Unknown,
}

/// The connection.
#[derive(Debug)]
enum UploadConnection {
    Open(ftp::Upload, Permit),
    /// The server has everything. Holds the session if it is still usable.
    Arrived(Option<Lease>),
    Broken,
}

impl ResumableUpload {
    /// Continues a transfer that was started at the beginning of `path`. `is_ours` says whether
    /// only this transfer writes there.
    pub(super) fn new(
        remote: &Remote,
        path: &RemotePath,
        is_ours: bool,
        (transfer, permit): (ftp::Upload, Permit),
    ) -> Self {
        Self {
            remote: remote.for_next_step(),
            path: path.clone(),
            is_ours,
            sent: transfer.sent_early(),
            kept_from: 0,
            copied_from: None,
            progress: UploadProgress::Unknown,
            ask_again: Instant::now(),
            moved: Instant::now(),
            line: UploadConnection::Open(transfer, permit),
            attempts: Attempts::from(remote.retry_mode(), 0),
            lost: false,
        }
    }

    /// Continues a transfer that appends the bytes from `offset` on to `path`, which has those
    /// before it. A broken one is not resumed.
    pub(super) fn appending(
        remote: &Remote,
        path: &RemotePath,
        offset: u64,
        started: (ftp::Upload, Permit),
    ) -> Self {
        let mut appending = Self::new(remote, path, false, started);
        appending.sent = offset;
        appending
    }

    /// Returns the number of bytes handed to the connection so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends copies of the file's pages from now on, so that the file may change as soon as they
    /// are sent.
    pub(super) fn send_copies(&mut self) {
        self.copied_from.get_or_insert(self.sent);
    }

    /// Announces that the bytes of `file` before `offset`, or before an earlier offset, will be
    /// discarded. What the server has not received stays if it says what it has received: only that
    /// can be sent again after the transfer breaks. A transfer that does not move is begun again.
    ///
    /// # Errors
    /// The transfer failed.
    pub(super) fn keep_from(
        &mut self,
        file: &File,
        offset: u64,
    ) -> Result<Discardable, pool::Error> {
        self.send_copies();
        let waited = self.moved.elapsed();
        match self.received() {
            ReceivedSize::Bytes(received) => {
                if self.progress != UploadProgress::Shown(received) {
                    (self.progress, self.moved) = (UploadProgress::Shown(received), Instant::now());
                } else if received < self.sent && waited >= self.remote.timeout() {
                    self.begin_again(file)?;
                    return Ok(Discardable::NotYet);
                }
                self.kept_from = self.kept_from.max(received.min(offset));
                Ok(Discardable::Before(self.kept_from))
            }
            ReceivedSize::NotAsked | ReceivedSize::Nothing if waited < HIDDEN_AFTER => {
                Ok(Discardable::NotYet)
            }
            ReceivedSize::Nothing => {
                self.hidden();
                Ok(self.keep_unconfirmed(offset))
            }
            ReceivedSize::NotAsked => {
                // All sessions are in use, perhaps by uploads that need room, too.
                self.ask_again = Instant::now() + BUSY_FOR;
                Ok(self.keep_unconfirmed(offset))
            }
            ReceivedSize::Unknown => Ok(self.keep_unconfirmed(offset)),
        }
    }

    /// Like [`Self::keep_from`], on a server that does not say what it has received.
    fn keep_unconfirmed(&mut self, offset: u64) -> Discardable {
        if self.copied_from.is_none_or(|from| self.kept_from < from) {
            return Discardable::Unknown;
        }
        self.kept_from = self.kept_from.max(offset);
        Discardable::Before(self.kept_from)
    }

    /// Asks over another session how much the server has received.
    fn received(&mut self) -> ReceivedSize {
        if self.progress == UploadProgress::Hidden || self.remote.pool_stats().limit < 2 {
            return ReceivedSize::Unknown;
        }
        if Instant::now() < self.ask_again {
            return ReceivedSize::Unknown;
        }
        let Some(mut exchange) = self.remote.brief_exchange() else {
            return ReceivedSize::NotAsked;
        };
        let size = if self.remote.profile().has(Capability::Size) {
            exchange.run_idempotent(|session| session.size(&self.path).map(Some))
        } else {
            exchange.run_idempotent(|session| session.mlst(&self.path).map(|entry| entry.size))
        };
        match size {
            Ok(Some(0)) => ReceivedSize::Nothing,
            Ok(Some(received)) => ReceivedSize::Bytes(received),
            Ok(None) => self.hidden(),
            Err(fault) if refusal(&fault).is_some() => self.hidden(),
            Err(_) => ReceivedSize::NotAsked,
        }
    }

    /// Records that the server does not say what it receives, unless it has before.
    fn hidden(&mut self) -> ReceivedSize {
        if self.progress != UploadProgress::Unknown {
            return ReceivedSize::NotAsked;
        }
        self.progress = UploadProgress::Hidden;
        ReceivedSize::Unknown
    }

    /// Replaces a transfer that does not move, and sends again what was lost with it.
    fn begin_again(&mut self, file: &File) -> Result<(), pool::Error> {
        let sent = self.sent;
        let fault = self.close_broken(ftp::Error::Timeout(Phase::DataWrite));
        self.moved = Instant::now();
        self.resume(fault, sent)?;
        self.send(file, sent - self.sent)
    }

    /// Returns the offset before which the bytes can no longer be read from the file.
    pub(super) fn kept_from(&self) -> u64 {
        self.kept_from
    }

    /// Whether a connection was lost. The server may still be processing the data it received over
    /// it.
    pub(super) fn was_lost(&self) -> bool {
        self.lost
    }

    /// Sends the next `length` bytes of `file`.
    ///
    /// # Errors
    /// The failure or refusal, if resuming did not help.
    pub(super) fn send(&mut self, file: &File, length: u64) -> Result<(), pool::Error> {
        let end = self.sent + length;
        let copies = self.copied_from.is_some();
        loop {
            let UploadConnection::Open(transfer, _) = &mut self.line else {
                return Err(pool::Error::Closed);
            };
            let listener = interruption(self.remote.interrupt(), || transfer.interrupter());
            let sending = if copies {
                send_copies(transfer, file, self.sent, end - self.sent)
            } else {
                transfer.send_file(file, self.sent, end - self.sent)
            };
            drop(listener);
            let Err(error) = sending else {
                (self.sent, self.moved) = (end, Instant::now());
                return Ok(());
            };
            let fault = self.close_broken(error);
            self.resume(fault, end)?;
        }
    }

    /// Waits until the server has acknowledged everything. Lost bytes are sent again from `file`,
    /// if there is one.
    ///
    /// # Errors
    /// The server's refusal, or the failure of the connection.
    pub(super) fn finish(&mut self, file: Option<&File>) -> Result<(), pool::Error> {
        let size = self.sent;
        loop {
            let (transfer, permit) = match mem::replace(&mut self.line, UploadConnection::Broken) {
                UploadConnection::Open(transfer, permit) => (transfer, permit),
                UploadConnection::Arrived(lease) => {
                    self.line = UploadConnection::Arrived(lease);
                    return Ok(());
                }
                UploadConnection::Broken => return Err(pool::Error::Closed),
            };
            let is_gone = Cell::new(false);
            let is_alive = || {
                is_gone.set(!self.remote.is_server_alive());
                !is_gone.get()
            };
            let listener = interruption(self.remote.interrupt(), || transfer.interrupter());
            let finished = transfer.finish_while(&is_alive);
            drop(listener);
            let fault = match finished {
                Ok((session, _)) => {
                    let session = self.if_not_interrupted(Some(session));
                    let lease = session.map(|session| permit.into_lease(session));
                    self.line = UploadConnection::Arrived(lease);
                    return Ok(());
                }
                Err(failed) => {
                    self.give_back(permit, failed.session);
                    pool::Error::from(failed.error)
                }
            };
            self.lost |= is_lost(&fault);
            // Nothing is asked of a server that has just been found not to answer.
            if is_gone.get()
                && self.remote.retry_mode() == RetryMode::Soft
                && let pool::Error::Session(error) = fault
            {
                return Err(pool::Error::Unavailable(error));
            }
            // Only the reply was lost, not the data: middleboxes drop control connections that are
            // silent while data is transferred.
            if is_lost(&fault) && self.size_there(&mut self.remote.exchange())? == Some(size) {
                log::info!(
                    path = self.path, reply = fault.quoted_reply();
                    "no completion reply for {}, but its size is correct: {fault}",
                    self.path
                );
                self.line = UploadConnection::Arrived(None);
                return Ok(());
            }
            let Some(file) = file else { return Err(fault) };
            self.resume(fault, size)?;
            self.send(file, size - self.sent)?;
        }
    }

    /// Lends the session after [`ResumableUpload::finish`], if it is still usable, until
    /// [`ResumableUpload::put_lease_back`].
    pub(super) fn lend_lease(&mut self) -> Option<Lease> {
        match &mut self.line {
            UploadConnection::Arrived(lease) => lease.take(),
            UploadConnection::Open(..) | UploadConnection::Broken => None,
        }
    }

    /// Takes back the session from [`ResumableUpload::lend_lease`].
    pub(super) fn put_lease_back(&mut self, session: Option<Lease>) {
        if let UploadConnection::Arrived(lease) = &mut self.line {
            *lease = session;
        }
    }

    /// Returns the session after [`ResumableUpload::finish`], if it is still usable.
    pub(super) fn into_lease(mut self) -> Option<Lease> {
        match mem::replace(&mut self.line, UploadConnection::Broken) {
            UploadConnection::Arrived(lease) => lease,
            UploadConnection::Open(..) | UploadConnection::Broken => None,
        }
    }

    /// Closes the transfer after an error. If only the data connection broke, the server may have
    /// sent the reason on the control connection: a full disk is reported like that.
    fn close_broken(&mut self, error: ftp::Error) -> pool::Error {
        let fault = pool::Error::from(error);
        self.lost |= is_lost(&fault);
        let UploadConnection::Open(transfer, permit) =
            mem::replace(&mut self.line, UploadConnection::Broken)
        else {
            return fault;
        };
        // After a timeout, the server has nothing more to say than the transfer's own wait
        // returned.
        if transience(&fault) != Transience::Broken {
            self.give_back(permit, transfer.abort());
            return fault;
        }
        let listener = interruption(self.remote.interrupt(), || transfer.interrupter());
        let finished = transfer.finish();
        drop(listener);
        match finished {
            Ok((session, _)) => {
                self.give_back(permit, Some(session));
                fault
            }
            Err(failed) => {
                self.give_back(permit, failed.session);
                let heard = pool::Error::from(failed.error);
                if refusal(&heard).is_some() {
                    heard
                } else {
                    fault
                }
            }
        }
    }

    /// Starts a new transfer after `fault`, at the size that the server has received. A size beyond
    /// `most` does not come from this upload.
    fn resume(&mut self, fault: pool::Error, most: u64) -> Result<(), pool::Error> {
        // A completion reply before the end means that the server took a broken connection for the
        // end.
        let class = match refusal(&fault) {
            Some(reply) if matches!(reply.code().0, 200..=299) => Transience::Transfer,
            _ => transience(&fault),
        };
        if !self.is_ours
            || self.remote.is_interrupted()
            || !class.is_immediate()
            || ResumeWay::candidates(self.remote.profile())
                .next()
                .is_none()
        {
            return Err(fault);
        }
        let remote = self.remote.for_next_step();
        let mut exchange = remote.exchange();
        let there = self.size_there(&mut exchange)?;
        let least = self.kept_from.max(1);
        let Some(there) = there.filter(|there| (least..=most).contains(there)) else {
            return Err(fault);
        };
        self.attempts.progressed(there);
        if !self.attempts.again(class) {
            return Err(fault);
        }
        thread::sleep(self.attempts.pause());
        let Some((transfer, permit)) = self.restart(&mut exchange, there) else {
            return Err(fault);
        };
        log::debug!(
            "{fault}; resuming the upload of {} at byte {there}",
            self.path
        );
        self.line = UploadConnection::Open(transfer, permit);
        self.sent = there;
        Ok(())
    }

    fn restart(&self, exchange: &mut Exchange<'_>, there: u64) -> Option<(ftp::Upload, Permit)> {
        let profile = self.remote.profile();
        let is_hidden = self.path.name().starts_with(b".");
        for way in ResumeWay::candidates(profile) {
            let was_proven = profile.is_proven(way.capability());
            match resume_probe::soundness(&self.remote, exchange, way, &self.path, is_hidden) {
                Soundness::Sound => {}
                Soundness::Unsound => continue,
                Soundness::Unclear => return None,
            }
            // The server may have received more during the probe.
            if !was_proven && self.size_there(exchange).ok()? != Some(there) {
                return None;
            }
            match way.start(exchange, &self.path, there) {
                Ok(started) => return Some(started),
                Err(fault) if refusal(&fault).is_some() => {
                    profile.fails(way.capability(), &fault);
                }
                Err(_) => return None,
            }
        }
        None
    }

    fn give_back(&self, permit: Permit, session: Option<ftp::Session>) {
        match self.if_not_interrupted(session) {
            Some(session) => permit.give_back(session),
            None => drop(permit),
        }
    }

    /// Returns `session` for further use. The listener of an interruption may still be about to
    /// close its connection.
    fn if_not_interrupted(&self, session: Option<ftp::Session>) -> Option<ftp::Session> {
        session.filter(|_| !self.remote.is_interrupted())
    }

    /// Returns the number of bytes that the server has, if it reports it.
    ///
    /// # Errors
    /// There is no session, so that the upload cannot go on.
    fn size_there(&self, exchange: &mut Exchange<'_>) -> Result<Option<u64>, pool::Error> {
        let profile = self.remote.profile();
        let asked = if profile.has(Capability::Size) {
            exchange.run_idempotent(|session| session.size(&self.path).map(Some))
        } else if profile.has(Capability::Mlst) {
            exchange.run_idempotent(|session| session.mlst(&self.path).map(|entry| entry.size))
        } else {
            return Ok(None);
        };
        match asked {
            Ok(size) => Ok(size),
            Err(fault @ (pool::Error::Unavailable(_) | pool::Error::Exhausted(_))) => Err(fault),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for ResumableUpload {
    fn drop(&mut self) {
        if let UploadConnection::Open(transfer, permit) =
            mem::replace(&mut self.line, UploadConnection::Broken)
        {
            // An interruption could only end this earlier with a copy of the data socket, which
            // would keep the data connection open.
            self.give_back(permit, transfer.abort());
        }
    }
}

/// Sends copies of `length` bytes of `file` from `offset` on.
fn send_copies(
    transfer: &mut ftp::Upload,
    file: &File,
    offset: u64,
    length: u64,
) -> Result<(), ftp::Error> {
    let mut piece = vec![0; COPIED];
    let end = offset + length;
    let mut at = offset;
    while at < end {
        let wanted = usize::try_from(end - at).map_or(COPIED, |left| left.min(COPIED));
        let room = piece.get_mut(..wanted).unwrap_or_default();
        let count = match file.read_at(room, at) {
            Ok(0) => return Err(ftp::Error::LocalFile(ErrorKind::UnexpectedEof.into())),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(ftp::Error::LocalFile(error)),
        };
        transfer.write_all(piece.get(..count).unwrap_or_default())?;
        at += count as u64;
    }
    Ok(())
}
