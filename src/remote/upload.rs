//! A file being stored: under a temporary name beside its target, renamed over it when the server
//! has all of it. Readers see the old file or the new one; a failed upload leaves the old one
//! whole.
//!
//! Servers that do not take, show or rename temporary names get the next [`UploadName`]: within
//! [`upload_start::upload`](super::upload_start::upload) where STOR is refused, by another upload
//! ([`ErrorKind::OtherWay`]) where the refusal comes after the data.

use std::fs::File;
use std::mem;
use std::time::Instant;

use super::error::{ErrorContext, Operation, is_unsupported, meaning, refusal};
use super::listing::list_all;
use super::naming::Presence;
use super::resumable_upload::ResumableUpload;
use super::retry::{Exchange, is_lost};
use super::stat::{Lookup, lookup};
use super::steps::UploadName;
use super::temporary::{InPlace, Temporary};
use super::upload_start::may_have;
use super::{Commit, Error, ErrorKind, Remote, Stored, change, finalize, listed_size};
use crate::ftp::{self, Capability, Entry, Finding, Modified, Precision, RemotePath, Session};
use crate::pool::{self, Permit};

/// A file being stored. Dropped before it is committed, it is given up, which may take a moment.
#[derive(Debug)]
pub struct RemoteUpload {
    remote: Remote,
    /// What it was begun for; errors name it.
    path: RemotePath,
    place: UploadPlace,
    name: UploadName,
    state: State,
}

/// Where the bytes go until the commit.
#[derive(Debug)]
pub(super) enum UploadPlace {
    /// A name of ours: whatever is there may be deleted.
    Temporary(Temporary),
    /// The name that the file will have.
    Direct {
        in_place: InPlace,
        /// Nothing had the name before: what is there of a failed upload may be deleted.
        is_new: bool,
    },
    /// Nowhere any more: the temporary name is gone.
    Gone(RemotePath),
}

impl UploadPlace {
    /// The server may still make a file of this name.
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

/// What the server says about a file that it has just acknowledged.
enum Arrival {
    Told(Entry),
    /// Nothing that helps.
    Untold,
    /// There is no such file.
    Unseen(pool::Error),
}

#[derive(Debug)]
enum State {
    Sending(Box<ResumableUpload>),
    Failed(Error),
    /// Committed or given up.
    Ended,
}

/// Whether the server's reply made no sense.
fn is_malformed(fault: &pool::Error) -> bool {
    match fault {
        pool::Error::Session(error) => matches!(**error, ftp::Error::Malformed { .. }),
        pool::Error::Exhausted(_) | pool::Error::Closed => false,
    }
}

/// What SIZE, and MDTM with it, tell of a file.
fn size_and_time(
    session: &mut Session,
    path: &RemotePath,
    has_mdtm: bool,
) -> Result<Entry, ftp::Error> {
    let (size, modified) = if has_mdtm {
        let (size, modified) = session.size_and_modified(path)?;
        (size, modified.ok())
    } else {
        (session.size(path), None)
    };
    let size = match size {
        // An answer without a number, as npm ftp-srv gives of an empty file.
        Err(ftp::Error::Malformed { .. }) if session.is_usable() => None,
        size => Some(size?),
    };
    let mut entry = Entry::new(path.name(), ftp::Kind::File);
    entry.size = size;
    entry.modified = modified.map(|seconds| Modified {
        seconds,
        precision: Precision::Second,
        utc: true,
    });
    Ok(entry)
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
        let sending = ResumableUpload::new(remote, place.path(), is_ours, started);
        Self {
            remote: remote.clone(),
            path: path.clone(),
            place,
            name,
            state: State::Sending(Box::new(sending)),
        }
    }

    /// Bytes handed to the connection so far.
    pub fn sent(&self) -> u64 {
        match &self.state {
            State::Sending(sending) => sending.sent(),
            State::Failed(_) | State::Ended => 0,
        }
    }

    /// Sends the next `length` bytes, found at `self.sent()` in `file`. A connection that breaks is
    /// replaced, and the transfer goes on where the server has got to, if it can.
    ///
    /// # Errors
    /// What broke, in the server's words where it had any ([`ErrorKind::NoSpace`] …), or
    /// [`ErrorKind::Local`]. The upload is given up then, and the same is said when asked again.
    pub fn send(&mut self, file: &File, length: u64) -> Result<(), Error> {
        self.step(|sending| sending.send(file, length))
    }

    /// Waits until the server has acknowledged what was sent, and has the same bytes where it tells
    /// a digest; bytes that were lost with their connection are sent again from `file`. Without a
    /// file, nothing is compared or sent again.
    ///
    /// # Errors
    /// Those of [`RemoteUpload::send`].
    pub fn arrive(&mut self, file: Option<&File>) -> Result<(), Error> {
        self.step(|sending| sending.finish(file))?;
        let Some(file) = file else { return Ok(()) };
        let State::Sending(sending) = &mut self.state else {
            return Ok(());
        };
        let (remote, size) = (self.remote.clone(), sending.sent());
        let mut exchange = sending.lend_lease().map_or_else(
            || remote.exchange(),
            |lease| Exchange::with(remote.pool(), lease),
        );
        let verified = remote.verify_digest(&mut exchange, self.place.path(), file, size);
        sending.put_lease_back(exchange.into_lease());
        verified
    }

    fn step(
        &mut self,
        step: impl FnOnce(&mut ResumableUpload) -> Result<(), pool::Error>,
    ) -> Result<(), Error> {
        match &mut self.state {
            State::Sending(sending) => match step(sending) {
                Ok(()) => Ok(()),
                Err(fault) => Err(self.fail(&fault)),
            },
            State::Failed(error) => Err(error.clone()),
            State::Ended => Err(self
                .context()
                .error(ErrorKind::Other, &"the upload has ended")),
        }
    }

    /// Takes the 226 unless it [has arrived](Self::arrive), checks the size where the server tells
    /// it, sets mode and time, renames over `target`.
    ///
    /// Mode and time are best effort: a server that refuses them is logged, once where it has no
    /// command for them, and the file is stored all the same.
    ///
    /// # Errors
    /// The old file is whole and the temporary one deleted, unless the upload went straight to its
    /// name (which was logged).
    pub fn commit(mut self, target: &RemotePath, commit: &Commit) -> Result<Stored, Error> {
        let sent = self.sent();
        if matches!(self.state, State::Sending(_)) && sent != commit.size {
            let reason = format!("{sent} of {} bytes were sent", commit.size);
            return Err(
                ErrorContext::new(Operation::Store, target).error(ErrorKind::Truncated, &reason)
            );
        }
        self.step(|sending| sending.finish(None))?;
        let remote = self.remote.clone();
        let lease = match mem::replace(&mut self.state, State::Ended) {
            State::Sending(sending) => {
                if sending.was_lost() {
                    self.place.may_appear_late();
                }
                sending.into_lease()
            }
            State::Failed(_) | State::Ended => None,
        };
        let mut exchange = lease.map_or_else(
            || remote.exchange(),
            |lease| Exchange::with(remote.pool(), lease),
        );
        let done = self.verify_and_place(&mut exchange, target, commit);
        match done {
            Ok(_) => self.leave_place(),
            Err(_) => self.remove_temporary(&mut exchange),
        }
        done
    }

    /// Gives up and removes the temporary file. Dropping does the same.
    pub fn abandon(self) {
        drop(self);
    }

    /// From all bytes acknowledged to the file in its place.
    fn verify_and_place(
        &self,
        exchange: &mut Exchange<'_>,
        target: &RemotePath,
        commit: &Commit,
    ) -> Result<Stored, Error> {
        let context = ErrorContext::new(Operation::Store, target);
        let found = match self.arrived(exchange, target, commit.size)? {
            Arrival::Told(entry) => Some(entry),
            Arrival::Unseen(fault) if self.name == UploadName::Hidden => {
                return Err(self.other_way(&context, UploadName::Visible, &fault));
            }
            Arrival::Untold | Arrival::Unseen(_) => None,
        };
        if let Some(size) = found.as_ref().and_then(|found| found.size)
            && size != commit.size
        {
            let reason = format!("the server has {size} of {} bytes", commit.size);
            return Err(context.error(ErrorKind::Truncated, &reason));
        }
        self.confirm_place(exchange, &context)?;
        self.check_dot_names(exchange);
        let from = self.place.path();
        let placed = finalize::place(&self.remote, exchange, from, target, commit, found.as_ref());
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
                Err(context.error(ErrorKind::OtherWay, &error.reason))
            }
            Err(error) => match self.name_after_rename(&error) {
                Some(next) => Err(self.other_way(&context, next, &error.reason)),
                None => Err(context.error(error.kind, &error.reason)),
            },
        }
    }

    /// Makes sure that the temporary name is listed as it is, once per server: one that is changed
    /// may be another upload's, too.
    fn confirm_place(
        &self,
        exchange: &mut Exchange<'_>,
        context: &ErrorContext<'_>,
    ) -> Result<(), Error> {
        let (remote, path) = (&self.remote, self.place.path());
        let profile = remote.profile();
        let next = self.name.next().filter(|next| may_have(remote, *next));
        let (Some(next), false) = (next, profile.is_proven(Capability::PlainNames)) else {
            return Ok(());
        };
        // Such a listing shows no name like this one.
        if path.name().starts_with(b".")
            && profile.finding(Capability::ListsHidden) == Finding::Fails
        {
            return Ok(());
        }
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

    /// A listing left out the temporary name, which the server has.
    fn record_hidden(&self) {
        let why = "it did not list a name that is there";
        self.remote.profile().fails(Capability::ListsHidden, &why);
    }

    /// Finds out whether listings show names that begin with a dot, where many of those had to be
    /// asked for one by one: this upload has such a name now.
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

    /// The name that the next upload is to have, where the rename of this one failed so.
    fn name_after_rename(&self, refused: &Error) -> Option<UploadName> {
        let next = match refused.kind {
            // The server stored what it does not find.
            ErrorKind::NotFound if refused.path == *self.place.path() => self.name.next(),
            ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::Other => {
                Some(UploadName::Final).filter(|_| self.name != UploadName::Final)
            }
            _ => None,
        };
        next.filter(|next| may_have(&self.remote, *next))
    }

    /// Whether RNFR of the temporary name was refused as if for the moment, by a server that has
    /// not renamed any yet, and the file is to be stored under its final name. What may work in a
    /// moment is no reason to overwrite a file in place, but a server that refuses it again and
    /// again renames nothing.
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
            || !may_have(remote, UploadName::Final)
        {
            return false;
        }
        remote.steps().is_refused_again_and_again()
            || matches!(lookup(remote, exchange, target), Ok(Lookup::Absent))
    }

    /// Remembers that uploads of this file begin with `next`; the error that says so.
    fn other_way(
        &self,
        context: &ErrorContext<'_>,
        next: UploadName,
        why: &dyn std::fmt::Display,
    ) -> Error {
        let remote = &self.remote;
        remote
            .steps()
            .skip_to(remote.profile(), context.path, next, Instant::now());
        let name = self.place.path();
        log::info!("the server stored {name} and cannot use it ({why}); trying another name");
        context.error(ErrorKind::OtherWay, why)
    }

    /// What the server has of the upload of `sent` bytes: one question answers for size, time and
    /// mode where the server has MLST (RFC 3659 §7), else SIZE (§4) for the size alone.
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
            return Ok(Arrival::Untold);
        };
        match asked {
            Ok(mut entry) => {
                self.correct_size(exchange, &mut entry, sent);
                Ok(Arrival::Told(entry))
            }
            Err(fault) if is_unsupported(&fault) && profile.has(Capability::Mlst) => {
                profile.fails(Capability::Mlst, &fault);
                self.arrived(exchange, target, sent)
            }
            Err(fault) if is_unsupported(&fault) => {
                profile.fails(Capability::Size, &fault);
                Ok(Arrival::Untold)
            }
            // ProFTPD answers MLST of a name that it hides without a line of facts.
            Err(fault) if is_malformed(&fault) => Ok(Arrival::Unseen(fault)),
            Err(fault) if refusal(&fault).is_some() => {
                log::debug!("the stored size of {target} is not told: {fault}");
                Ok(match meaning(&fault, path) {
                    Some(ErrorKind::NotFound) => Arrival::Unseen(fault),
                    _ => Arrival::Untold,
                })
            }
            Err(fault) => {
                let context = ErrorContext::new(Operation::Store, target);
                Err(self.remote.diagnose(exchange, &context, &fault))
            }
        }
    }

    /// Asks SIZE where MLST tells another size than was sent.
    fn correct_size(&self, exchange: &mut Exchange<'_>, told: &mut Entry, sent: u64) {
        let (profile, path) = (self.remote.profile(), self.place.path());
        if !profile.has(Capability::Mlst)
            || !profile.has(Capability::Size)
            || told.size == Some(sent)
        {
            return;
        }
        if let Ok(size) = exchange.run_idempotent(|session| session.size(path))
            && size == sent
        {
            if let Some(listed) = told.size {
                listed_size::record_wrong(profile, path, listed, size);
            }
            told.size = Some(size);
        }
    }

    /// It cannot be stored: says why, in the server's words where it had any.
    fn fail(&mut self, fault: &pool::Error) -> Error {
        let remote = self.remote.clone();
        let ended = mem::replace(&mut self.state, State::Ended);
        if is_lost(fault) || matches!(&ended, State::Sending(sending) if sending.was_lost()) {
            self.place.may_appear_late();
        }
        // The transfer ends before its name is cleared away.
        drop(ended);
        let mut exchange = remote.exchange();
        let error = remote.diagnose(&mut exchange, &self.context(), fault);
        self.remove_temporary(&mut exchange);
        self.state = State::Failed(error.clone());
        error
    }

    /// Deletes what has come of it, unless that is an older file.
    fn remove_temporary(&mut self, exchange: &mut Exchange<'_>) {
        match self.take_place() {
            UploadPlace::Temporary(temporary) => temporary.delete(exchange),
            UploadPlace::Direct {
                in_place,
                is_new: true,
            } => match change::delete_in(&self.remote, exchange, in_place.path()) {
                Ok(()) => in_place.finished(),
                Err(fault) => log::debug!("{} is left cut short: {fault}", in_place.path()),
            },
            UploadPlace::Direct { .. } | UploadPlace::Gone(_) => {}
        }
    }

    /// The file has its name and all its bytes.
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
        let State::Sending(sending) = &self.state else {
            return;
        };
        if sending.was_lost() {
            self.place.may_appear_late();
        }
        // The transfer is ended before its name is cleared away.
        self.state = State::Ended;
        let remote = self.remote.clone();
        self.remove_temporary(&mut remote.exchange());
    }
}
