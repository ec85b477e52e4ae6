//! Files of which the server has the beginning and a spool has the rest: what programs append to a
//! large file is all that is sent (`Remote::append`).
//!
//! 1. [`OpenFile::begin_tail`] creates a spool for the first write that changes nothing before the
//!    end. Reads of what is before it go to the server.
//! 2. [`OpenFile::store_tail`] appends it at close or sync.
//! 3. [`OpenFile::on_appended`] makes programs read the server's file, which has everything.
//!
//! If the server refuses to append, or a program changes what is before the end, the rest is
//! fetched ([`OpenFile::fetch_rest`]) and the whole file is stored. If another writer has changed
//! the file, the appended bytes are copied to where the user finds them
//! ([`OpenFile::give_up_tail`]).

use std::sync::{Arc, Mutex, PoisonError};

use super::change::{Needed, Position};
use super::commit::version_after;
use super::fill::{self, FillError};
use super::follow::ReachedEnd;
use super::tail::AppendedTail;
use super::{OpenFile, Spooled, UploadFailure, empty_spool};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::{Precision, Version};
use crate::guarded::OnDrop;
use crate::journal::Pending;
use crate::remote::{self, AppendOutcome, AppendRequest, Error, ErrorKind, StoredFacts};
use crate::vfs::errno::Errno;
use crate::vfs::local::error::SpoolError;
use crate::vfs::read::{PinnedVersion, ReadEnd};
use crate::vfs::transfers::{Direction, Extent};
use crate::vfs::write::state::{LateAttributes, LocalCopy};
use crate::vfs::write::uploader::Priority;

/// Minimum size in bytes of a file to which only the new bytes are sent. A smaller one is stored
/// whole, which is atomic and takes as many round trips.
const LARGE: u64 = 256 << 10;

/// Bytes copied at a time.
const COPIED: usize = 1 << 20;

impl OpenFile {
    /// Begins a spool for what is appended, if `needed` says that a change is an append and the
    /// server may append. Returns whether the caller should try its change again. The caller holds
    /// the gate.
    pub(super) fn begin_tail(&self, needed: Needed, cancel: &Cancel) -> Result<bool, Errno> {
        let (reader, base, mode) = {
            let state = self.state();
            let Some(reader) = state.contents.reader() else {
                // Another thread was first, or the contents are closed.
                return Ok(state.contents.local().is_some_and(|it| it.tail.is_none()));
            };
            let Some(base) = state.base.filter(|_| !state.naming.is_unlinked()) else {
                return Ok(false);
            };
            if reader.has_changed() || reader.corrected_size().is_some() {
                return Ok(false);
            }
            (Arc::clone(reader), base, state.attributes.mode)
        };
        let Some(size) = base.size.filter(|size| self.may_append(*size, needed)) else {
            return Ok(false);
        };
        let path = self.services.inodes.path(self.ino)?;
        let remote = self.services.remote.with(cancel);
        match remote.has_listed_size(&path, size) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            // The size is compared again before anything is sent.
            Err(error) if error.kind == ErrorKind::Offline => {}
            Err(error) => return Err(error.into()),
        }
        let spool = Arc::new(self.services.spools.create_from(&path, size)?);
        let store = Arc::new(self.services.store(self.ino, &spool));
        let tail = Some(AppendedTail::new(Arc::clone(&reader), base, size, mode));
        let mut state = self.state();
        let is_current = state
            .contents
            .reader()
            .is_some_and(|it| Arc::ptr_eq(it, &reader));
        if is_current {
            state.contents.begin_draft(Spooled { spool, store, tail });
        }
        Ok(true)
    }

    pub(super) fn may_append(&self, size: u64, needed: Needed) -> bool {
        size >= LARGE && needed.keeps(size) && self.services.remote.may_append()
    }

    /// Whether a program that only appends needs none of the contents here.
    pub(in crate::vfs) fn may_be_appended_to(&self) -> bool {
        let size = self.base().and_then(|base| base.size);
        size.is_some_and(|size| size >= LARGE && self.services.remote.may_append())
    }

    /// Whether a change that is `needed` appends to a copy that the server has, so that only the
    /// new bytes need to be sent.
    pub(super) fn may_continue_stored(&self, needed: Needed) -> bool {
        let (size, version) = {
            let state = self.state();
            let Some(copy) = state.stored_copy() else {
                return false;
            };
            if copy.spool.is_partial() || state.naming.is_unlinked() {
                return false;
            }
            (copy.spool.len(), state.base)
        };
        version.is_some_and(|version| version.size == Some(size)) && self.may_append(size, needed)
    }

    /// Makes the copy that the server has one that is appended to. The caller holds the gate.
    pub(super) fn continue_stored(&self, needed: Needed) {
        // No program writes into the copy.
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        if !self.may_continue_stored(needed) {
            return;
        }
        let Some((copy, version)) = self.local().zip(self.base()) else {
            return;
        };
        let reader = Arc::new(self.services.reader(self.ino, version));
        let mut state = self.state();
        let mode = state.attributes.mode;
        let size = copy.spool.len();
        let tail = Some(AppendedTail::new(reader, version, size, mode));
        state.contents.begin_draft(Spooled { tail, ..copy });
    }

    /// Whether what was appended can be stored to make room for more.
    pub(in crate::vfs) fn is_tail(&self) -> bool {
        let draft = self.state().contents.changeable().cloned();
        draft.is_some_and(|draft| draft.tail.is_some())
    }

    /// Drops the local copy of contents that the server has, to make room. Programs read them from
    /// the server. If a `change` is about to be made here, it must only append. Returns whether the
    /// copy took any room.
    pub(in crate::vfs) fn drop_stored_copy(&self, change: Option<Position>) -> bool {
        if self.state().clean_copy().is_none() {
            return false;
        }
        // No program writes into the copy, and no upload reads it.
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let Some((copy, version)) = state.clean_copy().cloned().zip(state.base) else {
            return false;
        };
        let is_needed =
            change.is_some_and(|position| !self.may_append(copy.spool.len(), position.into()));
        if is_needed || copy.spool.held() == 0 || state.naming.is_unlinked() {
            return false;
        }
        let reader = Arc::new(self.services.reader(self.ino, version));
        state.contents.leave(&copy, reader);
        state.reached = None;
        true
    }

    /// Fetches what is before the spool, so that it can be changed. The caller holds the gate.
    pub(super) fn fetch_rest(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        let fetched = self.whole_of(spooled, tail, cancel, |whole| {
            self.state().contents.begin_draft(whole.clone());
        });
        match fetched {
            Ok(_) => {
                let is_sealed = self.sealed().is_some_and(|sealed| sealed.is_same(spooled));
                if !is_sealed {
                    spooled.spool.journal_record().done();
                }
                Ok(())
            }
            Err(FillError::Remote(error)) if error.kind == ErrorKind::Changed => {
                log::warn!(path = error.path; "{error}");
                Err(Errno::IO)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a copy of the whole contents, and calls `replace` with it while no program writes.
    fn whole_of(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        cancel: &Cancel,
        replace: impl FnOnce(&Spooled),
    ) -> Result<Spooled, FillError> {
        let start = spooled.spool.start();
        if start == 0 {
            let alone = self.changing.write();
            let _alone = alone.unwrap_or_else(PoisonError::into_inner);
            let whole = Spooled {
                tail: None,
                ..spooled.clone()
            };
            replace(&whole);
            return Ok(whole);
        }
        let whole = empty_spool(&self.services, self.ino).map_err(|errno| {
            let error = std::io::Error::from_raw_os_error(errno.code());
            FillError::Spool(error.into())
        })?;
        whole.spool.expect(spooled.spool.len())?;
        self.state().filling = Some(Arc::clone(&whole.spool));
        let _filled = OnDrop::new(|| self.state().filling = None);
        let expected = PinnedVersion::new(tail.version());
        if tail.is_started() {
            expected.may_become(tail.fixed());
        }
        let source = self.services.source(self.ino);
        fill::fill_beginning(&whole.spool, &source, &Arc::new(expected), start, cancel)?;
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let mut at = start;
        loop {
            let bytes = spooled.spool.read_at(at, COPIED)?;
            if bytes.is_empty() {
                break;
            }
            whole.spool.write_at(at, &bytes)?;
            at += bytes.len() as u64;
        }
        whole.store.filled(at);
        replace(&whole);
        Ok(whole)
    }

    /// Stores what was appended. The caller holds the gate and has recorded that the upload begins.
    pub(super) fn store_tail(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        priority: Priority,
    ) -> Result<Option<Attributes>, Error> {
        let Some(pending) = self.pending_of(spooled) else {
            self.has_not_stored(spooled);
            return Err(super::commit::nowhere());
        };
        spooled.spool.journal_record().pending(&pending);
        let panicked = OnDrop::new(|| self.has_not_stored(spooled));
        let mut end = 0;
        let outcome = self.append_now(spooled, tail, &pending, priority, &mut end);
        panicked.disarm();
        match outcome {
            Ok(Some(AppendOutcome::Appended(version))) => Ok(Some(
                self.on_appended(spooled, tail, &pending, end, version),
            )),
            Ok(Some(AppendOutcome::Refused(reason))) => {
                log::info!(
                    path = pending.target;
                    "{} is stored whole: {reason}", pending.target
                );
                self.store_whole(spooled, tail, &pending, priority)
            }
            Ok(Some(AppendOutcome::Stopped) | None) => {
                self.has_not_stored(spooled);
                Ok(None)
            }
            Err(error) if error.kind == ErrorKind::Changed => {
                Err(self.give_up_tail(spooled, tail, &pending, error))
            }
            Err(error) => {
                self.has_not_stored(spooled);
                Err(error)
            }
        }
    }

    /// Appends what is in the spool now, and sets `end` to its end.
    fn append_now(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        pending: &Pending,
        priority: Priority,
        end: &mut u64,
    ) -> Result<Option<AppendOutcome>, Error> {
        let is_repeated = tail.is_started();
        let generation = {
            // A change that is counted is also in the length.
            let alone = self.changing.write();
            let _alone = alone.unwrap_or_else(PoisonError::into_inner);
            *end = spooled.spool.len();
            tail.start(*end);
            // A copy that continues this one has the same bytes.
            for other in self.state().tails() {
                other.start(*end);
            }
            spooled.store.generation()
        };
        let first = tail.end();
        let request = AppendRequest {
            path: &pending.target,
            base: tail.version(),
            file: spooled.spool.file(),
            range: first..*end,
            is_repeated,
        };
        let remote = self.services.remote.uncancelled();
        let extent = Extent::Bytes(end.saturating_sub(first));
        let transfers = &self.services.transfers;
        let ticket = transfers.begin(pending.target.clone(), Direction::Upload, extent);
        let ticket = Mutex::new((ticket, first));
        let target = &pending.target;
        spooled.store.append(target, generation, priority, |go_on| {
            remote.append(&request, &|at| {
                let mut moved = ticket.lock().unwrap_or_else(PoisonError::into_inner);
                let count = at.saturating_sub(moved.1);
                moved.0.moved(count);
                moved.1 = moved.1.max(at);
                drop(moved);
                go_on(at)
            })
        })
    }

    /// Stores the whole file, because the server refused to append.
    fn store_whole(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        pending: &Pending,
        priority: Priority,
    ) -> Result<Option<Attributes>, Error> {
        let mode = tail.mode();
        let fetched = self.whole_of(spooled, tail, &Cancel::never(), |whole| {
            self.state().contents.replace(spooled, whole, mode);
        });
        let whole = match fetched {
            Ok(whole) => whole,
            Err(FillError::Remote(error)) if error.kind == ErrorKind::Changed => {
                return Err(self.give_up_tail(spooled, tail, pending, error));
            }
            Err(error) => {
                self.has_not_stored(spooled);
                return Err(to_error(error, pending));
            }
        };
        let is_sealed = self.sealed().is_some_and(|sealed| sealed.is_same(&whole));
        if is_sealed && let Some(pending) = self.pending_of(&whole) {
            whole.store.set_persisted(true);
            if let Err(error) = whole.spool.journal_record().persist(&pending) {
                log::warn!(
                    path = pending.target;
                    "if ftpfs is killed now, what was appended to {} is lost: {error}",
                    pending.target
                );
            }
        }
        if !whole.is_same(spooled) {
            spooled.spool.journal_record().done();
        }
        self.store(&whole, priority)
    }

    /// Records the state of the file after the server has the bytes of `spooled` before `end`, in
    /// `version`. Returns the new attributes.
    fn on_appended(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        pending: &Pending,
        end: u64,
        version: Version,
    ) -> Attributes {
        let mut attributes = {
            let mut state = self.state();
            state.failure = UploadFailure::None;
            state.contents.sent_modified(pending.commit.modified);
            let shown = &state.attributes;
            Attributes {
                size: version.size,
                modified: version.modified.or(shown.modified),
                mode: if state.contents.is_visible(spooled) {
                    shown.mode
                } else {
                    pending.commit.mode.or(tail.mode())
                },
                unique: version.unique,
                ..shown.clone()
            }
        };
        let stored = StoredFacts {
            modified: match version.modified {
                Some((seconds, Precision::Second)) => Some(seconds),
                Some(_) | None => None,
            },
            mode: tail.mode(),
            unique: version.unique,
            is_exact: false,
        };
        let set = LateAttributes {
            modified: pending.commit.modified,
            mode: pending.commit.mode,
        };
        self.set_late(&pending.target, set, stored, &mut attributes);
        loop {
            let late = self.state().contents.take_late(spooled);
            let Some(late) = late else { break };
            self.set_late(&pending.target, late, stored, &mut attributes);
        }
        let base = version_after(&attributes, stored);
        self.record_uploaded(spooled, base);
        self.continue_on_server(spooled, tail, &attributes, base, end);
        attributes
    }

    /// Makes programs read the server's file, unless they have appended more in the meantime.
    fn continue_on_server(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        attributes: &Attributes,
        base: Version,
        end: u64,
    ) {
        let is_alone = base.size == Some(end);
        let reader = Arc::new(self.services.reader(self.ino, base));
        let first = end.saturating_sub(ReadEnd::wanted(end) as u64);
        let first = first.max(spooled.spool.start());
        let last = spooled
            .spool
            .read_at(first, (end - first.min(end)) as usize);
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if spooled.is_dirty() {
            tail.advance(base, end, &reader);
            return;
        }
        if !state.contents.is_visible(spooled) {
            return;
        }
        state.attributes = attributes.clone();
        if spooled.spool.start() == 0 && is_alone {
            let whole = Spooled {
                tail: None,
                ..spooled.clone()
            };
            state.contents.replace(spooled, &whole, None);
            return;
        }
        let reached = match last {
            Ok(last) if is_alone && !last.is_empty() => {
                let end = ReadEnd::new(end, &last);
                state.reached.map(|reached| {
                    reader.continue_from(end);
                    ReachedEnd::at(end, reached)
                })
            }
            Ok(_) | Err(_) => None,
        };
        state.contents.leave(spooled, reader);
        state.reached = reached;
        // Another program may ask for the size before the listings are updated.
        state.is_unlisted = state.contents.reader().is_some();
    }

    /// Copies what was appended to where the user finds it, because another writer has changed the
    /// file on the server. Programs see that file from now on. Returns the error to report.
    fn give_up_tail(
        &self,
        spooled: &Spooled,
        tail: &AppendedTail,
        pending: &Pending,
        error: Error,
    ) -> Error {
        let record = spooled.spool.journal_record();
        let kept = record.recover_end(pending.target.name(), tail.end());
        let is_sealed = self.sealed().is_some_and(|sealed| sealed.is_same(spooled));
        let reason = match kept {
            Ok(kept) => format!(
                "{}; the appended bytes are in {}",
                error.reason,
                kept.display()
            ),
            // They stay, as no program can report them any more.
            Err(problem) if is_sealed => {
                self.has_not_stored(spooled);
                return Error {
                    reason: format!("{}; {problem}", error.reason),
                    ..error
                };
            }
            Err(problem) => format!("{}; the appended bytes are lost: {problem}", error.reason),
        };
        let found = self.services.remote.uncancelled().stat(&pending.target);
        let attributes = found.ok().map(|entry| Attributes::from(&entry));
        let version = attributes.as_ref().map_or(tail.version(), Version::from);
        let reader = Arc::new(self.services.reader(self.ino, version));
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        state.contents.give_up(spooled, reader);
        state.reached = None;
        state.checked = self.services.clock.now();
        state.base = state.base.map(|_| version);
        if state.contents.local().is_none()
            && let Some(attributes) = attributes
        {
            state.attributes = attributes;
        }
        drop(state);
        record.done();
        Error {
            kind: ErrorKind::Other,
            reason,
            ..error
        }
    }
}

fn to_error(error: FillError, pending: &Pending) -> Error {
    let kind = match &error {
        FillError::Remote(_) => ErrorKind::Other,
        FillError::Spool(SpoolError::NoSpace) => ErrorKind::NoSpace,
        FillError::Spool(_) => ErrorKind::Local,
    };
    match error {
        FillError::Remote(error) => error,
        FillError::Spool(error) => remote::Error {
            kind,
            operation: "append to",
            path: pending.target.clone(),
            reason: error.to_string(),
            reply: None,
        },
    }
}
