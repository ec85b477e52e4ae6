//! Group commit: one thread at a time syncs the log for all that wait.
//!
//! Records are appended under the log's lock, which is never held during a sync. Only the owner of
//! the [`LogTurn`] may report records as synced. A rewrite also takes a turn, so the new log
//! contains every reported record before it replaces the old one.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The turns of one log.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of records known to be on the disk.
    synced: u64,
    is_taken: bool,
    #[cfg(test)]
    waiting: usize,
}

/// The right to sync or replace the log. Ends when dropped.
#[derive(Debug)]
pub(super) struct LogTurn<'a>(&'a Turns);

impl Turns {
    /// Number of records known to be on the disk.
    #[cfg(test)]
    pub(super) fn synced(&self) -> u64 {
        self.lock().synced
    }

    /// Returns when the first `records` records are on the disk. `sync` syncs the existing records
    /// and returns their number. Concurrent callers share one call.
    ///
    /// # Errors
    /// Those of this caller's own `sync`.
    pub(super) fn wait_for(
        &self,
        records: u64,
        sync: impl FnOnce() -> io::Result<u64>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        #[cfg(test)]
        {
            state.waiting += 1;
        }
        let is_waiting = |state: &mut State| state.is_taken && state.synced < records;
        state = self.wait_while(state, is_waiting);
        #[cfg(test)]
        {
            state.waiting -= 1;
        }
        if state.synced >= records {
            return Ok(());
        }
        let turn = self.take(state);
        let synced = sync()?;
        let mut state = self.lock();
        state.synced = state.synced.max(synced);
        drop(state);
        drop(turn);
        Ok(())
    }

    /// Waits for a turn.
    pub(super) fn turn(&self) -> LogTurn<'_> {
        let state = self.wait_while(self.lock(), |state| state.is_taken);
        self.take(state)
    }

    fn take(&self, mut state: MutexGuard<'_, State>) -> LogTurn<'_> {
        state.is_taken = true;
        LogTurn(self)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.ended.wait_while(state, condition);
        waited.unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of callers waiting for a turn to end.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only assignments happen under this lock, so a poisoned state is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LogTurn<'_> {
    fn drop(&mut self) {
        self.0.lock().is_taken = false;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn those_who_wait_together_share_a_sync() {
        let turns = Turns::default();
        let (written, syncs) = (AtomicU64::new(0), AtomicU64::new(0));
        let sync = || {
            syncs.fetch_add(1, Ordering::Relaxed);
            Ok(written.load(Ordering::Relaxed))
        };
        let under_way = turns.turn();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let record = written.fetch_add(1, Ordering::Relaxed) + 1;
                    turns.wait_for(record, sync).unwrap();
                });
            }
            while turns.waiting() < 8 {
                std::thread::yield_now();
            }
            drop(under_way);
        });
        assert_eq!(syncs.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_sync_that_fails_promises_nothing_to_others() {
        let turns = Turns::default();
        let failed = turns.wait_for(1, || Err(io::ErrorKind::StorageFull.into()));
        assert!(failed.is_err());
        turns.wait_for(1, || Ok(1)).unwrap();
        turns
            .wait_for(1, || panic!("it is on the disk already"))
            .unwrap();
    }
}
