//! All of a file whose readers jump about in it: fetched in the background once they have waited so
//! much that this is cheaper, and kept on the local disk while the file is open.
//!
//! Each jump on a far server costs a round trip or two, for ever. Fetching the whole costs what the
//! whole takes, once. Which is cheaper shows only afterwards; so it is given as much time as the
//! readers have waited, some times over, and no more: the worst that can come of it is a multiple
//! of what could not be helped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::part_queue::PartQueue;
use super::probe::{SHORTEST_ROUND_TRIP, Verdict};
use super::{ParallelSource, Parts};
use crate::vfs::read::{BlockCache, Bytes, PinnedVersion};

/// A larger file is not fetched whole.
const MOST: u64 = 256 << 20;
/// Jumps before which nothing is known of a reader.
const JUMPS: u32 = 8;
/// Fetching may take so many times as long as readers have waited.
const TIMES_WAITED: u32 = 2;

/// One file's readers, and what is fetched for them.
pub(in crate::vfs) struct WholeFileCache {
    parts: Parts,
    source: Arc<dyn ParallelSource>,
    /// Shared with the reader, which reads no more once the file was found changed.
    expected: Arc<PinnedVersion>,
    state: Mutex<WholeFileState>,
}

struct WholeFileState {
    rent: JumpCost,
    plan: Option<Arc<PartQueue>>,
    used: Instant,
}

/// What jumping has cost so far.
#[derive(Debug, Default, PartialEq, Eq)]
struct JumpCost {
    jumps: u32,
    waited: Duration,
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

impl WholeFileCache {
    /// Nothing yet of `source`, which is `expected`.
    pub(in crate::vfs) fn new(
        parts: Parts,
        source: Arc<dyn ParallelSource>,
        expected: Arc<PinnedVersion>,
    ) -> Self {
        Self {
            parts,
            source,
            expected,
            state: Mutex::new(WholeFileState {
                rent: JumpCost::default(),
                plan: None,
                used: Instant::now(),
            }),
        }
    }

    fn begin(&self) -> Option<Arc<PartQueue>> {
        let version = self.expected.version();
        let size = version.size.filter(|size| *size <= MOST)?;
        // The readers' own transfers need connections, too.
        let most = self.source.most_beside() / 2;
        if most == 0 || self.parts.known() == Some(Verdict::DoesNotPay) {
            return None;
        }
        log::debug!("{} is fetched whole: its readers jump", self.source.path());
        let plan = Arc::new(PartQueue::whole(size, most));
        let expected = Some(&self.expected);
        self.parts
            .fetch(&plan, most, &self.source, &version, expected);
        Some(plan)
    }

    fn lock(&self) -> MutexGuard<'_, WholeFileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockCache for WholeFileCache {
    fn find(&self, offset: u64, end: u64) -> Option<Bytes> {
        let plan = {
            let mut state = self.lock();
            let plan = state.plan.clone()?;
            state.used = Instant::now();
            plan
        };
        let mut bytes = vec![0; usize::try_from(end.checked_sub(offset)?).ok()?];
        plan.copy(offset, &mut bytes).then(|| Bytes::from(bytes))
    }

    fn jumped(&self, waited: Duration) {
        let mut state = self.lock();
        state.rent.pay(waited);
        let more = match &state.plan {
            None if state.rent.is_dear() => {
                state.plan = self.begin();
                state.used = Instant::now();
                // Not asked again with each jump where it cannot be done.
                let waited = state.rent.waited;
                state.rent = JumpCost::default();
                waited
            }
            None => return,
            Some(_) => waited,
        };
        if let Some(plan) = &state.plan {
            plan.give_time(more * TIMES_WAITED);
        }
    }

    fn forget_idle(&self, older_than: Duration) {
        let mut state = self.lock();
        if state.used.elapsed() < older_than {
            return;
        }
        if let Some(plan) = state.plan.take() {
            drop(state);
            plan.give_up();
        }
    }
}

impl Drop for WholeFileCache {
    fn drop(&mut self) {
        self.forget_idle(Duration::ZERO);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_are_dear_when_they_are_many_and_far() {
        let mut rent = JumpCost::default();
        for _ in 0..JUMPS - 1 {
            rent.pay(Duration::from_millis(40));
        }
        assert!(!rent.is_dear());
        rent.pay(Duration::from_millis(40));
        assert!(rent.is_dear());
        let mut near = JumpCost::default();
        for _ in 0..1000 {
            near.pay(Duration::from_micros(200));
        }
        assert!(!near.is_dear());
    }
}
