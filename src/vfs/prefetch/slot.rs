//! A small file fetched before anybody asked for it, for one who does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::remote::{Error, Version};
use crate::vfs::read::RangeDownload;

/// A file that is being fetched or has been.
#[derive(Debug)]
pub(super) struct PrefetchSlot {
    version: Version,
    state: Mutex<SlotState>,
    ended: Condvar,
}

#[derive(Debug, Clone)]
enum SlotState {
    UnderWay,
    Here(Arc<[u8]>),
    Failed,
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
            Some(bytes) => SlotState::Here(bytes.into()),
            None => SlotState::Failed,
        };
        *self.lock() = state;
        self.ended.notify_all();
    }

    /// Whether nothing came of it.
    pub(super) fn has_failed(&self) -> bool {
        matches!(*self.lock(), SlotState::Failed)
    }

    /// The file as a transfer from its start; none where nothing came of it within `patience`.
    pub(super) fn open(&self, patience: Duration) -> Option<Box<dyn RangeDownload>> {
        let under_way = |state: &mut SlotState| matches!(state, SlotState::UnderWay);
        let waited = self
            .ended
            .wait_timeout_while(self.lock(), patience, under_way);
        match &*waited.unwrap_or_else(PoisonError::into_inner).0 {
            SlotState::Here(bytes) => Some(Box::new(Unwrapping {
                bytes: Arc::clone(bytes),
                position: 0,
            })),
            SlotState::UnderWay | SlotState::Failed => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        // Only assignments happen under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a fetched file's bytes as a transfer would.
struct Unwrapping {
    bytes: Arc<[u8]>,
    position: usize,
}

impl RangeDownload for Unwrapping {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let rest = self.bytes.get(self.position..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.position += count;
        Ok(count)
    }
}
