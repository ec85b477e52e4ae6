//! The minimum speed of a listing.

use std::time::{Duration, Instant};

use super::error::Error;

/// Number of timeouts that a listing may take, no matter how slow it is.
const PATIENCE_IN_TIMEOUTS: u32 = 4;
/// Minimum average throughput of a listing that takes longer.
const MIN_BYTES_PER_SECOND: u64 = 1024;

/// Minimum speed of a listing. Without it, a server could meet each deadline and still take
/// forever.
#[derive(Debug)]
pub(super) struct Pace {
    began: Instant,
    patience: Duration,
}

impl Pace {
    /// Starts the clock. `timeout` is the limit for each single wait.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            began: Instant::now(),
            patience: timeout.saturating_mul(PATIENCE_IN_TIMEOUTS),
        }
    }

    /// Checks that `received` bytes are enough by now.
    pub(super) fn check(&self, received: u64) -> Result<(), Error> {
        let earned = Duration::from_secs(received / MIN_BYTES_PER_SECOND);
        if self.began.elapsed() > self.patience.saturating_add(earned) {
            return Err(Error::TooSlow("a listing"));
        }
        Ok(())
    }
}
