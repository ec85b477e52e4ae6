//! Closed contents that the server does not have yet (`-o writeback`). They are persisted on the
//! local disk, stay unchanged while newer contents are written, and are stored in the background.

use std::io;
use std::sync::PoisonError;

use super::change::Needed;
use super::gate::Pass;
use super::{OpenFile, Spooled, UploadFailure, empty_spool, spool_from};
use crate::cancel::Cancel;
use crate::journal::{Domains, NameChange, Pending, RecordedChange};
use crate::vfs::errno::Errno;
use crate::vfs::write::state::{LocalCopy, SealOutcome, Sealed};

/// Bytes copied at a time.
const COPIED: usize = 1 << 20;

impl OpenFile {
    /// Persists the current contents. On success, they are on the local disk, and the next mount
    /// would store them. Sends nothing. Returns whether there is something to store.
    ///
    /// # Errors
    /// Those of the local disk, or it has only a part of the contents. They are not persisted.
    pub(in crate::vfs) fn persist(&self) -> io::Result<bool> {
        loop {
            let Some(spooled) = self.unpersisted() else {
                return Ok(self.has_sealed());
            };
            let Some(_kept) = spooled.store.keep_all() else {
                return Err(io::Error::other("its beginning was sent already"));
            };
            let was_persisted = spooled.store.set_persisted(true);
            let persisted = self.persist_whole(&spooled);
            if !matches!(persisted, Ok(true)) && !self.state().contents.is_all_sealed() {
                spooled.store.set_persisted(was_persisted);
            }
            let has_gone = !self.state().contents.is_current(&spooled);
            if !(has_gone && matches!(persisted, Ok(false))) {
                return persisted;
            }
            // Another copy has taken its place.
        }
    }

    fn persist_whole(&self, spooled: &Spooled) -> io::Result<bool> {
        let generation = spooled.store.generation();
        self.supersede_left(spooled);
        loop {
            let Some(noted) = self.pending_record(spooled) else {
                return Ok(false);
            };
            spooled.spool.journal_record().persist(&noted)?;
            self.note_offline();
            if !self.seal(spooled, generation, &noted) {
                return Ok(false);
            }
            // A rename or the end of an upload may have changed this in between.
            let is_so = self.pending_record(spooled).is_none_or(|now| {
                let is_same = now.target == noted.target && now.base == noted.base;
                is_same && now.unproven == noted.unproven
            });
            if is_so && spooled.spool.journal_record().is_pending() {
                return Ok(true);
            }
        }
    }

    /// Whether closed contents are waiting to be stored.
    pub(in crate::vfs) fn has_sealed(&self) -> bool {
        self.state().contents.sealed().is_some()
    }

    /// Whether closing the file requires no work: everything written is already persisted, and
    /// there is no failure to report.
    pub(in crate::vfs) fn is_persisted(&self) -> bool {
        let state = self.state();
        let is_reported = !matches!(state.failure, UploadFailure::Unreported(_));
        is_reported && state.contents.is_all_sealed()
    }

    /// Returns the number of closed bytes that are waiting to be stored.
    pub(in crate::vfs) fn sealed_bytes(&self) -> u64 {
        self.sealed()
            .map_or(0, |sealed| sealed.spool.len() - sealed.spool.start())
    }

    /// Records that closed contents could not be stored. The next open or close of the file reports
    /// it.
    pub(in crate::vfs) fn set_failure(&self, errno: Errno) {
        self.state().failure = UploadFailure::Unreported(errno);
    }

    /// Returns why closed contents could not be stored; only once.
    pub(in crate::vfs) fn take_failure(&self) -> Option<Errno> {
        let mut state = self.state();
        let UploadFailure::Unreported(errno) = state.failure else {
            return None;
        };
        state.failure = UploadFailure::None;
        Some(errno)
    }

    /// Interrupts a background upload, which would store outdated contents or use an old name. They
    /// may be older ones than those that were closed last.
    pub(in crate::vfs) fn interrupt_upload(&self) {
        let state = self.state();
        let uploading = state.contents.uploading();
        let sealed = state.contents.sealed().map(|sealed| &sealed.copy);
        let copies: Vec<_> = uploading.into_iter().chain(sealed).cloned().collect();
        drop(state);
        for copy in copies {
            copy.store.interrupt();
        }
    }

    /// Records the new name of pending contents after a rename, so that the next mount stores them
    /// under it.
    pub(in crate::vfs) fn record_new_path(&self, _pass: &Pass<'_>) {
        if let Some(sealed) = self.sealed() {
            self.rerecord(&sealed);
        }
    }

    /// Waits for a running upload, then discards everything that was not closed. Returns whether
    /// there was anything.
    pub(in crate::vfs) fn discard_unclosed(&self) -> bool {
        if self.state().contents.is_all_sealed() {
            return false;
        }
        let Ok(pass) = self.enter(&Cancel::never()) else {
            return self.is_dirty();
        };
        if self.state().contents.is_all_sealed() {
            return false;
        }
        let left = self.is_dirty();
        if !self.has_sealed() {
            self.unlink(&pass);
        }
        if let Some(spooled) = self.local() {
            spooled.store.cancel();
            spooled.store.end_early_upload();
        }
        if let Some(copy) = self.copied() {
            copy.discard();
        }
        left
    }

    /// Records that the closed contents get the name that `change` has in their turn.
    pub(in crate::vfs) fn record_order(
        &self,
        change: &NameChange,
        domains: &Domains,
    ) -> io::Result<RecordedChange> {
        let sealed = self.sealed().ok_or(io::ErrorKind::NotFound)?;
        sealed.spool.journal_record().record_order(change, domains)
    }

    /// Updates the journal record of `spooled`, if it is still pending.
    pub(super) fn rerecord(&self, spooled: &Spooled) {
        let Some(pending) = self.pending_of(spooled) else {
            return;
        };
        let record = spooled.spool.journal_record();
        let Some(amended) = self.amend(spooled, &pending) else {
            return;
        };
        if let Err(error) = amended.and_then(|records| record.sync_record(records)) {
            log::warn!(
                path = pending.target;
                "if ftpfs is killed now, the next mount stores an old version or name of {}: {error}",
                pending.target
            );
        }
    }

    /// Amends the journal record of `spooled`. Returns `None` if it is not sealed any more.
    ///
    /// Newer contents, or the end of an upload, may take its place at any moment, and then end its
    /// record. Therefore the record is appended under the lock: nothing would end one that comes
    /// after that, and the next mount would store these contents.
    fn amend(&self, spooled: &Spooled, pending: &Pending) -> Option<io::Result<u64>> {
        let state = self.state();
        let sealed = state.contents.sealed()?;
        let is_sealed = sealed.copy.is_same(spooled);
        is_sealed.then(|| spooled.spool.journal_record().amend(pending))
    }

    /// Records attributes that were set while the contents are pending.
    pub(super) fn record_attributes(&self) {
        let sealed = {
            let mut state = self.state();
            let modified = state.contents.late().modified;
            let mode = state.attributes.mode;
            let Some(sealed) = state.contents.visible_sealed() else {
                return;
            };
            sealed.modified = modified.or(sealed.modified);
            sealed.mode = mode;
            sealed.copy.clone()
        };
        if let Some(pending) = self.pending_of(&sealed)
            && let Some(Err(error)) = self.amend(&sealed, &pending)
        {
            log::debug!(path = pending.target; "cannot record its attributes: {error}");
        }
    }

    /// Begins a new spool after the contents were closed, with as much of them as `needed`.
    pub(super) fn begin_draft(&self, needed: Needed) -> Result<(), Errno> {
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let old = self
            .state()
            .contents
            .visible_sealed()
            .map(|it| it.copy.clone());
        let Some(old) = old else { return Ok(()) };
        self.note_offline();
        let start = old.spool.start();
        let mut new = if needed == Needed::Nothing {
            empty_spool(&self.services, self.ino)?
        } else {
            if start > 0 && !old.takes(needed) {
                // The bytes before it are fetched first.
                return Ok(());
            }
            spool_from(&self.services, self.ino, start)?
        };
        if needed != Needed::Nothing {
            copy(&old, &new)?;
            if old.takes(needed)
                && let Some(tail) = &old.tail
            {
                new.tail = Some(tail.continued(old.spool.len()));
            }
        }
        let mut state = self.state();
        // The server may have it by now.
        let is_current = state
            .contents
            .visible_sealed()
            .is_some_and(|sealed| sealed.copy.is_same(&old));
        if is_current {
            state.contents.begin_draft(new);
        }
        Ok(())
    }

    /// Returns the spool that is not persisted yet, or `None` if everything is persisted or nothing
    /// has to be stored.
    fn unpersisted(&self) -> Option<Spooled> {
        let state = self.state();
        if !state.is_dirty() || state.contents.is_all_sealed() {
            return None;
        }
        state.contents.local().cloned()
    }

    /// Returns the spool of the most recently closed contents that wait for their upload.
    pub(super) fn sealed(&self) -> Option<Spooled> {
        let state = self.state();
        state.contents.sealed().map(|sealed| sealed.copy.clone())
    }

    /// Returns the journal record for `spooled`, with the time of its last change: the server's
    /// clock would give the time of the upload.
    fn pending_record(&self, spooled: &Spooled) -> Option<Pending> {
        let mut pending = self.pending_of(spooled)?;
        let shown = self.state().attributes.modified;
        pending.commit.modified = pending
            .commit
            .modified
            .or(shown.map(|(seconds, _)| seconds));
        Some(pending)
    }

    /// Seals `spooled`, which replaces contents closed earlier. Returns false if it need not be
    /// stored any more. The journal's records of what need not be stored end, under the lock: they
    /// may be closed again afterwards.
    fn seal(&self, spooled: &Spooled, generation: u64, noted: &Pending) -> bool {
        let sealed = Sealed {
            copy: spooled.clone(),
            generation,
            modified: noted.commit.modified,
            mode: noted.commit.mode,
        };
        let mut state = self.state();
        let outcome = if state.naming.is_unlinked() || !spooled.store.is_dirty() {
            SealOutcome::Obsolete
        } else {
            state.failure = UploadFailure::None;
            state.contents.seal(sealed)
        };
        match outcome {
            SealOutcome::Sealed(obsolete) => {
                if let Some(obsolete) = obsolete {
                    obsolete.spool.journal_record().done();
                }
                true
            }
            SealOutcome::Obsolete => {
                spooled.spool.journal_record().done();
                false
            }
        }
    }
}

fn copy(from: &Spooled, to: &Spooled) -> Result<(), Errno> {
    let mut offset = from.spool.start();
    loop {
        let bytes = from.spool.read_at(offset, COPIED)?;
        if bytes.is_empty() {
            to.store.filled(offset);
            return Ok(());
        }
        to.spool.write_at(offset, &bytes)?;
        offset += bytes.len() as u64;
    }
}
