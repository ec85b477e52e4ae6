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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fake::{FakeDestination, FakeServer};
    use super::*;
    use crate::ftp::Version;
    use crate::journal::Journal;
    use crate::remote::ErrorKind;
    use crate::vfs::local::spool_dir::SpoolDir;

    fn tail() -> Uploader {
        let spools = SpoolDir::new(Journal::disabled(None), None);
        let spool = spools.create_from(&RemotePath::root(), 1 << 20).unwrap();
        let destination = Arc::new(FakeDestination(FakeServer::new(&[])));
        Uploader::new(destination, Arc::new(spool))
    }

    fn append(
        tail: &Uploader,
        send: impl FnOnce(&dyn Fn(u64) -> bool) -> Result<AppendOutcome, Error>,
    ) -> Result<Option<AppendOutcome>, Error> {
        let generation = tail.generation();
        tail.append(&RemotePath::root(), generation, Priority::Background, send)
    }

    #[test]
    fn what_is_appended_is_stored_and_what_comes_meanwhile_is_not() {
        let tail = tail();
        let appended = AppendOutcome::Appended(Version::default());
        assert_eq!(append(&tail, |_| panic!("nothing is dirty")).unwrap(), None);
        tail.wrote(1 << 20, 5);
        let outcome = append(&tail, |go_on| {
            assert!(go_on(1 << 20) && tail.is_committing());
            tail.wrote((1 << 20) + 5, 5);
            Ok(appended.clone())
        });
        assert_eq!(outcome.unwrap(), Some(appended.clone()));
        assert!(tail.is_dirty() && !tail.is_committing());
        append(&tail, |_| Ok(appended.clone())).unwrap();
        assert!(!tail.is_dirty());
    }

    #[test]
    fn what_is_refused_fails_or_is_interrupted_remains_to_be_stored() {
        let tail = tail();
        tail.mark_dirty();
        let error = Error {
            kind: ErrorKind::ConnectionLost,
            operation: "append to",
            path: RemotePath::root(),
            reason: "it was lost".to_owned(),
            reply: None,
        };
        assert!(append(&tail, |_| Err(error.clone())).is_err());
        let refused = append(&tail, |_| Ok(AppendOutcome::Refused(String::new())));
        assert!(matches!(refused, Ok(Some(AppendOutcome::Refused(_)))));
        let interrupted = append(&tail, |go_on| {
            tail.interrupt();
            assert!(!go_on(0));
            Err(error.clone())
        });
        assert_eq!(interrupted.unwrap(), None);
        assert!(tail.is_dirty());
    }
}
