//! Storing what was appended to a file: the spool has only that, and no early upload sends it.

use std::time::Instant;

use super::commit::{CommitGuard, stuck};
use super::{CommitState, Priority, State, Uploader};
use crate::ftp::RemotePath;
use crate::remote::{AppendOutcome, Error};

impl Uploader {
    /// Stores what was appended until `generation` with `send`, which calls its argument with the
    /// offset that it has reached, and stops if that returns false. Returns `None` if there is
    /// nothing to store, or the commit was cancelled.
    ///
    /// # Errors
    /// Those of `send`. The changes remain to be stored.
    pub(crate) fn append(
        &self,
        target: &RemotePath,
        generation: u64,
        priority: Priority,
        send: impl FnOnce(&dyn Fn(u64) -> bool) -> Result<AppendOutcome, Error>,
    ) -> Result<Option<AppendOutcome>, Error> {
        let shared = &*self.shared;
        let state = shared.lock();
        let (mut state, is_free) = shared.wait_while(state, State::is_committing);
        if !is_free {
            return Err(stuck(target));
        }
        if !state.is_dirty() {
            return Ok(None);
        }
        state.commit = CommitState::Running(priority);
        drop(state);
        let _turn = CommitGuard(shared);
        let go_on = |at| {
            let mut state = shared.lock();
            state.moved = Instant::now();
            state.upload.taken = at;
            !state.is_called_off()
        };
        let outcome = match send(&go_on) {
            Err(_) if shared.lock().is_called_off() => return Ok(None),
            outcome => outcome?,
        };
        if matches!(outcome, AppendOutcome::Appended(_)) {
            let mut state = shared.lock();
            state.stored = generation;
            state.is_persisted = false;
        }
        Ok(Some(outcome))
    }
}
