//! Uploads: a file is stored under a temporary name next to its target and renamed over it when the
//! server has all of it. Readers see the old file or the new one, and a failed upload leaves the
//! old one intact.
//!
//! On servers that do not accept, list or rename temporary names, the next [`UploadName`] is used:
//! within [`upload_start::upload`](super::upload_start::upload) if STOR is refused, in a second
//! upload ([`ErrorKind::OtherWay`]) if the refusal comes after the data.

mod arrival;
mod copied;
mod placing;

use std::fs::File;
use std::mem;
use std::time::Instant;

use super::error::{ErrorContext, Operation, is_unsupported, meaning, refusal};
use super::listing::list_all;
use super::name_lookup::Lookup;
use super::naming::Presence;
use super::resumable_upload::ResumableUpload;
use super::retry::Exchange;
use super::stat::lookup;
use super::steps::UploadName;
use super::temporary::{InPlace, Temporary};
use super::transience::is_lost;
use super::{CommitOptions, Error, ErrorKind, Remote, StoredFacts, change, finalize, listed_size};
use crate::ftp::{self, Capability, Cause, Entry, Finding, RemotePath};
use crate::pool::{self, Lease, Permit};

pub(crate) use copied::RemoteCopy;
pub(crate) use placing::{CheckedUpload, PlacingResult, PlacingStep};

use arrival::size_and_time;

/// An upload in progress. Dropping it before the commit aborts it, which may take a moment.
#[derive(Debug)]
pub struct RemoteUpload {
    pub(super) remote: Remote,
    /// The path for which it was started; errors name it.
    pub(super) path: RemotePath,
    pub(super) place: UploadPlace,
    name: UploadName,
    state: State,
}

/// The path that receives the data until the commit.
#[derive(Debug)]
pub(super) enum UploadPlace {
    /// A temporary name. The file there can be deleted.
    Temporary(Temporary),
    /// The final name.
    Direct {
        in_place: InPlace,
        /// Whether no file had the name before, so that the remains of a failed upload can be
        /// deleted.
        is_new: bool,
    },
    /// Nowhere: the temporary name no longer exists.
    Gone(RemotePath),
}

impl UploadPlace {
    /// Records that the server may still create a file of this name.
    fn may_appear_late(&mut self) {
        if let Self::Temporary(temporary) = self {
            temporary.may_appear_late();
        }
    }

    fn path(&self) -> &RemotePath {
        match self {
            Self::Temporary(temporary) => temporary.path(),
            Self::Direct { in_place, .. } => in_place.path(),
            Self::Gone(path) => path,
        }
    }
}

/// What the server reports about a file that it has just acknowledged.
enum Arrival {
    Found(Entry),
    /// Nothing useful.
    Unknown,
    /// No such file exists.
    Absent(pool::Error),
}

#[derive(Debug)]
enum State {
    Sending(Box<ResumableUpload>),
    /// The server has copied this number of bytes from another file.
    Copied(u64),
    /// The data was verified, and waits for its name.
    Checked,
    Failed(Error),
    /// Committed or aborted.
    Ended,
}

/// Whether the server's reply was malformed.
fn is_malformed(fault: &pool::Error) -> bool {
    match fault {
        pool::Error::Session(error) => matches!(**error, ftp::Error::Malformed { .. }),
        pool::Error::Unavailable(_)
        | pool::Error::Offline(_)
        | pool::Error::Exhausted(_)
        | pool::Error::Closed
        | pool::Error::Cancelled => false,
    }
}

impl RemoteUpload {
    pub(super) fn new(
        remote: &Remote,
        path: &RemotePath,
        name: UploadName,
        place: UploadPlace,
        started: (ftp::Upload, Permit),
    ) -> Self {
        let is_ours = match place {
            UploadPlace::Temporary(_) => true,
            UploadPlace::Direct { is_new, .. } => is_new,
            UploadPlace::Gone(_) => false,
        };
        let remote = match place {
            UploadPlace::Temporary(_) => remote.for_next_step(),
            // One that is cut leaves a part of the file.
            UploadPlace::Direct { .. } | UploadPlace::Gone(_) => remote.uncancelled(),
        };
        let sending = ResumableUpload::new(&remote, place.path(), is_ours, started);
        Self {
            remote,
            path: path.clone(),
            place,
            name,
            state: State::Sending(Box::new(sending)),
        }
    }

    /// Returns the number of bytes handed to the connection so far.
    pub fn sent(&self) -> u64 {
        match &self.state {
            State::Sending(sending) => sending.sent(),
            State::Copied(size) => *size,
            State::Checked | State::Failed(_) | State::Ended => 0,
        }
    }

    /// Sends the next `length` bytes, which are at `self.sent()` in `file`. A failed connection is
    /// replaced, and the transfer resumes where the server has got to, if possible.
    ///
    /// # Errors
    /// The failure, with the server's text if there is any ([`ErrorKind::NoSpace`] and others), or
    /// [`ErrorKind::Local`]. The upload is aborted, and later calls return the same error.
    pub fn send(&mut self, file: &File, length: u64) -> Result<(), Error> {
        self.step(|sending| sending.send(file, length))
    }

    /// Returns the offset before which the bytes are no longer available.
    pub(super) fn kept_from(&self) -> u64 {
        match &self.state {
            State::Sending(sending) => sending.kept_from(),
            State::Copied(_) | State::Checked | State::Failed(_) | State::Ended => 0,
        }
    }

    /// Returns the path that receives the data.
    pub fn temporary_path(&self) -> &RemotePath {
        self.place.path()
    }

    /// Waits until the server has acknowledged the data and, if it supports digests, until they
    /// match. Bytes that were lost with their connection are sent again from `file`. Without a
    /// file, nothing is compared or sent again; and nothing is compared if its beginning is no
    /// longer [kept](Self::keep_from).
    ///
    /// # Errors
    /// Those of [`RemoteUpload::send`].
    pub fn arrive(&mut self, file: Option<&File>) -> Result<(), Error> {
        self.step(|sending| sending.finish(file))?;
        let Some(file) = file else { return Ok(()) };
        let State::Sending(sending) = &mut self.state else {
            return Ok(());
        };
        if sending.kept_from() > 0 {
            return Ok(());
        }
        let (remote, size) = (self.remote.for_next_step(), sending.sent());
        let mut exchange = remote.exchange();
        exchange.resume_with(sending.lend_lease());
        let verified = remote.verify_digest(&mut exchange, self.place.path(), file, size);
        sending.put_lease_back(exchange.into_lease());
        verified
    }

    pub(super) fn step(
        &mut self,
        step: impl FnOnce(&mut ResumableUpload) -> Result<(), pool::Error>,
    ) -> Result<(), Error> {
        match &mut self.state {
            State::Sending(sending) => match step(sending) {
                Ok(()) => Ok(()),
                Err(fault) => Err(self.fail(&fault)),
            },
            State::Copied(_) | State::Checked => Ok(()),
            State::Failed(error) => Err(error.clone()),
            State::Ended => Err(self
                .context()
                .error(ErrorKind::Other, &"the upload has ended")),
        }
    }

    /// Receives the 226 unless it [has arrived](Self::arrive), checks the size if the server
    /// reports it, sets mode and time, and renames the file over `target`.
    ///
    /// Mode and time are best effort. A refusal is logged, only once if the server has no command
    /// for them, and the file is stored anyway.
    ///
    /// # Errors
    /// The old file is intact and the temporary one deleted, unless the upload went directly to its
    /// final name (which was logged).
    pub fn commit(
        mut self,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<StoredFacts, Error> {
        let lease = self.end_transfer(target, commit)?;
        self.remote = self.remote.uncancelled();
        let remote = self.remote.uncancelled();
        let mut exchange = lease.map_or_else(
            || remote.exchange(),
            |lease| Exchange::with(remote.pool(), lease),
        );
        let verified = self.verify(&mut exchange, target, commit);
        let done = verified
            .and_then(|found| self.place_verified(&mut exchange, target, commit, found.as_ref()));
        match done {
            Ok(_) => self.leave_place(),
            Err(_) => self.remove_temporary(&mut exchange),
        }
        done
    }

    /// Receives the 226, and returns the connection.
    fn end_transfer(
        &mut self,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<Option<Lease>, Error> {
        let sent = self.sent();
        if matches!(self.state, State::Sending(_)) && sent != commit.size {
            let reason = format!("{sent} of {} bytes were sent", commit.size);
            return Err(
                ErrorContext::new(Operation::Store, target).error(ErrorKind::Truncated, &reason)
            );
        }
        self.step(|sending| sending.finish(None))?;
        Ok(match mem::replace(&mut self.state, State::Ended) {
            State::Sending(sending) => {
                if sending.was_lost() {
                    self.place.may_appear_late();
                }
                sending.into_lease()
            }
            State::Copied(_) | State::Checked | State::Failed(_) | State::Ended => None,
        })
    }

    /// Aborts the upload and removes the temporary file. Dropping does the same.
    pub fn abandon(self) {
        drop(self);
    }

    /// Verifies the acknowledged data. Returns what the server reports about it.
    fn verify(
        &self,
        exchange: &mut Exchange<'_>,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<Option<Entry>, Error> {
        let context = ErrorContext::new(Operation::Store, target);
        let found = match self.arrived(exchange, target, commit.size)? {
            Arrival::Found(entry) => Some(entry),
            Arrival::Absent(fault) if self.name == UploadName::Hidden => {
                return Err(self.other_way(&context, UploadName::Visible, &fault));
            }
            Arrival::Unknown | Arrival::Absent(_) => None,
        };
        if let Some(size) = found.as_ref().and_then(|found| found.size)
            && size != commit.size
        {
            let reason = format!("the server has {size} of {} bytes", commit.size);
            if self.remote.profile().has(Capability::LingersAfterUpload) {
                let profile = self.remote.profile();
                profile.fails(Capability::LingersAfterUpload, &reason);
            }
            return Err(context.error(ErrorKind::Truncated, &reason));
        }
        self.confirm_place(exchange, &context)?;
        self.check_dot_names(exchange);
        Ok(found)
    }

    /// Gives the verified file its final name.
    fn place_verified(
        &self,
        exchange: &mut Exchange<'_>,
        target: &RemotePath,
        commit: &CommitOptions,
        found: Option<&Entry>,
    ) -> Result<StoredFacts, Error> {
        let context = ErrorContext::new(Operation::Store, target);
        let from = self.place.path();
        let placed = finalize::place(&self.remote, exchange, from, target, commit, found);
        match placed {
            Ok(stored) => {
                let is_new = matches!(self.place, UploadPlace::Direct { is_new: true, .. });
                let steps = self.remote.steps();
                steps.worked(self.remote.profile(), target, self.name, is_new);
                Ok(stored)
            }
            Err(error) if self.is_refused_for_the_moment(exchange, target, &error) => {
                let steps = self.remote.steps();
                steps.skip_for(target, UploadName::Final, Instant::now());
                Err(context.error_because(ErrorKind::OtherWay, &error))
            }
            Err(error) => match self.name_after_rename(&error) {
                Some(next) => Err(self.other_way(&context, next, &error)),
                None => Err(context.error_because(error.kind, &error)),
            },
        }
    }

    /// Returns the name to try if the server does not preserve this one.
    fn next_name(&self) -> Option<UploadName> {
        let next = self.name.next();
        next.filter(|next| next.is_allowed(self.remote.atomic()))
    }

    /// Whether it is unknown that the server preserves the temporary name, and a listing can show
    /// that.
    pub(super) fn needs_proof(&self) -> bool {
        let profile = self.remote.profile();
        // Such a listing does not show names like this one.
        let is_hidden = self.place.path().name().starts_with(b".")
            && profile.finding(Capability::ListsHidden) == Finding::Fails;
        self.next_name().is_some() && !profile.is_proven(Capability::PlainNames) && !is_hidden
    }

    /// Makes sure, once per server, that the temporary name is listed unchanged. A changed name
    /// could be that of another upload.
    fn confirm_place(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
    ) -> Result<(), Error> {
        let (remote, path) = (&self.remote, self.place.path());
        let profile = remote.profile();
        let Some(next) = self.next_name().filter(|_| self.needs_proof()) else {
            return Ok(());
        };
        match remote.presence(exchange, path) {
            Presence::Listed => {
                profile.works(Capability::PlainNames);
                Ok(())
            }
            Presence::Missing => {
                if self.name == UploadName::Visible {
                    profile.record_cut_length(path.name().len());
                }
                Err(self.other_way(context, next, &"it is not listed"))
            }
            Presence::MayBeHidden => {
                self.record_hidden();
                Ok(())
            }
            Presence::Unknown => Ok(()),
        }
    }

    /// Records that a listing omitted the temporary name, which exists on the server.
    fn record_hidden(&self) {
        let why = "it did not list a name that exists";
        self.remote.profile().fails(Capability::ListsHidden, &why);
    }

    /// Finds out whether listings show names that begin with a dot, if many of those had to be
    /// requested one by one. This upload has such a name at the moment.
    fn check_dot_names(&self, exchange: &mut Exchange<'_>) {
        let (remote, path) = (&self.remote, self.place.path());
        if self.name != UploadName::Hidden
            || remote.profile().finding(Capability::ListsHidden) != Finding::Unknown
            || !remote.listing_checks().is_dot_listing_due()
        {
            return;
        }
        let Some(Ok(listing)) = path.parent().map(|it| list_all(remote, exchange, &it)) else {
            return;
        };
        if !listing.entries.iter().any(|it| it.name == path.name()) {
            self.record_hidden();
        }
    }

    /// Returns the name for the next upload after the rename of this one failed with `refused`.
    fn name_after_rename(&self, refused: &Error) -> Option<UploadName> {
        let next = match refused.kind {
            // The server does not find the file that it stored.
            ErrorKind::NotFound if refused.path == *self.place.path() => self.name.next(),
            ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::Other => {
                Some(UploadName::Final).filter(|_| self.name != UploadName::Final)
            }
            _ => None,
        };
        next.filter(|next| next.is_allowed(self.remote.atomic()))
    }

    /// Whether the file should be stored under its final name because RNFR of the temporary name
    /// was refused with a temporary error by a server that has not renamed any yet. A single
    /// refusal that may be temporary is no reason to overwrite a file in place, but a server that
    /// refuses repeatedly renames nothing.
    fn is_refused_for_the_moment(
        &self,
        exchange: &mut Exchange<'_>,
        target: &RemotePath,
        refused: &Error,
    ) -> bool {
        let (remote, profile) = (&self.remote, self.remote.profile());
        if refused.kind != ErrorKind::Busy
            || refused.path != *self.place.path()
            || self.name == UploadName::Final
            || profile.is_proven(Capability::TemporaryNames)
            || !UploadName::Final.is_allowed(remote.atomic())
        {
            return false;
        }
        remote.steps().is_refused_again_and_again()
            || matches!(lookup(remote, exchange, target), Ok(Lookup::Absent))
    }

    /// Makes further uploads of this file start with `next`, and returns the error that says so.
    fn other_way(&self, context: &ErrorContext<'_>, next: UploadName, why: &dyn Cause) -> Error {
        let remote = &self.remote;
        remote
            .steps()
            .skip_to(remote.profile(), context.path, next, Instant::now());
        let name = self.place.path();
        log::info!(
            path = name, reply = why.quoted_reply();
            "the server stored {name} and cannot use it ({why}); trying another name"
        );
        context.error(ErrorKind::OtherWay, why)
    }

    /// Returns what the server has of the upload of `sent` bytes. MLST (RFC 3659 §7) reports size,
    /// time and mode in one reply; otherwise SIZE (§4) reports only the size.
    fn arrived(
        &self,
        exchange: &mut Exchange<'_>,
        target: &RemotePath,
        sent: u64,
    ) -> Result<Arrival, Error> {
        let (profile, path) = (self.remote.profile(), self.place.path());
        let asked = if profile.has(Capability::Mlst) {
            exchange.run_idempotent(|session| session.mlst(path))
        } else if profile.has(Capability::Size) {
            exchange.run_idempotent(|session| {
                size_and_time(session, path, profile.has(Capability::Mdtm))
            })
        } else {
            return Ok(Arrival::Unknown);
        };
        match asked {
            Ok(mut entry) => {
                self.correct_size(exchange, &mut entry, sent);
                Ok(Arrival::Found(entry))
            }
            Err(fault) if is_unsupported(&fault) && profile.has(Capability::Mlst) => {
                profile.fails(Capability::Mlst, &fault);
                self.arrived(exchange, target, sent)
            }
            Err(fault) if is_unsupported(&fault) => {
                profile.fails(Capability::Size, &fault);
                Ok(Arrival::Unknown)
            }
            // ProFTPD replies to MLST of a name that it hides without a line of facts.
            Err(fault) if is_malformed(&fault) => Ok(Arrival::Absent(fault)),
            Err(fault) if refusal(&fault).is_some() => {
                log::debug!("cannot get the stored size of {target}: {fault}");
                Ok(match meaning(&fault, path) {
                    Some(ErrorKind::NotFound) => Arrival::Absent(fault),
                    _ => Arrival::Unknown,
                })
            }
            Err(fault) => {
                let context = ErrorContext::new(Operation::Store, target);
                Err(self.remote.diagnose(exchange, &context, &fault))
            }
        }
    }

    /// Requests SIZE if MLST reports a different size than was sent.
    fn correct_size(&self, exchange: &mut Exchange<'_>, reported: &mut Entry, sent: u64) {
        let (profile, path) = (self.remote.profile(), self.place.path());
        if !profile.has(Capability::Mlst)
            || !profile.has(Capability::Size)
            || reported.size == Some(sent)
        {
            return;
        }
        if let Ok(size) = exchange.run_idempotent(|session| session.size(path))
            && size == sent
        {
            if let Some(listed) = reported.size {
                listed_size::record_wrong(profile, path, listed, size);
            }
            reported.size = Some(size);
        }
    }

    /// Aborts the upload, and returns the reason with the server's text if there is any.
    fn fail(&mut self, fault: &pool::Error) -> Error {
        let remote = self.remote.for_next_step();
        let ended = mem::replace(&mut self.state, State::Ended);
        if is_lost(fault) || matches!(&ended, State::Sending(sending) if sending.was_lost()) {
            self.place.may_appear_late();
        }
        // The transfer must end before its file is deleted.
        drop(ended);
        let mut exchange = remote.exchange();
        let error = remote.diagnose(&mut exchange, &self.context(), fault);
        self.remove_temporary(&mut exchange);
        self.state = State::Failed(error.clone());
        error
    }

    /// Deletes the remains of the upload, unless they are an older file.
    fn remove_temporary(&mut self, exchange: &mut Exchange<'_>) {
        match self.take_place() {
            UploadPlace::Temporary(temporary) => temporary.delete(exchange),
            UploadPlace::Direct {
                in_place,
                is_new: true,
            } => match change::delete_in(&self.remote, exchange, in_place.path()) {
                Ok(()) => in_place.finished(),
                Err(fault) => log::debug!("{} remains truncated: {fault}", in_place.path()),
            },
            UploadPlace::Direct { .. } | UploadPlace::Gone(_) => {}
        }
    }

    /// Records that the file has its final name and all its bytes.
    fn leave_place(&mut self) {
        match self.take_place() {
            UploadPlace::Temporary(temporary) => temporary.mark_gone(),
            UploadPlace::Direct { in_place, .. } => in_place.finished(),
            UploadPlace::Gone(_) => {}
        }
    }

    fn take_place(&mut self) -> UploadPlace {
        let path = self.place.path().clone();
        mem::replace(&mut self.place, UploadPlace::Gone(path))
    }

    fn context(&self) -> ErrorContext<'_> {
        ErrorContext::new(Operation::Store, &self.path)
    }
}

impl Drop for RemoteUpload {
    fn drop(&mut self) {
        match &self.state {
            State::Sending(sending) if sending.was_lost() => self.place.may_appear_late(),
            State::Sending(_) | State::Copied(_) | State::Checked => {}
            State::Failed(_) | State::Ended => return,
        }
        // The transfer must end before its file is deleted.
        self.state = State::Ended;
        let remote = self.remote.for_next_step();
        self.remove_temporary(&mut remote.exchange());
    }
}
