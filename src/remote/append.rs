//! Appends to a file on the server (APPE, RFC 959 §4.1.3): only the new bytes are sent.
//!
//! 1. Once per server that is not known, a small file proves that APPE keeps what is there
//!    (`resume_probe`).
//! 2. The file must still be the version that is continued.
//! 3. APPE sends the bytes.
//! 4. The size must have grown by exactly these bytes. It is asked for behind the data.
//!
//! After an interruption the size shows how many bytes have arrived. They are read back, and the
//! rest is sent. Anything else in their place is the work of another writer: nothing more is sent.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};
use std::{io, mem, thread};

use super::download::open_in;
use super::error::{ErrorContext, Operation, is_unsupported, meaning, refusal};
use super::fallbacks::{Fallback, ResumeWay};
use super::resumable_upload::ResumableUpload;
use super::resume_probe::{self, Soundness};
use super::retry::Exchange;
use super::steps::UploadName;
use super::transience::{Attempts, is_lost, transience};
use super::version::version_in;
use super::{Atomic, Error, ErrorKind, Remote, RemoteHandle, listed_size, rest_probe};
use crate::ftp::{Capability, Finding, RemotePath, Session, Transience, Version};
use crate::pool;

/// Number of bytes sent between two checks whether to go on.
const PIECE: u64 = 1 << 20;

/// Number of bytes compared at a time.
const COMPARED: usize = 64 << 10;

/// Number of attempts to prove APPE, because the connection may fail.
const PROOFS: u32 = 2;

/// Pause between two questions for the size after a connection was lost, or ftpfs was killed: the
/// server may still be storing what it has received.
const PAUSE: Duration = Duration::from_millis(500);

/// Number of such questions.
const QUESTIONS: u32 = 20;

/// Whether an append to a large file sends only the new bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Append {
    /// If the server was proven to append.
    #[default]
    Auto,
    /// The whole file is stored.
    Never,
}

/// What to append.
#[derive(Debug, Clone)]
pub(crate) struct AppendRequest<'a> {
    /// Path of the file on the server.
    pub(crate) path: &'a RemotePath,
    /// The version that is continued.
    pub(crate) base: Version,
    /// The local file with the new bytes.
    pub(crate) file: &'a File,
    /// Where they are, in both files.
    pub(crate) range: Range<u64>,
    /// Whether an earlier attempt may have stored some of them.
    pub(crate) is_repeated: bool,
}

/// The result of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AppendOutcome {
    /// The server has all bytes, and this version. It is larger if another writer has appended,
    /// too.
    Appended(Version),
    /// The server does not append to this file, for this reason. The whole file must be stored.
    Refused(String),
    /// The caller has stopped it.
    Stopped,
}

/// What the server has of the new bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Those before this offset.
    Until(u64),
    /// All of them.
    Complete(Version),
    /// Something else.
    Foreign,
}

/// The result of one APPE.
enum SendOutcome {
    Acknowledged,
    Stopped,
    Failed(pool::Error),
}

/// An append in progress.
struct Appending<'a> {
    remote: &'a Remote,
    exchange: Exchange<'a>,
    request: &'a AppendRequest<'a>,
    /// Whether the server may have some of the bytes.
    is_doubtful: bool,
    /// Whether the server has acknowledged all of them.
    is_acknowledged: bool,
}

impl RemoteHandle {
    /// Whether an append may be tried. Whether the server appends is proven by the first one.
    pub(crate) fn may_append(&self) -> bool {
        let profile = self.profile();
        self.inner.append == Append::Auto
            && self.atomic() != Atomic::Require
            && (profile.has(Capability::Size) || profile.has(Capability::Mlst))
            && profile.finding(Capability::Appe) != Finding::Fails
    }
}

impl Remote {
    /// Appends to a file. `go_on` is called with the offset reached, and stops the append by
    /// returning false.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if another writer has changed the file. Otherwise the refusal or the
    /// failure of the connection, after a few repetitions; the server may then have some of the
    /// bytes.
    pub(crate) fn append(
        &self,
        request: &AppendRequest<'_>,
        go_on: &dyn Fn(u64) -> bool,
    ) -> Result<AppendOutcome, Error> {
        let mut appending = Appending {
            remote: self,
            exchange: self.exchange(),
            request,
            is_doubtful: request.is_repeated,
            is_acknowledged: false,
        };
        if request.range.is_empty() {
            return appending.run(go_on);
        }
        match appending.soundness() {
            Soundness::Sound => appending.run(go_on),
            Soundness::Unsound => Ok(AppendOutcome::Refused(
                "the server does not keep the file on APPE".to_owned(),
            )),
            Soundness::Unclear => Ok(AppendOutcome::Refused(
                "it cannot be proven that the server appends".to_owned(),
            )),
        }
    }
}

impl Appending<'_> {
    /// Whether the server appends. Proves it if that is not known.
    fn soundness(&mut self) -> Soundness {
        let (remote, path) = (self.remote, self.request.path);
        let name = remote.steps().first(remote.profile(), path, Instant::now());
        let is_hidden = name == UploadName::Hidden;
        let exchange = &mut self.exchange;
        for _ in 1..PROOFS {
            match resume_probe::soundness(remote, exchange, ResumeWay::Append, path, is_hidden) {
                Soundness::Unclear => {}
                clear => return clear,
            }
        }
        resume_probe::soundness(remote, exchange, ResumeWay::Append, path, is_hidden)
    }

    fn run(&mut self, go_on: &dyn Fn(u64) -> bool) -> Result<AppendOutcome, Error> {
        let mut attempts = Attempts::from(self.remote.retry_mode(), self.request.range.start);
        if self.request.is_repeated {
            self.wait_until_settled()?;
        }
        loop {
            let at = match self.standing()? {
                Standing::Complete(version) => return Ok(AppendOutcome::Appended(version)),
                Standing::Until(at) => at,
                Standing::Foreign => return Err(self.changed()),
            };
            attempts.progressed(at);
            self.is_doubtful = true;
            let fault = match self.send(at, go_on) {
                SendOutcome::Acknowledged => {
                    if mem::replace(&mut self.is_acknowledged, true) {
                        if !attempts.again(Transience::Transfer) {
                            return Err(self.not_stored());
                        }
                        thread::sleep(attempts.pause());
                    }
                    continue;
                }
                SendOutcome::Stopped => return Ok(AppendOutcome::Stopped),
                SendOutcome::Failed(fault) => fault,
            };
            if let Some(reason) = self.reason_for_whole(&fault) {
                return Ok(AppendOutcome::Refused(reason));
            }
            // A completion reply before the end means that the server took a broken connection for
            // the end.
            let class = match refusal(&fault) {
                Some(reply) if matches!(reply.code().0, 200..=299) => Transience::Transfer,
                _ => transience(&fault),
            };
            if !attempts.again(class) {
                return Err(self.error(&fault));
            }
            log::debug!("{fault}; continuing to append to {}", self.request.path);
            thread::sleep(attempts.pause());
            if is_lost(&fault) {
                self.wait_until_settled()?;
            }
        }
    }

    /// Sends the bytes from `at` on.
    fn send(&mut self, at: u64, go_on: &dyn Fn(u64) -> bool) -> SendOutcome {
        let AppendRequest {
            path, file, range, ..
        } = self.request;
        // The data follows the reply: a server that receives data and does not answer, for example
        // because another client reads the file, would store it later, behind a second attempt.
        let begin = |session: Session| session.append_asking(path);
        let started = match self.exchange.start_transfer(begin) {
            Ok(started) => started,
            Err(fault) => return SendOutcome::Failed(fault),
        };
        let mut sending = ResumableUpload::appending(self.remote, path, at, started);
        while sending.sent() < range.end {
            if !go_on(sending.sent()) {
                return SendOutcome::Stopped;
            }
            let length = range.end.saturating_sub(sending.sent()).min(PIECE);
            if let Err(fault) = sending.send(file, length) {
                return SendOutcome::Failed(fault);
            }
        }
        if let Err(fault) = sending.finish(None) {
            return SendOutcome::Failed(fault);
        }
        self.exchange.resume_with(sending.into_lease());
        SendOutcome::Acknowledged
    }

    /// Finds out what the server has of the new bytes.
    fn standing(&mut self) -> Result<Standing, Error> {
        let Range { start, end } = self.request.range;
        let mut found = self.version()?;
        if self.is_acknowledged && found.and_then(|found| found.size) != Some(end) {
            // The server may have answered before it had all of the data.
            found = self.version()?;
        }
        let Some(found) = found else {
            return Ok(Standing::Foreign);
        };
        let Some(size) = found.size else {
            return Ok(Standing::Foreign);
        };
        if self.is_acknowledged && size == end {
            return Ok(Standing::Complete(found));
        }
        if size == start && (self.is_doubtful || self.request.base.agrees(&found)) {
            return Ok(if start == end {
                Standing::Complete(found)
            } else {
                Standing::Until(start)
            });
        }
        if !self.is_doubtful || size < start {
            return Ok(Standing::Foreign);
        }
        if size <= end {
            return Ok(match self.has_there(start, start..size)? {
                true if size == end => Standing::Complete(found),
                true => Standing::Until(size),
                false => Standing::Foreign,
            });
        }
        // Another writer has appended after these bytes, or before them.
        let before = size - (end - start);
        let is_there = self.has_there(start, start..end)? || self.has_there(before, start..end)?;
        Ok(if is_there {
            Standing::Complete(found)
        } else {
            Standing::Foreign
        })
    }

    /// Returns the version that the server has, or `None` if it has no such file.
    fn version(&mut self) -> Result<Option<Version>, Error> {
        let (remote, path) = (self.remote, self.request.path);
        let mut found = match version_in(remote, &mut self.exchange, path) {
            Ok(found) => found,
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Range { start, end } = self.request.range;
        let is_expected = |size: Option<u64>| size == Some(start) || size == Some(end);
        if !is_expected(found.size)
            && let Some(size) = listed_size::ask(remote, &mut self.exchange, path)?
        {
            if let Some(listed) = found.size.filter(|listed| *listed != size)
                && is_expected(Some(size))
            {
                listed_size::record_wrong(remote.profile(), path, listed, size);
            }
            found.size = Some(size);
        }
        Ok(Some(found))
    }

    /// Whether the server has the bytes of `range` of the local file at `offset`.
    fn has_there(&mut self, offset: u64, range: Range<u64>) -> Result<bool, Error> {
        let (remote, path) = (self.remote, self.request.path);
        if range.is_empty() {
            return Ok(true);
        }
        if rest_probe::needs_probe(remote.profile()) {
            rest_probe::probe(remote, &mut self.exchange, path);
        }
        let mut download = open_in(remote, &mut self.exchange, path, offset)?;
        let mut before = offset.saturating_sub(download.start());
        let (mut theirs, mut ours) = (vec![0; COMPARED], vec![0; COMPARED]);
        let mut at = range.start;
        while at < range.end {
            let wanted = if before > 0 { before } else { range.end - at };
            let wanted = usize::try_from(wanted).map_or(COMPARED, |wanted| wanted.min(COMPARED));
            let count = download.read(theirs.get_mut(..wanted).unwrap_or_default())?;
            if count == 0 {
                return Ok(false);
            }
            if before > 0 {
                before -= (count as u64).min(before);
                continue;
            }
            let (Some(theirs), Some(ours)) = (theirs.get(..count), ours.get_mut(..count)) else {
                return Ok(false);
            };
            let read = self.request.file.read_exact_at(ours, at);
            read.map_err(|error| self.local(&error))?;
            if theirs != ours {
                return Ok(false);
            }
            at += count as u64;
        }
        Ok(true)
    }

    /// Waits until the server stores nothing more of what it received over a lost connection.
    fn wait_until_settled(&mut self) -> Result<(), Error> {
        let mut before = None;
        for _ in 0..QUESTIONS {
            let size = self.version()?.and_then(|found| found.size);
            if before == Some(size) {
                return Ok(());
            }
            before = Some(size);
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Returns why the whole file should be stored instead, if `fault` is about the command or this
    /// file, and not about room, the moment or the connection.
    fn reason_for_whole(&self, fault: &pool::Error) -> Option<String> {
        let reply = refusal(fault)?;
        if is_unsupported(fault) {
            let profile = self.remote.profile();
            profile.fails(ResumeWay::Append.capability(), fault);
            return Some(fault.to_string());
        }
        if matches!(reply.code().0, 200..=299) || transience(fault).is_immediate() {
            return None;
        }
        match meaning(fault, self.request.path) {
            Some(
                ErrorKind::NoSpace
                | ErrorKind::QuotaExceeded
                | ErrorKind::FileTooLarge
                | ErrorKind::Busy
                | ErrorKind::TryLater,
            ) => None,
            Some(kind) if kind.is_unanswered() => None,
            Some(_) | None => Some(fault.to_string()),
        }
    }

    fn error(&mut self, fault: &pool::Error) -> Error {
        let context = ErrorContext::new(Operation::Append, self.request.path);
        self.remote.diagnose(&mut self.exchange, &context, fault)
    }

    fn changed(&self) -> Error {
        let reason = "it was changed on the server in the meantime";
        ErrorContext::new(Operation::Append, self.request.path).error(ErrorKind::Changed, reason)
    }

    fn not_stored(&self) -> Error {
        let reason = "the server acknowledges the bytes and does not have them";
        ErrorContext::new(Operation::Append, self.request.path).error(ErrorKind::Truncated, reason)
    }

    fn local(&self, error: &io::Error) -> Error {
        let reason = format!("the spool file cannot be read: {error}");
        ErrorContext::new(Operation::Append, self.request.path).error(ErrorKind::Local, &reason)
    }
}
