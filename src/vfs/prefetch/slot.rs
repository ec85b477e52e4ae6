//! A small file fetched before a program asked for it.

use crate::ftp::Version;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A file that is being fetched or has been.
#[derive(Debug)]
pub(super) struct PrefetchSlot {
    version: Version,
    state: Mutex<SlotState>,
    ended: Condvar,
}

#[derive(Debug)]
enum SlotState {
    UnderWay,
    Here(Vec<u8>),
    /// It failed, or its bytes were taken.
    Empty,
}

impl PrefetchSlot {
    /// Of a file that was listed as `version`.
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            state: Mutex::new(SlotState::UnderWay),
            ended: Condvar::new(),
        }
    }

    /// What it is of.
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// All bytes have come, or none: those of a file of another size are not the listed one's.
    pub(super) fn end(&self, bytes: Option<Vec<u8>>) {
        let is_whole = |bytes: &Vec<u8>| self.version.size == Some(bytes.len() as u64);
        let state = match bytes.filter(is_whole) {
            Some(bytes) => SlotState::Here(bytes),
            None => SlotState::Empty,
        };
        *self.lock() = state;
        self.ended.notify_all();
    }

    /// Whether it is still being fetched.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(*self.lock(), SlotState::UnderWay)
    }

    /// Whether there is nothing to take: it failed, or was taken.
    pub(super) fn is_empty(&self) -> bool {
        matches!(*self.lock(), SlotState::Empty)
    }

    /// Takes the bytes of the file; none where they do not come within `patience`.
    pub(super) fn take(&self, patience: Duration) -> Option<Vec<u8>> {
        let under_way = |state: &mut SlotState| matches!(state, SlotState::UnderWay);
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), patience, under_way);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        match std::mem::replace(&mut *state, SlotState::Empty) {
            SlotState::Here(bytes) => Some(bytes),
            SlotState::UnderWay | SlotState::Empty => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Only assignments happen under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
