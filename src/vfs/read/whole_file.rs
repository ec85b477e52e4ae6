//! When a whole file is fetched in the background: when readers at random offsets have waited
//! longer than that costs. Pure arithmetic: no clock, no thread.
//!
//! Each jump on a distant server costs a round trip or two. Fetching the whole file costs its
//! transfer, once. Which of the two is cheaper is known only afterwards. Fetching may therefore
//! take a multiple of the time that the readers have waited, which bounds the loss.

use std::time::{Duration, Instant};

use super::parallel::SHORTEST_ROUND_TRIP;

/// Maximum size of a file that is fetched whole, in bytes.
pub(super) const MOST: u64 = 256 << 20;
/// Number of jumps before the costs are considered.
const JUMPS: u32 = 8;
/// Maximum ratio of the time for fetching to the time that readers have waited.
const TIMES_WAITED: u32 = 2;

/// The cost of the jumps in a file, and the fetching of the whole file.
#[derive(Debug)]
pub(super) struct WholeFile {
    cost: JumpCost,
    /// The queue of the parts being fetched; `None` before fetching starts.
    pub(super) queue: Option<u64>,
    /// Time of the last read of bytes that no stream has.
    pub(super) used: Instant,
}

/// The decision after a jump.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JumpAdvice {
    /// Do nothing.
    GoOn,
    /// Fetch the whole file within this time.
    Fetch(Duration),
    /// Extend the time for fetching by this much.
    GiveTime(Duration),
}

/// The cost of jumps so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct JumpCost {
    jumps: u32,
    waited: Duration,
}

impl WholeFile {
    /// Creates a state without any jump.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cost: JumpCost::default(),
            queue: None,
            used: now,
        }
    }

    /// Records that a reader jumped and waited for `waited`.
    pub(super) fn jumped(&mut self, waited: Duration) -> JumpAdvice {
        if self.queue.is_some() {
            return JumpAdvice::GiveTime(waited * TIMES_WAITED);
        }
        self.cost.pay(waited);
        if !self.cost.is_dear() {
            return JumpAdvice::GoOn;
        }
        // If that fails, not every jump tries it again.
        let cost = std::mem::take(&mut self.cost);
        JumpAdvice::Fetch(cost.waited * TIMES_WAITED)
    }
}

impl JumpCost {
    fn pay(&mut self, waited: Duration) {
        self.jumps = self.jumps.saturating_add(1);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Whether there are many jumps and they are expensive.
    fn is_dear(&self) -> bool {
        self.jumps >= JUMPS && self.waited >= SHORTEST_ROUND_TRIP * self.jumps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_millis(40);

    #[test]
    fn a_file_is_fetched_once_jumps_are_many_and_far() {
        let mut whole = WholeFile::new(Instant::now());
        for _ in 0..JUMPS - 1 {
            assert_eq!(whole.jumped(FAR), JumpAdvice::GoOn);
        }
        assert_eq!(
            whole.jumped(FAR),
            JumpAdvice::Fetch(FAR * JUMPS * TIMES_WAITED)
        );
        assert_eq!(whole.jumped(FAR), JumpAdvice::GoOn, "it could not be begun");
        whole.queue = Some(1);
        assert_eq!(whole.jumped(FAR), JumpAdvice::GiveTime(FAR * TIMES_WAITED));
    }

    #[test]
    fn short_waits_are_not_dear() {
        let mut whole = WholeFile::new(Instant::now());
        for _ in 0..1000 {
            assert_eq!(whole.jumped(Duration::from_micros(200)), JumpAdvice::GoOn);
        }
    }
}
