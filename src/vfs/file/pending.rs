//! Closed contents that the server does not have yet (`-o writeback`). They are persisted on the
//! local disk, stay unchanged while newer contents are written, and are stored in the background.

use std::io;
use std::sync::{Arc, PoisonError};

use super::gate::Pass;
use super::{Contents, Needed, OpenFile, Spooled, State, empty_spool};
use crate::cancel::Cancel;
use crate::journal::Pending;
use crate::vfs::errno::Errno;

/// Bytes copied at a time.
const COPIED: usize = 1 << 20;

/// The most recently closed contents.
#[derive(Debug, Clone)]
pub(super) struct PendingUpload {
    pub(super) spooled: Spooled,
    /// Generation of the spool up to which they are closed.
    generation: u64,
    /// Modification time to set.
    pub(super) modified: Option<i64>,
    /// Mode to set.
    pub(super) mode: Option<u32>,
}

impl PendingUpload {
    /// Whether these contents are in this spool.
    pub(super) fn is_of(&self, spooled: &Spooled) -> bool {
        Arc::ptr_eq(&self.spooled.spool, &spooled.spool)
    }
}

impl OpenFile {
    /// Persists the current contents. On success, they are on the local disk, and the next mount
    /// would store them. Sends nothing. Returns whether there is something to store.
    ///
    /// # Errors
    /// Those of the local disk. The contents are not persisted.
    pub(in crate::vfs) fn persist(&self) -> io::Result<bool> {
        let Some(spooled) = self.unpersisted() else {
            return Ok(self.has_pending());
        };
        let generation = spooled.store.generation();
        loop {
            let Some(noted) = self.pending_record(&spooled) else {
                return Ok(false);
            };
            spooled.spool.journal_record().persist(&noted)?;
            if !self.set_pending(&spooled, generation, &noted) {
                spooled.spool.journal_record().done();
                return Ok(false);
            }
            // A rename or the end of an upload may have changed this in between.
            let is_so = self
                .pending_record(&spooled)
                .is_none_or(|now| now.target == noted.target && now.before == noted.before);
            if is_so {
                return Ok(true);
            }
        }
    }

    /// Whether closed contents are waiting to be stored.
    pub(in crate::vfs) fn has_pending(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Whether closing the file requires no work: everything written is already persisted, and
    /// there is no failure to report.
    pub(in crate::vfs) fn is_persisted(&self) -> bool {
        let state = self.state();
        state.failure.is_none() && state.is_all_pending()
    }

    /// Returns the number of closed bytes that are waiting to be stored.
    pub(in crate::vfs) fn pending_bytes(&self) -> u64 {
        let state = self.state();
        state
            .closed
            .as_ref()
            .map_or(0, |closed| closed.spooled.spool.len())
    }

    /// Records that closed contents could not be stored. The next open or close of the file reports
    /// it.
    pub(in crate::vfs) fn set_failure(&self, errno: Errno) {
        self.state().failure = Some(errno);
    }

    /// Returns why closed contents could not be stored; only once.
    pub(in crate::vfs) fn take_failure(&self) -> Option<Errno> {
        self.state().failure.take()
    }

    /// Interrupts a background upload, which would store outdated contents or use an old name.
    pub(in crate::vfs) fn interrupt_upload(&self) {
        let closed = self.state().closed.clone();
        if let Some(closed) = closed {
            closed.spooled.store.interrupt();
        }
    }

    /// Records the new name of pending contents after a rename, so that the next mount stores them
    /// under it.
    pub(in crate::vfs) fn record_new_path(&self, _pass: &Pass<'_>) {
        let closed = self.state().closed.clone();
        if let Some(closed) = closed {
            self.rerecord(&closed.spooled);
        }
    }

    /// Waits for a running upload, then discards everything that was not closed. Returns whether
    /// there was anything.
    pub(in crate::vfs) fn discard_unclosed(&self) -> bool {
        if self.state().is_all_pending() {
            return false;
        }
        let Ok(pass) = self.enter(&Cancel::never()) else {
            return self.is_dirty();
        };
        if self.state().is_all_pending() {
            return false;
        }
        let left = self.is_dirty();
        if !self.has_pending() {
            self.unlink(&pass);
        }
        if let Contents::Spooled(spooled) = self.contents() {
            spooled.store.cancel();
            spooled.store.end_early_upload();
        }
        left
    }

    /// Updates the journal record of `spooled`, which is pending.
    pub(super) fn rerecord(&self, spooled: &Spooled) {
        let Some(pending) = self.pending_of(spooled) else {
            return;
        };
        if let Err(error) = spooled.spool.journal_record().persist(&pending) {
            log::warn!(
                "if ftpfs is killed now, the next mount stores an old version or name of {}: {error}",
                pending.target
            );
        }
    }

    /// Records attributes that were set while the contents are pending.
    pub(super) fn record_attributes(&self) {
        let closed = {
            let mut state = self.state();
            if !state.is_pending_current() {
                return;
            }
            let (modified, mode) = (state.modified, state.attributes.mode);
            let Some(closed) = &mut state.closed else {
                return;
            };
            closed.modified = modified.or(closed.modified);
            closed.mode = mode;
            closed.clone()
        };
        if let Some(pending) = self.pending_of(&closed.spooled) {
            closed.spooled.spool.journal_record().pending(&pending);
        }
    }

    /// Replaces a pending spool with a new one that has as much of it as `needed`.
    pub(super) fn detach_pending(&self, needed: Needed) -> Result<(), Errno> {
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Contents::Spooled(old) = self.contents() else {
            return Ok(());
        };
        if !self.state().is_pending_current() {
            return Ok(());
        }
        let new = empty_spool(&self.services, self.ino)?;
        if needed == Needed::All {
            copy(&old, &new)?;
        }
        self.state().contents = Contents::Spooled(new);
        Ok(())
    }

    /// Returns the spool that is not persisted yet, or `None` if everything is persisted or nothing
    /// has to be stored.
    fn unpersisted(&self) -> Option<Spooled> {
        let state = self.state();
        match &state.contents {
            Contents::Spooled(spooled) if state.is_dirty() && !state.is_all_pending() => {
                Some(spooled.clone())
            }
            _ => None,
        }
    }

    /// Returns the journal record for `spooled`, with the time of its last change: the server's
    /// clock would give the time of the upload.
    fn pending_record(&self, spooled: &Spooled) -> Option<Pending> {
        let mut pending = self.pending_of(spooled)?;
        let shown = self.state().attributes.modified;
        pending.modified = pending.modified.or(shown.map(|(seconds, _)| seconds));
        Some(pending)
    }

    /// Makes `spooled` the pending contents instead of earlier ones. Returns false if it need not
    /// be stored.
    fn set_pending(&self, spooled: &Spooled, generation: u64, noted: &Pending) -> bool {
        let closed = PendingUpload {
            spooled: spooled.clone(),
            generation,
            modified: noted.modified,
            mode: noted.mode,
        };
        let superseded = {
            let mut state = self.state();
            if state.naming.is_unlinked() || !spooled.store.is_dirty() {
                return false;
            }
            state.failure = None;
            let before = state.closed.replace(closed);
            // Contents that are being stored are remembered until that ends.
            before.filter(|before| !before.is_of(spooled) && !state.is_stored_now(&before.spooled))
        };
        if let Some(superseded) = superseded {
            superseded.spooled.spool.journal_record().done();
        }
        true
    }
}

impl State {
    /// Whether the current contents are the pending ones, which must not be changed.
    pub(super) fn is_pending_current(&self) -> bool {
        self.closed
            .as_ref()
            .is_some_and(|closed| self.is_current(&closed.spooled))
    }

    /// Returns the spool that may be changed.
    pub(super) fn changeable(&self) -> Option<Spooled> {
        match &self.contents {
            Contents::Spooled(spooled) if !self.is_pending_current() => Some(spooled.clone()),
            _ => None,
        }
    }

    /// Whether everything written is pending.
    fn is_all_pending(&self) -> bool {
        self.closed.as_ref().is_some_and(|closed| {
            self.is_current(&closed.spooled)
                && closed.generation == closed.spooled.store.generation()
        })
    }

    fn is_stored_now(&self, spooled: &Spooled) -> bool {
        self.storing
            .as_ref()
            .is_some_and(|storing| Arc::ptr_eq(storing, &spooled.spool))
    }
}

fn copy(from: &Spooled, to: &Spooled) -> Result<(), Errno> {
    let mut offset = 0;
    loop {
        let bytes = from.spool.read_at(offset, COPIED)?;
        if bytes.is_empty() {
            return Ok(());
        }
        to.spool.write_at(offset, &bytes)?;
        offset += bytes.len() as u64;
    }
}
