//! Whether the end of a mount makes progress.

use std::time::{Duration, Instant};

/// The work that is done and left, and when it last changed.
#[derive(Debug)]
pub(super) struct Progress {
    last: (u64, usize),
    since: Instant,
}

impl Progress {
    /// Starts with the bytes that were sent, and the files that are left.
    pub(super) fn new(now: (u64, usize)) -> Self {
        Self {
            last: now,
            since: Instant::now(),
        }
    }

    /// Returns whether anything has changed since the last call.
    pub(super) fn has_advanced(&mut self, now: (u64, usize)) -> bool {
        let has_advanced = now != self.last;
        if has_advanced {
            *self = Self::new(now);
        }
        has_advanced
    }

    /// Returns for how long nothing has changed.
    pub(super) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sent_and_files_stored_are_progress() {
        let mut progress = Progress::new((0, 2));
        assert!(!progress.has_advanced((0, 2)));
        assert!(progress.has_advanced((1, 2)));
        assert!(!progress.has_advanced((1, 2)));
        assert!(progress.has_advanced((1, 1)));
    }
}
