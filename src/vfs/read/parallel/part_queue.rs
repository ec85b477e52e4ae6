//! Which parts of a file come by themselves: claimed in order by the threads that fetch them,
//! passed in order by the reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::part::{Part, PartOutcome};
use crate::vfs::local::quota::QuotaFile;

/// Smaller parts are not worth a transfer of their own; larger ones would take too much of the
/// disk.
const LENGTHS: (u64, u64) = (4 << 20, 64 << 20);

/// Longest part of a file that is fetched whole: no reader sees bytes of a part before all of it
/// came.
const LONGEST_KEPT: u64 = 16 << 20;
/// The reader's own transfer has begun before the others log in and TCP has grown their windows: so
/// much farther it comes, in parts of what is left of the file and in bytes.
const LEAD: (u64, u64) = (8, 32 << 20);
/// What of a part that was cut is used: behind it a transfer must be begun anew.
const WORTH_A_DETOUR: u64 = 1 << 20;
const ALIGNMENT: u64 = 1 << 20;

/// The parts of one file; shared by its reader and the threads that fetch them.
#[derive(Debug)]
pub(super) struct PartQueue {
    /// The file's.
    end: u64,
    /// Of each part but the last.
    length: u64,
    /// Most parts at once.
    most: usize,
    /// Bytes that all of them brought so far.
    brought: AtomicU64,
    state: Mutex<QueueState>,
    /// A part can be claimed, or none ever.
    room: Condvar,
}

#[derive(Debug)]
struct QueueState {
    /// Claimed and not yet passed, in order.
    parts: VecDeque<Arc<Part>>,
    /// Where the next one begins.
    next: u64,
    /// What is left of parts that were cut, where all of the file is wanted.
    gaps: Vec<Range<u64>>,
    is_stopped: bool,
    /// When fetching has to end, where it has to.
    until: Option<Instant>,
}

/// Where a reader is.
#[derive(Debug)]
pub(super) enum ReaderPlace {
    /// In this part, or at the file's end behind it.
    In(Arc<Part>),
    /// In none: so many bytes before the next one, where there is one.
    Before(Option<u64>),
}

impl PartQueue {
    /// Of a file of `end` bytes whose reader is at `position`, in `most` parts at once beside what
    /// the reader fetches itself.
    pub(super) fn new(position: u64, end: u64, most: usize) -> Self {
        let left = end.saturating_sub(position);
        let lead = (left / LEAD.0).min(LEAD.1) / ALIGNMENT * ALIGNMENT;
        let share = (left - lead) / (most as u64 + 1);
        let length = share
            .clamp(LENGTHS.0, LENGTHS.1)
            .next_multiple_of(ALIGNMENT);
        Self::of(
            end,
            length,
            most,
            position.saturating_add(lead + length),
            None,
        )
    }

    /// Of a whole file of `end` bytes that `threads` fetch, from its start on, in as much time as
    /// they are given.
    pub(super) fn whole(end: u64, threads: usize) -> Self {
        let share = end / (threads.max(1) as u64);
        let length = share
            .clamp(LENGTHS.0, LONGEST_KEPT)
            .next_multiple_of(ALIGNMENT);
        Self::of(end, length, usize::MAX, 0, Some(Instant::now()))
    }

    fn of(end: u64, length: u64, most: usize, next: u64, until: Option<Instant>) -> Self {
        Self {
            end,
            length,
            most,
            brought: AtomicU64::new(0),
            state: Mutex::new(QueueState {
                parts: VecDeque::new(),
                next,
                gaps: Vec::new(),
                is_stopped: false,
                until,
            }),
            room: Condvar::new(),
        }
    }

    /// Its fetching may go on for so much longer.
    pub(super) fn give_time(&self, time: Duration) {
        let mut state = self.lock();
        state.until = state.until.and_then(|until| until.checked_add(time));
        drop(state);
        self.room.notify_all();
    }

    /// Whether there is time left for fetching, or is given within `patience`.
    pub(super) fn has_time_within(&self, patience: Duration) -> bool {
        let lacks_time = |state: &mut QueueState| {
            !state.is_stopped && state.until.is_some_and(|until| Instant::now() >= until)
        };
        let waited = self
            .room
            .wait_timeout_while(self.lock(), patience, lacks_time);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.until.is_none_or(|until| Instant::now() < until)
    }

    /// Fills `bytes` with those at `offset`, from parts that the server [confirmed](Part::confirm);
    /// whether all of them were there.
    pub(super) fn copy(&self, offset: u64, bytes: &mut [u8]) -> bool {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset.saturating_add(done as u64);
            let part = {
                let state = self.lock();
                let of = |part: &&Arc<Part>| part.confirmed().contains(&at);
                state.parts.iter().find(of).cloned()
            };
            match part.map(|part| part.copy(at, rest)) {
                Some(Ok(count)) if count > 0 => done += count,
                Some(Err(error)) => {
                    log::warn!("cannot read what was kept: {error}");
                    return false;
                }
                Some(Ok(_)) | None => return false,
            }
        }
        true
    }

    /// Waits until a part can be claimed; false when none ever can.
    pub(super) fn wait_for_room(&self) -> bool {
        let mut state = self.lock();
        while !self.is_over(&state) {
            if state.parts.len() < self.most {
                return true;
            }
            state = self
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Waits for `time`, or until no part can be claimed any more.
    pub(super) fn pause(&self, time: Duration) {
        let goes_on = |state: &mut QueueState| !self.is_over(state);
        drop(self.room.wait_timeout_while(self.lock(), time, goes_on));
    }

    /// The next part, for the caller to fetch into what `scratch` gives for its length. Where that
    /// is nothing there is no more room on the disk, and no part is claimed from then on.
    pub(super) fn claim(
        &self,
        scratch: impl FnOnce(u64) -> Option<QuotaFile>,
    ) -> Option<Arc<Part>> {
        let mut state = self.lock();
        if self.is_over(&state) || state.parts.len() >= self.most {
            return None;
        }
        let next = || state.next..self.end.min(state.next + self.length);
        let range = state.gaps.last().cloned().unwrap_or_else(next);
        let Some(scratch) = scratch(range.end - range.start) else {
            state.is_stopped = true;
            return None;
        };
        let part = Arc::new(Part::new(range.start, range.end, scratch));
        if state.gaps.pop().is_none() {
            state.next = range.end;
        }
        state.parts.push_back(Arc::clone(&part));
        Some(part)
    }

    /// Where `position` is; parts behind it are let go.
    pub(super) fn place(&self, position: u64) -> ReaderPlace {
        let mut state = self.lock();
        let is_passed = |part: &Arc<Part>| part.end() <= position && part.end() < self.end;
        while state.parts.front().is_some_and(is_passed) {
            state.parts.pop_front();
            self.room.notify_one();
        }
        match state.parts.front() {
            Some(part) if part.start() <= position => return ReaderPlace::In(Arc::clone(part)),
            Some(part) => return ReaderPlace::Before(Some(part.start() - position)),
            None => {}
        }
        // Nobody fetched what the reader comes to: the next part is far enough before it again.
        if state.next <= position {
            state.next = position.saturating_add(self.length);
        }
        ReaderPlace::Before(None)
    }

    /// `part` ended early: what is left of it is none of a part.
    pub(super) fn pass(&self, part: &Arc<Part>) {
        self.lock().parts.retain(|it| !Arc::ptr_eq(it, part));
        self.room.notify_one();
    }

    /// `part` was cut: where all of the file is wanted, what is left of it is fetched another time.
    pub(super) fn leave(&self, part: &Part) {
        let gap = part.start() + part.filled()..part.end();
        let mut state = self.lock();
        if state.until.is_some() && !gap.is_empty() {
            state.gaps.push(gap);
        }
        drop(state);
        self.room.notify_one();
    }

    /// Whether the reader comes to `part` next.
    pub(super) fn is_next(&self, part: &Arc<Part>) -> bool {
        let state = self.lock();
        state.parts.front().is_some_and(|it| Arc::ptr_eq(it, part))
    }

    /// No part is claimed from now on; those under way go on.
    pub(super) fn stop(&self) {
        self.lock().is_stopped = true;
        self.room.notify_all();
    }

    /// No part is claimed from now on, and those under way end; what they brought is kept where it
    /// is worth a detour.
    pub(super) fn cut(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        for part in &state.parts {
            part.end_with(PartOutcome::Cut);
        }
        state.parts.retain(|part| part.filled() >= WORTH_A_DETOUR);
        drop(state);
        self.room.notify_all();
    }

    /// A thread that fetched one of the parts panicked: those under way fail, and no part is
    /// claimed from now on.
    pub(super) fn fail(&self) {
        let mut state = self.lock();
        state.is_stopped = true;
        for part in &state.parts {
            part.end_with(PartOutcome::Failed);
        }
        drop(state);
        self.room.notify_all();
    }

    /// Nobody reads any more.
    pub(super) fn give_up(&self) {
        self.cut();
        self.lock().parts.clear();
    }

    /// So many bytes came.
    pub(super) fn note(&self, bytes: u64) {
        self.brought.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The file's end.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Bytes that came in parts so far.
    pub(super) fn brought(&self) -> u64 {
        self.brought.load(Ordering::Relaxed)
    }

    fn is_over(&self, state: &QueueState) -> bool {
        state.is_stopped || (state.next >= self.end && state.gaps.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;

    fn claim(plan: &PartQueue) -> Option<(u64, u64)> {
        let part = plan.claim(|_| Some(QuotaFile::unaccounted()))?;
        Some((part.start() / M, part.end() / M))
    }

    #[test]
    fn all_shares_are_as_long_as_that_of_the_reader_but_for_its_lead() {
        let plan = PartQueue::new(M, 65 * M, 7);
        let claimed: Vec<_> = std::iter::from_fn(|| claim(&plan)).collect();
        assert_eq!(
            claimed,
            [
                (16, 23),
                (23, 30),
                (30, 37),
                (37, 44),
                (44, 51),
                (51, 58),
                (58, 65)
            ]
        );
        assert!(!plan.wait_for_room(), "there is no more");
    }

    #[test]
    fn the_next_part_is_claimed_when_the_first_is_passed() {
        let plan = PartQueue::new(0, 1024 * M, 2);
        assert_eq!(claim(&plan), Some((96, 160)));
        assert_eq!(claim(&plan), Some((160, 224)));
        assert_eq!(claim(&plan), None);
        assert!(matches!(plan.place(95 * M), ReaderPlace::Before(Some(M))));
        assert!(matches!(plan.place(100 * M), ReaderPlace::In(part) if part.start() == 96 * M));
        assert!(matches!(plan.place(160 * M), ReaderPlace::In(part) if part.start() == 160 * M));
        assert!(plan.wait_for_room());
        assert_eq!(claim(&plan), Some((224, 288)));
    }

    #[test]
    fn a_part_that_was_cut_leaves_a_gap_before_the_next() {
        let plan = PartQueue::new(0, 1024 * M, 2);
        let first = plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap();
        claim(&plan);
        assert!(plan.is_next(&first));
        plan.pass(&first);
        assert!(matches!(plan.place(97 * M), ReaderPlace::Before(Some(left)) if left == 63 * M));
    }

    #[test]
    fn who_overtakes_all_parts_is_gone_before() {
        let plan = PartQueue::new(0, 1024 * M, 2);
        assert!(matches!(plan.place(100 * M), ReaderPlace::Before(None)));
        assert_eq!(claim(&plan), Some((164, 228)));
    }

    #[test]
    fn the_last_part_is_left_to_say_how_the_file_ended() {
        let plan = PartQueue::new(0, 10 * M, 2);
        assert_eq!(claim(&plan), Some((5, 9)));
        assert_eq!(claim(&plan), Some((9, 10)));
        assert!(matches!(plan.place(10 * M), ReaderPlace::In(part) if part.end() == 10 * M));
    }

    #[test]
    fn what_parts_brought_before_they_were_cut_is_used_where_it_is_worth_it() {
        let plan = PartQueue::new(0, 1024 * M, 2);
        let (first, second) = (
            plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap(),
            plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap(),
        );
        first.add(b"little").unwrap();
        second.add(&vec![0; 1 << 20]).unwrap();
        plan.cut();
        assert!(first.is_over() && second.is_over());
        assert!(matches!(
            plan.place(second.start() - M),
            ReaderPlace::Before(Some(M))
        ));
    }

    #[test]
    fn what_is_left_of_a_part_of_a_whole_file_is_fetched_another_time() {
        let plan = PartQueue::whole(20 * M, 2);
        let first = plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap();
        assert_eq!(claim(&plan), Some((10, 20)));
        first.add(&vec![1; 3 << 20]).unwrap();
        first.confirm();
        plan.leave(&first);
        assert!(plan.wait_for_room());
        let rest = plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap();
        assert_eq!((rest.start(), rest.end()), (3 * M, 10 * M));
        rest.add(&[2; 10]).unwrap();
        let mut bytes = [0; 20];
        assert!(!plan.copy(3 * M - 10, &mut bytes), "it is not confirmed");
        rest.confirm();
        assert!(plan.copy(3 * M - 10, &mut bytes));
        assert_eq!((bytes[9], bytes[10]), (1, 2));
        assert!(!plan.wait_for_room());
    }

    #[test]
    fn without_room_on_the_disk_and_without_a_reader_nothing_is_claimed() {
        let plan = PartQueue::new(0, 1024 * M, 2);
        assert!(plan.claim(|_| None).is_none());
        assert!(!plan.wait_for_room());
        let plan = PartQueue::new(0, 1024 * M, 2);
        let part = plan.claim(|_| Some(QuotaFile::unaccounted())).unwrap();
        plan.give_up();
        assert!(!plan.wait_for_room());
        let ended = part.read(part.start(), &mut [0; 1]).unwrap();
        assert_eq!(
            ended,
            crate::vfs::read::parallel::part::Found::Nothing(PartOutcome::Cut)
        );
    }
}
