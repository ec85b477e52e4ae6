//! Contents that a program has closed and that the server does not have yet (`-o writeback`): they
//! are safe on the local disk, stay what they are while newer ones are written, and are stored in
//! the background.

use std::io;
use std::sync::{Arc, PoisonError};

use super::gate::Pass;
use super::{ALWAYS, Contents, Needed, OpenFile, Spooled, State, empty_spool};
use crate::journal::Pending;
use crate::vfs::errno::Errno;

/// How much is copied at a time.
const COPIED: usize = 1 << 20;

/// What was closed last.
#[derive(Debug, Clone)]
pub(super) struct PendingUpload {
    pub(super) spooled: Spooled,
    /// The change up to which it was.
    generation: u64,
    /// The time of modification it is to have.
    pub(super) modified: Option<i64>,
    /// The mode it is to have.
    pub(super) mode: Option<u32>,
}

impl PendingUpload {
    /// Whether it is in this spool.
    pub(super) fn is_of(&self, spooled: &Spooled) -> bool {
        Arc::ptr_eq(&self.spooled.spool, &spooled.spool)
    }
}

impl OpenFile {
    /// Keeps the contents, as they are now, for being stored some time: when it returns they are on
    /// the local disk, and the next mount would store them. Sends nothing. Whether there is
    /// something to be stored.
    ///
    /// # Errors
    /// The local disk's: they are not safe there.
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
            // A rename, or a storing that ended, may have met this in the middle.
            let is_so = self
                .pending_record(&spooled)
                .is_none_or(|now| now.target == noted.target && now.before == noted.before);
            if is_so {
                return Ok(true);
            }
        }
    }

    /// Whether something that was closed waits to be stored.
    pub(in crate::vfs) fn has_pending(&self) -> bool {
        self.state().closed.is_some()
    }

    /// Whether closing the file has nothing to do: all that was written waits already, and nothing
    /// is to be told.
    pub(in crate::vfs) fn is_persisted(&self) -> bool {
        let state = self.state();
        state.failure.is_none() && state.is_all_pending()
    }

    /// Bytes that wait to be stored since they were closed.
    pub(in crate::vfs) fn pending_bytes(&self) -> u64 {
        let state = self.state();
        state
            .closed
            .as_ref()
            .map_or(0, |closed| closed.spooled.spool.len())
    }

    /// What was closed could not be stored: whoever opens or closes the file next is told.
    pub(in crate::vfs) fn set_failure(&self, errno: Errno) {
        self.state().failure = Some(errno);
    }

    /// Why what was closed could not be stored; told once.
    pub(in crate::vfs) fn take_failure(&self) -> Option<Errno> {
        self.state().failure.take()
    }

    /// Ends a storing that nobody waits for, soon: it would bring what is not wanted any more, or
    /// by another name.
    pub(in crate::vfs) fn interrupt_upload(&self) {
        let closed = self.state().closed.clone();
        if let Some(closed) = closed {
            closed.spooled.store.interrupt();
        }
    }

    /// After a rename: what waits is to be stored by the new name, whatever becomes of this mount.
    pub(in crate::vfs) fn record_new_path(&self, _pass: &Pass<'_>) {
        let closed = self.state().closed.clone();
        if let Some(closed) = closed {
            self.rerecord(&closed.spooled);
        }
    }

    /// Lets a storing that is under way end, then sees to it that nothing more is stored of what
    /// was not closed; whether something was.
    pub(in crate::vfs) fn discard_unclosed(&self) -> bool {
        if self.state().is_all_pending() {
            return false;
        }
        let Ok(pass) = self.enter(ALWAYS) else {
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

    /// Notes anew what becomes of `spooled`, which waits.
    pub(super) fn rerecord(&self, spooled: &Spooled) {
        let Some(pending) = self.pending_of(spooled) else {
            return;
        };
        if let Err(error) = spooled.spool.journal_record().persist(&pending) {
            log::warn!(
                "should ftpfs be killed now, the next mount stores an old version or name of {}: {error}",
                pending.target
            );
        }
    }

    /// Notes attributes that were set while the contents wait.
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

    /// Puts another spool in the place of one that waits to be stored, with what is `needed` of it.
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

    /// The spool to be kept; none where all is kept, or nothing is to be stored.
    fn unpersisted(&self) -> Option<Spooled> {
        let state = self.state();
        match &state.contents {
            Contents::Spooled(spooled) if state.is_dirty() && !state.is_all_pending() => {
                Some(spooled.clone())
            }
            _ => None,
        }
    }

    /// … the time of its last change with it: the server's clock would tell when it was stored.
    fn pending_record(&self, spooled: &Spooled) -> Option<Pending> {
        let mut pending = self.pending_of(spooled)?;
        let shown = self.state().attributes.modified;
        pending.modified = pending.modified.or(shown.map(|(seconds, _)| seconds));
        Some(pending)
    }

    /// From now on `spooled` waits to be stored, and what waited before no longer does; false where
    /// it need not.
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
            // One that is being stored is remembered until it is.
            before.filter(|before| !before.is_of(spooled) && !state.is_stored_now(&before.spooled))
        };
        if let Some(superseded) = superseded {
            superseded.spooled.spool.journal_record().done();
        }
        true
    }
}

impl State {
    /// Whether the contents are what waits to be stored: then they must not be changed.
    pub(super) fn is_pending_current(&self) -> bool {
        self.closed
            .as_ref()
            .is_some_and(|closed| self.is_current(&closed.spooled))
    }

    /// The spool that may be changed.
    pub(super) fn changeable(&self) -> Option<Spooled> {
        match &self.contents {
            Contents::Spooled(spooled) if !self.is_pending_current() => Some(spooled.clone()),
            _ => None,
        }
    }

    /// Whether all that was written waits to be stored.
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
