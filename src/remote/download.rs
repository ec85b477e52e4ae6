//! Downloads: RETR at an offset (RFC 959 §4.1.3, RFC 3659 §5) or of a range
//! (draft-bryan-ftp-range).

use std::mem;
use std::ops::Range;
use std::time::Duration;

use super::error::{ErrorContext, Operation, is_unsupported, meaning, refusal};
use super::retry::Exchange;
use super::{Error, ErrorKind, Remote};
use crate::ftp::{self, Capability, RemotePath};
use crate::pool::{self, Permit};

/// A download from an offset. Dropping it before its end aborts the transfer and returns the
/// session to the pool, which may take a moment.
#[derive(Debug)]
pub struct RemoteDownload {
    path: RemotePath,
    start: u64,
    received: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Receiving(Box<ftp::Download>, Permit),
    /// The data ended and the server confirmed that it is complete.
    Ended,
    Failed(Error),
}

/// Starts a download of `range` of `path` over the session of `exchange`. If the server supports
/// RANG, the transfer ends after the range; otherwise it continues beyond it.
pub(super) fn open_within(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    range: &Range<u64>,
) -> Result<RemoteDownload, Error> {
    let profile = remote.profile();
    if !profile.has(Capability::Rang) || range.is_empty() {
        return open_in(remote, exchange, path, range.start);
    }
    match exchange.start_transfer(|session| session.retrieve_within(path, range.clone())) {
        Ok((transfer, permit)) => Ok(RemoteDownload {
            path: path.clone(),
            start: range.start,
            received: 0,
            state: State::Receiving(Box::new(transfer), permit),
        }),
        Err(fault) if refuses(&fault, "RANG") => {
            profile.fails(Capability::Rang, &fault);
            open_in(remote, exchange, path, range.start)
        }
        Err(fault) => {
            Err(remote.diagnose(exchange, &ErrorContext::new(Operation::Read, path), &fault))
        }
    }
}

/// Starts a download of `path` from `offset` over the session of `exchange`.
pub(super) fn open_in(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
    offset: u64,
) -> Result<RemoteDownload, Error> {
    let profile = remote.profile();
    let start = if profile.has(Capability::Rest) {
        offset
    } else {
        0
    };
    match exchange.start_transfer(|session| session.retrieve(path, start)) {
        Ok((transfer, permit)) => Ok(RemoteDownload {
            path: path.clone(),
            start,
            received: 0,
            state: State::Receiving(Box::new(transfer), permit),
        }),
        Err(fault) if start > 0 && refuses(&fault, "REST") => {
            profile.fails(Capability::Rest, &fault);
            open_in(remote, exchange, path, 0)
        }
        Err(fault) => {
            Err(remote.diagnose(exchange, &ErrorContext::new(Operation::Read, path), &fault))
        }
    }
}

/// Whether the server does not know `mark`, the command before a transfer.
fn refuses(fault: &pool::Error, mark: &str) -> bool {
    let is_unknown =
        |fault| is_unsupported(fault) || refusal(fault).is_some_and(|it| it.code().0 == 501);
    matches!(fault, pool::Error::Session(error)
        if matches!(&**error, ftp::Error::Refused { command, .. } if *command == mark))
        && is_unknown(fault)
}

/// Whether the refusal is about the file, not about this transfer. libunftp replies 150 before it
/// opens the file, then 550.
fn is_refused_for_good(fault: &pool::Error) -> bool {
    refusal(fault).is_some_and(|reply| reply.code().0 == 550)
}

impl RemoteDownload {
    /// Returns the offset of the first byte: the requested one, or 0 if the server does not support
    /// REST.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Reads some bytes into `buffer`. Returns 0 when the data has ended and the server has
    /// confirmed it with a 226.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] if the data ended and the server reports that it is incomplete;
    /// otherwise what failed. Later calls return the same error.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let count = self.receive(buffer)?;
        if count == 0 && !buffer.is_empty() && matches!(self.state, State::Receiving(..)) {
            return self.end();
        }
        Ok(count)
    }

    /// Like [`Self::read`], but returns 0 when the data has ended. The next `read` waits until the
    /// server has confirmed it.
    ///
    /// # Errors
    /// What failed. Later calls return the same error.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        match &mut self.state {
            State::Receiving(transfer, _) => match transfer.read(buffer) {
                Ok(count) => {
                    self.received += count as u64;
                    Ok(count)
                }
                Err(error) => Err(self.fail(error)),
            },
            State::Ended => Ok(0),
            State::Failed(error) => Err(error.clone()),
        }
    }

    /// Whether the data ended over TLS without close_notify, which anyone on the way can cause.
    /// Only the server's confirmation shows that it is complete.
    pub(super) fn is_cut_off(&self) -> bool {
        match &self.state {
            State::Receiving(transfer, _) => transfer.is_cut_off(),
            State::Ended | State::Failed(_) => false,
        }
    }

    /// Returns the round-trip time to the server, or to the proxy if there is one, if the kernel
    /// knows it.
    pub fn round_trip(&self) -> Option<Duration> {
        match &self.state {
            State::Receiving(transfer, _) => transfer.round_trip(),
            State::Ended | State::Failed(_) => None,
        }
    }

    /// Ends the transfer early and returns the session to the pool if it is still usable. Dropping
    /// does the same.
    pub fn abandon(self) {
        drop(self);
    }

    /// Receives the completion reply after the end of the data, which says whether the data is
    /// complete.
    fn end(&mut self) -> Result<usize, Error> {
        let State::Receiving(transfer, permit) = mem::replace(&mut self.state, State::Ended) else {
            return Ok(0);
        };
        match transfer.finish() {
            Ok(session) => {
                permit.give_back(session);
                Ok(0)
            }
            Err(failed) => {
                let ftp::Failed { error, session } = *failed;
                let mut session = session;
                let is_whole = matches!(error, ftp::Error::NoCloseNotify)
                    && session
                        .as_mut()
                        .is_some_and(|session| self.is_whole(session));
                if let Some(session) = session {
                    permit.give_back(session);
                }
                if is_whole {
                    return Ok(0);
                }
                Err(self.fail(error))
            }
        }
    }

    /// After a missing close_notify: whether the size that the server reports equals the number of
    /// bytes received.
    fn is_whole(&self, session: &mut ftp::Session) -> bool {
        let size = session.size(&self.path);
        log::debug!(
            "{} ended without close_notify; its size is {size:?}",
            self.path
        );
        size.is_ok_and(|size| size == self.start.saturating_add(self.received))
    }

    /// Stores the error and drops the rest of the transfer.
    fn fail(&mut self, error: ftp::Error) -> Error {
        let fault = pool::Error::from(error);
        let context = ErrorContext::new(Operation::Read, &self.path);
        let kind = match meaning(&fault, &self.path) {
            Some(kind) if self.received == 0 && is_refused_for_good(&fault) => kind,
            // A refusal after the transfer has started is about the rest of the data.
            _ if refusal(&fault).is_some() => ErrorKind::Truncated,
            Some(kind) => kind,
            None => ErrorKind::Other,
        };
        let error = context.error(kind, &fault);
        self.state = State::Failed(error.clone());
        error
    }
}

impl Drop for RemoteDownload {
    fn drop(&mut self) {
        if let State::Receiving(transfer, permit) = mem::replace(&mut self.state, State::Ended)
            && let Some(session) = transfer.abort()
        {
            permit.give_back(session);
        }
    }
}
