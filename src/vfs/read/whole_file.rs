//! When all of a file is fetched in the background: once its readers, who jump about in it, have
//! waited longer than that costs. Nothing but arithmetic: no clock, no thread.
//!
//! Each jump on a far server costs a round trip or two. Fetching the whole file costs its transfer,
//! once. Which is cheaper shows only afterwards, so fetching may take a multiple of the time that
//! the readers have waited, and no more: that bounds the loss by a multiple of what the jumps cost
//! anyway.

use std::time::{Duration, Instant};

use super::parallel::SHORTEST_ROUND_TRIP;

/// A larger file is not fetched whole.
pub(super) const MOST: u64 = 256 << 20;
/// Jumps before which nothing is known of a reader.
const JUMPS: u32 = 8;
/// Fetching may take this many times as long as readers have waited.
const TIMES_WAITED: u32 = 2;

/// What the jumps in a file have cost, and what is done about it.
#[derive(Debug)]
pub(super) struct WholeFile {
    cost: JumpCost,
    /// The queue of the parts that are fetched; none before that is begun.
    pub(super) queue: Option<u64>,
    /// When bytes were last looked for that no stream has.
    pub(super) used: Instant,
}

/// What follows from a jump.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum JumpAdvice {
    /// Nothing.
    GoOn,
    /// All of the file is worth fetching, in this time.
    Fetch(Duration),
    /// Fetching may go on for this much longer.
    GiveTime(Duration),
}

/// What jumping has cost so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct JumpCost {
    jumps: u32,
    waited: Duration,
}

impl WholeFile {
    /// Nothing is known yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cost: JumpCost::default(),
            queue: None,
            used: now,
        }
    }

    /// A reader jumped, and waited for `waited`.
    pub(super) fn jumped(&mut self, waited: Duration) -> JumpAdvice {
        if self.queue.is_some() {
            return JumpAdvice::GiveTime(waited * TIMES_WAITED);
        }
        self.cost.pay(waited);
        if !self.cost.is_dear() {
            return JumpAdvice::GoOn;
        }
        // Where it cannot be done it is not tried again with each jump.
        let cost = std::mem::take(&mut self.cost);
        JumpAdvice::Fetch(cost.waited * TIMES_WAITED)
    }
}

impl JumpCost {
    fn pay(&mut self, waited: Duration) {
        self.jumps = self.jumps.saturating_add(1);
        self.waited = self.waited.saturating_add(waited);
    }

    /// Whether jumps are many, and dear.
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
