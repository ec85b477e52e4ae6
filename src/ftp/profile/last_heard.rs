//! When the server last sent or accepted something, on any connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time of the last sign of life, shared by all sessions.
#[derive(Debug)]
pub(super) struct LastHeard {
    created: Instant,
    /// Milliseconds since `created`.
    after: AtomicU64,
}

impl Default for LastHeard {
    fn default() -> Self {
        Self {
            created: Instant::now(),
            after: AtomicU64::new(0),
        }
    }
}

impl LastHeard {
    pub(super) fn record(&self) {
        let after = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.after.fetch_max(after, Relaxed);
    }

    pub(super) fn at(&self) -> Instant {
        self.created + Duration::from_millis(self.after.load(Relaxed))
    }
}
