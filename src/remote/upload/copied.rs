//! Uploads of which no byte is sent, because the server copies another of its files to the
//! temporary name. The rest is as for any upload: the journal has the name before the server does,
//! the size is checked, and the rename is atomic.

use std::time::{Duration, Instant};

use super::{Arrival, RemoteUpload, State, UploadPlace};
use crate::ftp::{Finding, RemotePath, Session, Version};
use crate::pool;
use crate::remote::error::{ErrorContext, Operation, is_unsupported, refusal};
use crate::remote::fallbacks::{CopyWay, Fallback};
use crate::remote::retry::{ChangeOutcome, Exchange};
use crate::remote::steps::UploadName;
use crate::remote::temporary::Temporary;
use crate::remote::transience::is_lost;
use crate::remote::{Atomic, CommitOptions, Error, ErrorKind, Remote, RemoteHandle, StoredFacts};

/// Minimum rate in bytes per second at which a server copies a file.
const SLOWEST: u64 = 10 << 20;

/// A copy of a file that the server has made under a temporary name.
#[derive(Debug)]
pub(crate) struct RemoteCopy {
    upload: RemoteUpload,
    /// Whether the server gave the copy the time of its source.
    keeps_time: bool,
}

impl RemoteHandle {
    /// Whether the server is known to copy files.
    pub(crate) fn copies_files(&self) -> bool {
        self.atomic() != Atomic::Never && CopyWay::candidates(self.profile()).next().is_some()
    }
}

impl Remote {
    /// Makes the server copy the file at `from`, which has this version and a known size, to a
    /// temporary name next to `to`.
    ///
    /// # Errors
    /// [`ErrorKind::NoSpace`] and [`ErrorKind::QuotaExceeded`] if the server has no room for a
    /// copy. [`ErrorKind::Changed`] if the file has another version or the copy another size. Any
    /// other kind means that this server cannot copy this file. Nothing is left in each case.
    pub(crate) fn copy(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        version: &Version,
    ) -> Result<RemoteCopy, Error> {
        let context = ErrorContext::new(Operation::Copy, from);
        let unsupported = |reason: &str| context.error(ErrorKind::Unsupported, reason);
        let size = version
            .size
            .ok_or_else(|| unsupported("its size is unknown"))?;
        let first = self.steps().first(self.profile(), to, Instant::now());
        if self.atomic() == Atomic::Never || first == UploadName::Final {
            return Err(unsupported("the copy would have no temporary name"));
        }
        let mut exchange = self.begin(&context)?;
        self.confirm_name(
            &mut exchange,
            &ErrorContext::new(Operation::Store, to),
            true,
        )?;
        let temporary = self.new_part(to, first == UploadName::Hidden);
        let temporary = temporary.ok_or_else(|| unsupported("the root is a directory"))?;
        let temporary = self.copy_to(&mut exchange, &context, temporary, size)?;
        let upload = RemoteUpload {
            remote: self.uncancelled(),
            path: to.clone(),
            place: UploadPlace::Temporary(temporary),
            name: first,
            state: State::Copied(size),
        };
        let found = match upload.arrived(&mut exchange, to, size)? {
            Arrival::Found(found) if found.size == Some(size) => Version::from(&found),
            Arrival::Found(found) if found.size.is_some() => {
                return Err(context.error(ErrorKind::Changed, "the copy has another size"));
            }
            Arrival::Found(_) | Arrival::Unknown | Arrival::Absent(_) => {
                return Err(unsupported("the server does not show the size of the copy"));
            }
        };
        // The question takes a session of its own.
        drop(exchange);
        let now = self.uncancelled().version(from)?;
        if !version.is_proven_by(&now) {
            return Err(context.error(ErrorKind::Changed, "it is another version"));
        }
        Ok(RemoteCopy {
            upload,
            keeps_time: now.modified.is_some() && now.modified == found.modified,
        })
    }

    /// Copies the file of `context` to `temporary`, which is returned, by the first command that
    /// the server accepts.
    fn copy_to(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
        mut temporary: Temporary,
        size: u64,
    ) -> Result<Temporary, Error> {
        let (from, profile) = (context.path, self.profile());
        let patience = Duration::from_secs(size / SLOWEST);
        let mut last = None;
        for way in CopyWay::candidates(profile) {
            let to = temporary.path().clone();
            let copied = match way {
                CopyWay::Pair => exchange
                    .run_idempotent(|session| session.copy_from(from))
                    .and_then(|()| once(exchange, |session| session.copy_to(&to, patience))),
                CopyWay::Single => once(exchange, |session| session.copy(from, &to, patience)),
            };
            let Err(fault) = copied else {
                profile.works(way.capability());
                return Ok(temporary);
            };
            if is_lost(&fault) {
                temporary.may_appear_late();
            }
            let error = self.diagnose(exchange, context, &fault);
            let says_something_else = matches!(
                error.kind,
                ErrorKind::NoSpace
                    | ErrorKind::QuotaExceeded
                    | ErrorKind::FileTooLarge
                    | ErrorKind::NotFound
            );
            let is_unproven = profile.finding(way.capability()) != Finding::Works;
            if is_unsupported(&fault)
                || (refusal(&fault).is_some() && is_unproven && !says_something_else)
            {
                profile.fails(way.capability(), &fault);
            }
            let is_next_worth_it = is_unsupported(&fault);
            last = Some(error);
            if !is_next_worth_it {
                break;
            }
        }
        // A refused copy may have begun.
        temporary.delete(exchange);
        let reason = "the server has no command for it";
        Err(last.unwrap_or_else(|| context.error(ErrorKind::Unsupported, reason)))
    }
}

/// Runs a step that is not repeated: after a lost connection, the server may still be at work.
fn once(
    exchange: &mut Exchange<'_>,
    step: impl FnMut(&mut Session) -> Result<(), crate::ftp::Error>,
) -> Result<(), pool::Error> {
    exchange.run_verified(step, |_| ChangeOutcome::Unknown)
}

impl RemoteCopy {
    /// Returns the temporary path.
    pub(crate) fn path(&self) -> &RemotePath {
        self.upload.temporary_path()
    }

    /// Whether the copy has the time of its source unless another one is set. A new file should
    /// have the time of its creation.
    pub(crate) fn keeps_time(&self) -> bool {
        self.keeps_time
    }

    /// Makes the copy the file at `target`, as [`RemoteUpload::commit`] does.
    ///
    /// # Errors
    /// The old file is intact, and the copy still exists under its temporary name.
    pub(crate) fn commit(
        &mut self,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<StoredFacts, Error> {
        let remote = self.upload.remote.uncancelled();
        let mut exchange = remote.exchange();
        let found = self.upload.verify(&mut exchange, target, commit)?;
        let stored = self
            .upload
            .place_verified(&mut exchange, target, commit, found.as_ref())?;
        self.upload.state = State::Ended;
        self.upload.leave_place();
        Ok(stored)
    }
}
