//! Storing a file on the server: one upload at a time, through the gate.

use std::sync::Arc;

use super::{Contents, OpenFile, Spooled, State};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::{Precision, RemotePath};
use crate::guarded::OnDrop;
use crate::journal::{Before, Pending};
use crate::remote::{self, CommitOptions, ErrorKind, StoredFacts};
use crate::vfs::errno::Errno;
use crate::vfs::write::uploader::Priority;

/// Attributes that remain to be set after an upload, because they were changed during it.
struct LateAttributes {
    modified: Option<i64>,
    mode: Option<u32>,
}

impl OpenFile {
    /// Stores what is pending. Returns when the server has acknowledged every byte, or with the
    /// error.
    ///
    /// Returns the attributes of the stored file, or `None` if nothing had to be stored.
    pub(in crate::vfs) fn commit(&self, cancel: &Cancel) -> Result<Option<Attributes>, Errno> {
        let _pass = self.enter(cancel)?;
        let Contents::Spooled(spooled) = self.contents() else {
            return Ok(None);
        };
        if !self.is_dirty() {
            return Ok(None);
        }
        let stored = self.store(&spooled, Priority::Foreground);
        if stored.is_err() {
            self.state().failure_reported = true;
        }
        Ok(stored?)
    }

    /// Stores the most recently closed contents in the background. Returns `None` if that was
    /// interrupted or already done.
    pub(in crate::vfs) fn store_pending(
        &self,
        priority: Priority,
        cancel: &Cancel,
    ) -> Result<Option<Attributes>, remote::Error> {
        let Ok(_pass) = self.enter(cancel) else {
            return Err(self.not_entered(cancel));
        };
        let closed = self.state().closed.clone();
        closed.map_or(Ok(None), |closed| self.store(&closed.spooled, priority))
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
        }
    }

    /// Stores `spooled`. The caller holds the gate.
    fn store(
        &self,
        spooled: &Spooled,
        priority: Priority,
    ) -> Result<Option<Attributes>, remote::Error> {
        {
            let mut state = self.state();
            state.storing = Some(Arc::clone(&spooled.spool));
            state.late_mode = None;
        }
        let Some(pending) = self.pending_of(spooled) else {
            self.has_not_stored(spooled);
            return Err(nowhere());
        };
        let commit = CommitOptions {
            size: pending.size,
            modified: pending.modified,
            mode: pending.mode,
        };
        spooled.spool.journal_record().pending(&pending);
        let panicked = OnDrop::new(|| self.has_not_stored(spooled));
        let outcome = spooled.store.commit(&pending.target, &commit, priority);
        panicked.disarm();
        match outcome {
            Ok(Some(stored)) => Ok(Some(self.on_uploaded(spooled, &pending, stored))),
            Ok(None) => {
                self.has_not_stored(spooled);
                Ok(None)
            }
            Err(error) => {
                self.has_not_stored(spooled);
                Err(error)
            }
        }
    }

    /// Returns the target and attributes of `spooled`, or `None` if the file no longer has a name.
    pub(super) fn pending_of(&self, spooled: &Spooled) -> Option<Pending> {
        let target = self.services.inodes.path(self.ino).ok()?;
        let size = spooled.spool.len();
        let state = self.state();
        let (modified, mode) = match &state.closed {
            Some(closed) if closed.is_of(spooled) => (closed.modified, closed.mode),
            _ => (state.modified, state.attributes.mode),
        };
        Some(Pending {
            target,
            size,
            mode,
            modified,
            before: state.before,
        })
    }

    /// Records the state of the file after the server has stored `spooled` as described by
    /// `pending`. Returns the new attributes.
    fn on_uploaded(&self, spooled: &Spooled, pending: &Pending, stored: StoredFacts) -> Attributes {
        let mut attributes = {
            let mut state = self.state();
            state.failure_reported = false;
            state.failure = None;
            if state.is_current(spooled) {
                state.attributes.size = Some(spooled.spool.len());
                let late_mode = state.late_mode;
                merge_stored(&mut state.attributes, pending, stored);
                if late_mode.is_some() {
                    state.attributes.mode = late_mode;
                }
                if state.modified == pending.modified {
                    state.modified = None;
                }
                state.attributes.clone()
            } else {
                let mut attributes = state.attributes.clone();
                attributes.size = Some(pending.size);
                merge_stored(&mut attributes, pending, stored);
                attributes
            }
        };
        while let Some(late) = self.take_late_attributes(spooled) {
            self.set_late(&pending.target, &late, stored, &mut attributes);
        }
        self.clear_pending(spooled, version_after(&attributes, stored));
        attributes
    }

    /// Takes the attributes that were changed while `spooled` was uploaded. If there are none, the
    /// upload is complete.
    fn take_late_attributes(&self, spooled: &Spooled) -> Option<LateAttributes> {
        let mut state = self.state();
        let late = LateAttributes {
            modified: state.modified.filter(|_| !state.is_dirty()),
            mode: state.late_mode.take(),
        };
        let is_late = late.modified.is_some() || late.mode.is_some();
        if !state.is_current(spooled) || !is_late {
            state.storing = None;
            return None;
        }
        if late.modified.is_some() {
            state.modified = None;
        }
        Some(late)
    }

    fn set_late(
        &self,
        target: &RemotePath,
        late: &LateAttributes,
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
                Ok(seconds) => attributes.modified = Some((seconds, Precision::Second)),
                Err(error) => remote.warn_unset(&error),
            }
        }
    }

    /// Removes the record of `spooled`, which the server has, and of contents closed before it.
    /// Contents closed after it will replace it.
    fn clear_pending(&self, spooled: &Spooled, before: Before) {
        let (earlier, later) = {
            let mut state = self.state();
            state.before = before;
            match state.closed.take() {
                None => (None, None),
                Some(same) if same.is_of(spooled) => {
                    if spooled.store.is_dirty() {
                        state.closed = Some(same);
                        return;
                    }
                    (None, None)
                }
                Some(other) if state.is_current(spooled) => (Some(other), None),
                Some(other) => {
                    state.closed = Some(other.clone());
                    (None, Some(other))
                }
            }
        };
        if let Some(later) = later {
            self.rerecord(&later.spooled);
        }
        for stored in earlier.iter().map(|it| &it.spooled).chain([spooled]) {
            stored.spool.journal_record().done();
        }
    }

    fn has_not_stored(&self, spooled: &Spooled) {
        let (waits, is_superseded) = {
            let mut state = self.state();
            state.storing = None;
            let waits = state.closed.as_ref().map(|closed| closed.is_of(spooled));
            (
                waits == Some(true),
                waits == Some(false) && !state.is_current(spooled),
            )
        };
        if is_superseded {
            spooled.spool.journal_record().done();
        } else if !waits {
            spooled.spool.journal_record().abandon();
        }
    }
}

impl State {
    pub(super) fn is_current(&self, spooled: &Spooled) -> bool {
        match &self.contents {
            Contents::Spooled(current) => Arc::ptr_eq(&current.spool, &spooled.spool),
            Contents::Remote(_) => false,
        }
    }
}

/// Merges what the server reports about the stored file into `attributes`. Values that it does not
/// report stay as they were written, except for a mode that may not have been set.
fn merge_stored(attributes: &mut Attributes, pending: &Pending, stored: StoredFacts) {
    attributes.unique = stored.unique;
    if let Some(seconds) = stored.modified {
        attributes.modified = Some((seconds, Precision::Second));
    }
    if stored.mode.is_some() || pending.mode.is_some() {
        attributes.mode = stored.mode;
    }
}

/// Returns the version of the stored file, on which the next change is based.
fn version_after(attributes: &Attributes, stored: StoredFacts) -> Before {
    Before::File {
        size: attributes.size,
        modified: stored.modified.and(attributes.modified),
    }
}

fn nowhere() -> remote::Error {
    remote::Error {
        kind: ErrorKind::NotFound,
        operation: "store",
        path: RemotePath::root(),
        reason: "the file's directory no longer exists".to_owned(),
    }
}
