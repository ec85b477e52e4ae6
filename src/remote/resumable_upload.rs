//! An upload over as many transfers as it takes. A broken transfer is resumed at the size that the
//! server has received (REST and STOR, RFC 3659 §5; APPE, RFC 959 §4.1.3).

use std::cell::Cell;
use std::fs::File;
use std::{mem, thread};

use super::Remote;
use super::error::refusal;
use super::fallbacks::{Fallback, ResumeWay};
use super::resume_probe::{self, Soundness};
use super::retry::Exchange;
use super::transience::{Attempts, is_lost, transience};
use crate::ftp::{self, Capability, RemotePath, Transience};
use crate::pool::{self, Lease, Permit, RetryMode};

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
    attempts: Attempts,
    /// Whether a connection was lost. The server may still be processing the data it received over
    /// it.
    lost: bool,
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
            remote: remote.uncancelled(),
            path: path.clone(),
            is_ours,
            sent: transfer.sent_early(),
            line: UploadConnection::Open(transfer, permit),
            attempts: Attempts::from(remote.retry_mode(), 0),
            lost: false,
        }
    }

    /// Returns the number of bytes handed to the connection so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent
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
        loop {
            let UploadConnection::Open(transfer, _) = &mut self.line else {
                return Err(pool::Error::Closed);
            };
            let Err(error) = transfer.send_file(file, self.sent, end - self.sent) else {
                self.sent = end;
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
            let fault = match transfer.finish_while(&is_alive) {
                Ok((session, _)) => {
                    self.line = UploadConnection::Arrived(Some(permit.into_lease(session)));
                    return Ok(());
                }
                Err(failed) => {
                    give_back(permit, failed.session);
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
            give_back(permit, transfer.abort());
            return fault;
        }
        match transfer.finish() {
            Ok((session, _)) => {
                permit.give_back(session);
                fault
            }
            Err(failed) => {
                give_back(permit, failed.session);
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
            || !class.is_immediate()
            || ResumeWay::candidates(self.remote.profile())
                .next()
                .is_none()
        {
            return Err(fault);
        }
        let remote = self.remote.uncancelled();
        let mut exchange = remote.exchange();
        let there = self.size_there(&mut exchange)?;
        let Some(there) = there.filter(|there| (1..=most).contains(there)) else {
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
            give_back(permit, transfer.abort());
        }
    }
}

fn give_back(permit: Permit, session: Option<ftp::Session>) {
    match session {
        Some(session) => permit.give_back(session),
        None => drop(permit),
    }
}
