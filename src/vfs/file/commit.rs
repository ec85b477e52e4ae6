//! Storing a file on the server: one upload at a time, through the gate.

use std::sync::Arc;
use std::time::SystemTime;

use super::{OpenFile, Spooled, UploadFailure};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::{Precision, RemotePath, Version};
use crate::guarded::OnDrop;
use crate::journal::Pending;
use crate::remote::{self, CommitOptions, ErrorKind, StoredFacts};
use crate::vfs::errno::Errno;
use crate::vfs::write::state::{LateAttributes, RecordFate};
use crate::vfs::write::uploader::Priority;

/// Maximum number of bytes of an upload that takes a connection only for a moment.
const BRIEF: u64 = 16 << 10;

impl OpenFile {
    /// Stores what is pending. Returns when the server has acknowledged every byte, or with the
    /// error.
    ///
    /// `list` gets the attributes of the stored file, if something had to be stored, before anyone
    /// else may enter the file, and compare it with the listings.
    pub(in crate::vfs) fn commit(
        &self,
        cancel: &Cancel,
        list: impl FnOnce(Attributes),
    ) -> Result<(), Errno> {
        let _pass = self.enter(cancel)?;
        if let Some(stored) = self.commit_alone(cancel)? {
            list(stored);
        }
        Ok(())
    }

    fn commit_alone(&self, cancel: &Cancel) -> Result<Option<Attributes>, Errno> {
        if self.is_dirty()
            && let Some(copy) = self.copied()
        {
            let stored = self.store_copy(&copy, cancel);
            if stored.is_err() {
                self.state().failure = UploadFailure::Reported;
            }
            if let Some(stored) = stored? {
                return Ok(Some(stored));
            }
        }
        loop {
            let Some(spooled) = self.local() else {
                return Ok(None);
            };
            if !self.is_dirty() {
                return Ok(None);
            }
            let stored = self.store(&spooled, Priority::Foreground);
            if stored.is_err() {
                self.state().failure = UploadFailure::Reported;
            }
            match stored? {
                // Newer contents have taken its place.
                None if !self.state().contents.is_current(&spooled) => {}
                stored => return Ok(stored),
            }
        }
    }

    /// Stores the most recently closed contents, and calls `list` like [`Self::commit`]. Returns
    /// false if that was interrupted or already done.
    pub(in crate::vfs) fn store_sealed(
        &self,
        priority: Priority,
        cancel: &Cancel,
        list: impl FnOnce(Attributes),
    ) -> Result<bool, remote::Error> {
        let Ok(_pass) = self.enter(cancel) else {
            return Err(self.not_entered(cancel));
        };
        let Some(sealed) = self.sealed() else {
            return Ok(false);
        };
        let stored = self.store(&sealed, priority)?;
        Ok(stored.map(list).is_some())
    }

    fn not_entered(&self, cancel: &Cancel) -> remote::Error {
        let (kind, reason) = if cancel.is_cancelled() {
            (ErrorKind::Interrupted, "the request was interrupted")
        } else {
            (
                ErrorKind::TimedOut,
                "another change of the same file is stuck",
            )
        };
        remote::Error {
            kind,
            operation: "store",
            path: self
                .services
                .inodes
                .path(self.ino)
                .unwrap_or_else(|_| RemotePath::root()),
            reason: reason.to_owned(),
            reply: None,
        }
    }

    /// Stores `spooled`. The caller holds the gate.
    pub(super) fn store(
        &self,
        spooled: &Spooled,
        priority: Priority,
    ) -> Result<Option<Attributes>, remote::Error> {
        // What is not sent to a temporary name, or compared with the server first, waits for its
        // turn before the first byte.
        if priority == Priority::Background
            && self.needs_turn(spooled)
            && !self.services.names.try_begin_store(self.ino)
        {
            self.has_not_stored(spooled);
            return Ok(None);
        }
        if let Some(recent) = &self.services.recent {
            recent.remove(self.ino);
        }
        if !self.state().contents.upload_begins(spooled) {
            return Ok(None);
        }
        if let Some(tail) = &spooled.tail {
            return self.store_tail(spooled, tail, priority);
        }
        self.supersede_left(spooled);
        let Some(pending) = self.pending_of(spooled) else {
            self.has_not_stored(spooled);
            return Err(nowhere());
        };
        // The next mount could not store a part.
        let kept = spooled.store.keep_all();
        if kept.is_some() {
            spooled.spool.journal_record().pending(&pending);
        }
        match self.check_left(spooled, &pending) {
            Ok(None) => {}
            Ok(stored) => {
                self.forget_cached(&pending.target);
                return Ok(stored);
            }
            Err(error) => {
                self.has_not_stored(spooled);
                return Err(error);
            }
        }
        let panicked = OnDrop::new(|| self.has_not_stored(spooled));
        let began = SystemTime::now();
        self.forget_cached(&pending.target);
        let outcome = spooled
            .store
            .commit(&pending.target, &pending.commit, priority);
        panicked.disarm();
        match outcome {
            Ok(Some(stored)) => {
                let attributes = self.on_uploaded(spooled, &pending, stored);
                let version = version_after(&attributes, stored);
                // What transfers of the old contents have added meanwhile.
                self.forget_cached(&pending.target);
                let is_as_sent = version.modified.map(|it| it.0) == stored.modified;
                self.keep_recent(spooled, &version, stored.is_exact && is_as_sent);
                if stored.is_exact && is_as_sent {
                    self.keep_uploaded(spooled, &pending.target, &version, began);
                }
                Ok(Some(attributes))
            }
            Ok(None) => {
                self.note_unproven(spooled);
                self.has_not_stored(spooled);
                Ok(None)
            }
            Err(error) => {
                self.note_unproven(spooled);
                if error.kind == ErrorKind::Offline {
                    self.set_offline();
                }
                self.has_not_stored(spooled);
                Err(error)
            }
        }
    }

    /// Whether nothing of the closed contents is sent before it is their turn.
    pub(in crate::vfs) fn waits_for_turn(&self) -> bool {
        self.sealed().is_some_and(|sealed| self.needs_turn(&sealed))
    }

    /// Whether an upload of the closed contents takes a connection only for a moment, over most
    /// lines.
    pub(in crate::vfs) fn is_soon_uploaded(&self) -> bool {
        self.sealed()
            .is_some_and(|sealed| sealed.spool.len() <= BRIEF)
    }

    fn needs_turn(&self, spooled: &Spooled) -> bool {
        let path = self.services.inodes.path(self.ino);
        spooled.tail.is_some()
            || self.is_unchecked(spooled)
            || path.is_ok_and(|path| self.services.remote.uploads_in_place(&path))
    }

    /// Returns the target and attributes of `spooled`, or `None` if the file no longer has a name.
    pub(super) fn pending_of(&self, spooled: &Spooled) -> Option<Pending> {
        let target = self.services.inodes.path(self.ino).ok()?;
        let size = spooled.spool.len();
        let state = self.state();
        let tail = spooled.tail.as_ref();
        let mode = match tail {
            Some(tail) => tail.changed_mode(state.attributes.mode),
            None => state.attributes.mode,
        };
        let attributes = state.contents.attributes_of(spooled, mode);
        Some(Pending {
            target,
            commit: CommitOptions {
                size,
                modified: attributes.modified,
                mode: attributes.mode,
            },
            base: tail.map_or(state.base, |tail| Some(tail.version())),
            appended_from: tail.map(|tail| tail.end()),
            unproven: state.unproven.clone(),
        })
    }

    /// Records the state of the file after the server has stored `spooled` as described by
    /// `pending`. Returns the new attributes.
    pub(super) fn on_uploaded(
        &self,
        spooled: &Spooled,
        pending: &Pending,
        stored: StoredFacts,
    ) -> Attributes {
        let mut attributes = {
            let mut state = self.state();
            state.failure = UploadFailure::None;
            if state.contents.is_visible(spooled) {
                state.attributes.size = Some(spooled.spool.len());
                merge_stored(&mut state.attributes, pending, stored);
                if let Some(mode) = state.contents.late().mode {
                    state.attributes.mode = Some(mode);
                }
                state.contents.sent_modified(pending.commit.modified);
                if let Some(seconds) = state.contents.late().modified {
                    state.attributes.modified = Some((seconds, Precision::Second));
                }
                state.attributes.clone()
            } else {
                let mut attributes = state.attributes.clone();
                attributes.size = Some(pending.commit.size);
                merge_stored(&mut attributes, pending, stored);
                attributes
            }
        };
        loop {
            let late = self.state().contents.take_late(spooled);
            let Some(late) = late else { break };
            self.set_late(&pending.target, late, stored, &mut attributes);
        }
        let version = version_after(&attributes, stored);
        self.record_uploaded(spooled, version);
        self.leave_partial(spooled, version);
        attributes
    }

    pub(super) fn set_late(
        &self,
        target: &RemotePath,
        late: LateAttributes,
        stored: StoredFacts,
        attributes: &mut Attributes,
    ) {
        let remote = self.services.remote.uncancelled();
        if let Some(mode) = late.mode {
            match remote.set_mode(target, mode) {
                Ok(()) => attributes.mode = Some(mode),
                Err(error) => {
                    remote.warn_unset(&error);
                    // The mode was shown as soon as it was set.
                    attributes.mode = stored.mode;
                    let mut state = self.state();
                    if state.attributes.mode == Some(mode) {
                        state.attributes.mode = stored.mode;
                    }
                }
            }
        }
        if let Some(seconds) = late.modified {
            match remote.set_modified(target, seconds) {
                Ok(set) => {
                    attributes.modified = Some((set, Precision::Second));
                    self.correct_modified(seconds, set);
                }
                Err(error) => {
                    remote.warn_unset(&error);
                    if let Some(unchanged) = stored.modified {
                        attributes.modified = Some((unchanged, Precision::Second));
                        self.correct_modified(seconds, unchanged);
                    }
                }
            }
        }
    }

    /// Shows the modification time `actual` instead of `wanted`, which a program has set.
    fn correct_modified(&self, wanted: i64, actual: i64) {
        let mut state = self.state();
        if state.attributes.modified == Some((wanted, Precision::Second)) {
            state.attributes.modified = Some((actual, Precision::Second));
        }
    }

    /// Records that the server has `spooled`, as `base`.
    pub(super) fn record_uploaded(&self, spooled: &Spooled, base: Version) {
        let reader = Arc::new(self.services.reader(self.ino, base));
        let after = {
            let mut state = self.state();
            state.advance_tails(spooled, base, &reader);
            state.base = Some(base);
            state.uploaded();
            state.checked = self.services.clock.now();
            let mut after = state.contents.uploaded(spooled);
            if after.rebased.is_none() {
                // Under the lock, because the contents may be written and closed again.
                for done in after.done.drain(..) {
                    done.spool.journal_record().done();
                }
            }
            after
        };
        if let Some(rebased) = after.rebased {
            self.rerecord(&rebased);
        }
        for done in after.done {
            done.spool.journal_record().done();
        }
    }

    pub(super) fn has_not_stored(&self, spooled: &Spooled) {
        // Under the lock, because the contents may be closed at this moment.
        let mut state = self.state();
        match state.contents.upload_failed(spooled) {
            RecordFate::Kept => {}
            RecordFate::Removed => spooled.spool.journal_record().done(),
            RecordFate::Abandoned => spooled.spool.journal_record().abandon(),
        }
    }
}

/// Merges what the server reports about the stored file into `attributes`. Values that it does not
/// report stay as they were written, except for a mode that may not have been set.
pub(super) fn merge_stored(attributes: &mut Attributes, pending: &Pending, stored: StoredFacts) {
    attributes.unique = stored.unique;
    if let Some(seconds) = stored.modified {
        attributes.modified = Some((seconds, Precision::Second));
    }
    if stored.mode.is_some() || pending.commit.mode.is_some() {
        attributes.mode = stored.mode;
    }
}

/// Returns the version of the stored file, on which the next change is based. A time that the
/// server did not report is that of this machine.
pub(super) fn version_after(attributes: &Attributes, stored: StoredFacts) -> Version {
    Version {
        modified: stored.modified.and(attributes.modified),
        ..Version::from(attributes)
    }
}

pub(super) fn nowhere() -> remote::Error {
    remote::Error {
        kind: ErrorKind::NotFound,
        operation: "store",
        path: RemotePath::root(),
        reason: "the file's directory no longer exists".to_owned(),
        reply: None,
    }
}
