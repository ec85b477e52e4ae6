//! The parts of a file that are fetched in parallel to its readers' own transfers. The threads that
//! fetch them claim them in order, and the stream that they are fetched for passes them in order.
//! Pure bookkeeping: no thread, no lock, no I/O.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::vfs::local::quota::QuotaFile;

/// Minimum and maximum length of a part in bytes. Smaller ones are not worth a transfer of their
/// own, and larger ones would take too much of the disk.
const LENGTHS: (u64, u64) = (4 << 20, 64 << 20);
/// Maximum length in bytes of a part of a file that is fetched whole: no reader sees bytes of a
/// part before all of it has arrived.
const LONGEST_OF_WHOLE: u64 = 16 << 20;
/// The lead of the stream's own transfer, which has started before the others log in and TCP has
/// grown their windows: a divisor of the bytes left, and a maximum in bytes.
const LEAD: (u64, u64) = (8, 32 << 20);
/// Minimum number of available bytes worth skipping, because skipping them costs a new transfer.
pub(in crate::vfs::read) const WORTH_A_DETOUR: u64 = 1 << 20;
const ALIGNMENT: u64 = 1 << 20;

/// The purpose of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs::read) enum PartsFor {
    /// For the stream that this transfer fills: its reader reaches them in order.
    Stream(u64),
    /// For all readers of the file, which read at random offsets: the whole file is fetched.
    File,
}

/// How the transfer of a part ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs::read) enum PartOutcome {
    /// The whole part was received.
    Whole,
    /// The transfer was ended early, because its connection was needed. What was received is kept.
    Cut,
    /// The transfer failed, or the file is not the expected one.
    Failed,
}

/// The parts of one file.
#[derive(Debug)]
pub(in crate::vfs::read) struct PartQueue {
    /// The identifier among the reader's queues.
    pub(in crate::vfs::read) id: u64,
    pub(in crate::vfs::read) parts_for: PartsFor,
    /// The end of the file.
    end: u64,
    /// The length of each part except the last.
    length: u64,
    /// Maximum number of simultaneous parts.
    most: usize,
    /// Number of bytes received in all parts so far.
    brought: u64,
    /// The parts that are claimed and not yet passed, in order.
    parts: VecDeque<Part>,
    /// Number of parts claimed so far.
    claimed: u64,
    /// The start of the next part.
    next: u64,
    /// The missing ranges of parts that were cut, if the whole file is wanted.
    gaps: Vec<Range<u64>>,
    is_stopped: bool,
    is_discarded: bool,
    /// When fetching has to end; `None` if its time is not limited.
    until: Option<Instant>,
}

/// The bytes `range` of a file, being received into a local file.
#[derive(Debug)]
struct Part {
    number: u64,
    range: Range<u64>,
    /// The local file with its bytes; `None` before it is created.
    file: Option<Arc<QuotaFile>>,
    /// Number of bytes received.
    filled: u64,
    outcome: Option<PartOutcome>,
}

/// A part for a thread to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs::read) struct ClaimedPart {
    pub(in crate::vfs::read) number: u64,
    pub(in crate::vfs::read) range: Range<u64>,
}

/// Bytes of a part that can be read.
#[derive(Debug, Clone)]
pub(in crate::vfs::read) struct PartBytes {
    pub(in crate::vfs::read) range: Range<u64>,
    pub(in crate::vfs::read) file: Arc<QuotaFile>,
    /// Their offset in the local file.
    pub(in crate::vfs::read) from: u64,
}

/// The position of a stream relative to the parts.
#[derive(Debug)]
pub(in crate::vfs::read) enum StreamPlace {
    /// Outside all parts: this many bytes before the next one, if there is one.
    Before(Option<u64>),
    /// In a part of which these bytes are available.
    In(PartBytes),
    /// In a part whose next bytes have not arrived yet.
    Waiting,
    /// In a part that failed.
    Failed,
}

impl PartQueue {
    /// Creates the parts of a file of `end` bytes for the stream that `transfer` fills, which is at
    /// `position`. At most `most` parts are fetched in parallel to the stream's own transfer.
    pub(in crate::vfs::read) fn ahead(
        id: u64,
        transfer: u64,
        position: u64,
        end: u64,
        most: usize,
    ) -> Self {
        let left = end.saturating_sub(position);
        let lead = (left / LEAD.0).min(LEAD.1) / ALIGNMENT * ALIGNMENT;
        let share = (left - lead) / (most as u64 + 1);
        let length = share
            .clamp(LENGTHS.0, LENGTHS.1)
            .next_multiple_of(ALIGNMENT);
        let next = position.saturating_add(lead + length);
        Self {
            most,
            next,
            ..Self::of(id, PartsFor::Stream(transfer), end, length)
        }
    }

    /// Creates the parts of a whole file of `end` bytes, which `threads` threads fetch from its
    /// start. Fetching may take as much time from `now` on as is [given](Self::give_time).
    pub(in crate::vfs::read) fn whole(id: u64, end: u64, threads: usize, now: Instant) -> Self {
        let share = end / (threads.max(1) as u64);
        let length = share
            .clamp(LENGTHS.0, LONGEST_OF_WHOLE)
            .next_multiple_of(ALIGNMENT);
        Self {
            until: Some(now),
            ..Self::of(id, PartsFor::File, end, length)
        }
    }

    fn of(id: u64, parts_for: PartsFor, end: u64, length: u64) -> Self {
        Self {
            id,
            parts_for,
            end,
            length,
            most: usize::MAX,
            brought: 0,
            parts: VecDeque::new(),
            claimed: 0,
            next: 0,
            gaps: Vec::new(),
            is_stopped: false,
            is_discarded: false,
            until: None,
        }
    }

    /// Extends the time for fetching by `time`.
    pub(in crate::vfs::read) fn give_time(&mut self, time: Duration) {
        self.until = self.until.and_then(|until| until.checked_add(time));
    }

    /// Whether there is time left for fetching.
    pub(in crate::vfs::read) fn has_time(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether no more parts will be claimed.
    pub(in crate::vfs::read) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Whether no part can be claimed now or later.
    pub(in crate::vfs::read) fn is_over(&self) -> bool {
        self.is_stopped || (self.next >= self.end && self.gaps.is_empty())
    }

    /// Whether a part can be claimed now.
    pub(in crate::vfs::read) fn has_room(&self) -> bool {
        !self.is_over() && self.parts.len() < self.most
    }

    /// Claims the next part, for the caller to fetch. Returns `None` if no part can be claimed now.
    pub(in crate::vfs::read) fn claim(&mut self) -> Option<ClaimedPart> {
        if !self.has_room() {
            return None;
        }
        let range = self.gaps.pop().unwrap_or_else(|| {
            let range = self.next..self.end.min(self.next + self.length);
            self.next = range.end;
            range
        });
        self.claimed += 1;
        let number = self.claimed;
        self.parts.push_back(Part {
            number,
            range: range.clone(),
            file: None,
            filled: 0,
            outcome: None,
        });
        Some(ClaimedPart { number, range })
    }

    /// Records that the bytes of the part `number` are received into `file`.
    pub(in crate::vfs::read) fn begin(&mut self, number: u64, file: Arc<QuotaFile>) {
        if let Some(part) = self.part(number) {
            part.file = Some(file);
        }
    }

    /// Removes the claimed part `number`, because there is no room for it on the disk, and stops
    /// claiming parts.
    pub(in crate::vfs::read) fn unclaim(&mut self, number: u64) {
        self.is_stopped = true;
        self.parts.retain(|part| part.number != number);
    }

    /// Records that the next `count` bytes of the part `number` are in its file. Returns whether
    /// the part is still wanted.
    pub(in crate::vfs::read) fn receive(&mut self, number: u64, count: u64) -> bool {
        self.brought += count;
        let Some(part) = self.part(number) else {
            return false;
        };
        part.filled += count;
        part.outcome.is_none()
    }

    /// Records that the transfer of the part `number` has ended. The first outcome counts. If the
    /// stream has not passed the part yet, the received bytes are kept for it.
    pub(in crate::vfs::read) fn end_part(&mut self, number: u64, outcome: PartOutcome) {
        if let Some(part) = self.part(number) {
            part.outcome.get_or_insert(outcome);
        }
        if outcome == PartOutcome::Failed {
            self.is_stopped = true;
        }
    }

    /// Takes the received bytes of the part `number` of a whole file. The missing bytes are fetched
    /// later.
    pub(in crate::vfs::read) fn take(&mut self, number: u64) -> Option<PartBytes> {
        let index = self.parts.iter().position(|part| part.number == number)?;
        let part = self.parts.remove(index)?;
        let there = part.range.start + part.filled;
        if there < part.range.end {
            self.gaps.push(there..part.range.end);
        }
        (part.filled > 0).then_some(PartBytes {
            range: part.range.start..there,
            file: part.file?,
            from: 0,
        })
    }

    /// Returns the place of a stream at `position`. Discards the parts before it.
    pub(in crate::vfs::read) fn place(&mut self, position: u64) -> StreamPlace {
        while let Some(part) = self.parts.front() {
            if part.range.end <= position {
                self.parts.pop_front();
                continue;
            }
            if part.range.start > position {
                return StreamPlace::Before(Some(part.range.start - position));
            }
            match (part.bytes_from(position, self.end), part.outcome) {
                (Some(bytes), _) => return StreamPlace::In(bytes),
                (None, None) => return StreamPlace::Waiting,
                (None, Some(PartOutcome::Failed)) => return StreamPlace::Failed,
                // The rest of it is in no part.
                (None, Some(PartOutcome::Whole | PartOutcome::Cut)) => {
                    self.parts.pop_front();
                }
            }
        }
        // The stream has overtaken all parts: the next one starts far enough ahead of it again.
        if self.next <= position {
            self.next = position.saturating_add(self.length);
        }
        StreamPlace::Before(None)
    }

    /// Whether a stream reaches the part `number` next.
    pub(in crate::vfs::read) fn is_next(&self, number: u64) -> bool {
        let is_awaited = matches!(self.parts_for, PartsFor::Stream(_));
        is_awaited && self.parts.front().is_some_and(|it| it.number == number)
    }

    /// Stops claiming parts. Those being fetched continue.
    pub(in crate::vfs::read) fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// Stops claiming parts and ends those being fetched. Their received bytes are kept if they are
    /// worth a detour.
    pub(in crate::vfs::read) fn cut(&mut self) {
        self.end_all(PartOutcome::Cut);
        self.parts.retain(|part| part.filled >= WORTH_A_DETOUR);
    }

    /// Stops claiming parts and marks those being fetched as failed: a thread that fetched one of
    /// them panicked.
    pub(in crate::vfs::read) fn fail(&mut self) {
        self.end_all(PartOutcome::Failed);
    }

    /// Marks the parts as no longer needed.
    pub(in crate::vfs::read) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Whether the parts are no longer needed.
    pub(in crate::vfs::read) fn is_discarded(&self) -> bool {
        self.is_discarded
    }

    /// Returns the number of bytes received in parts so far.
    pub(in crate::vfs::read) fn brought(&self) -> u64 {
        self.brought
    }

    fn end_all(&mut self, outcome: PartOutcome) {
        self.is_stopped = true;
        for part in &mut self.parts {
            part.outcome.get_or_insert(outcome);
        }
    }

    fn part(&mut self, number: u64) -> Option<&mut Part> {
        self.parts.iter_mut().find(|part| part.number == number)
    }
}

impl Part {
    /// Returns the bytes that a stream at `position` in the part can read, in a file of `end`
    /// bytes. The last bytes of the file are withheld until the server has confirmed that they were
    /// the last.
    fn bytes_from(&self, position: u64, end: u64) -> Option<PartBytes> {
        let there = self.range.start + self.filled;
        if there <= position || (there >= end && self.outcome.is_none()) {
            return None;
        }
        Some(PartBytes {
            range: position..there,
            file: self.file.clone()?,
            from: position - self.range.start,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;

    fn ahead(position: u64, end: u64, most: usize) -> PartQueue {
        PartQueue::ahead(1, 7, position, end, most)
    }

    fn claim(queue: &mut PartQueue) -> Option<(u64, u64)> {
        let part = queue.claim()?;
        Some((part.range.start / M, part.range.end / M))
    }

    /// Claims a part and receives `filled` bytes of it.
    fn fill(queue: &mut PartQueue, filled: u64) -> ClaimedPart {
        let part = queue.claim().unwrap();
        queue.begin(part.number, Arc::new(QuotaFile::unaccounted()));
        queue.receive(part.number, filled);
        part
    }

    fn distance(queue: &mut PartQueue, position: u64) -> Option<u64> {
        match queue.place(position) {
            StreamPlace::Before(distance) => distance,
            place => panic!("{place:?}"),
        }
    }

    fn there(queue: &mut PartQueue, position: u64) -> Range<u64> {
        match queue.place(position) {
            StreamPlace::In(bytes) => bytes.range,
            place => panic!("{place:?}"),
        }
    }

    #[test]
    fn all_shares_are_as_long_as_that_of_the_stream_but_for_its_lead() {
        let mut queue = ahead(M, 65 * M, 7);
        let claimed: Vec<_> = std::iter::from_fn(|| claim(&mut queue)).collect();
        let starts = [16, 23, 30, 37, 44, 51, 58];
        assert_eq!(claimed, starts.map(|start| (start, start + 7)));
        assert!(queue.is_over(), "there is no more");
    }

    #[test]
    fn the_next_part_is_claimed_when_the_first_is_passed() {
        let mut queue = ahead(0, 1024 * M, 2);
        assert_eq!(claim(&mut queue), Some((96, 160)));
        assert_eq!(claim(&mut queue), Some((160, 224)));
        assert_eq!(claim(&mut queue), None);
        assert_eq!(distance(&mut queue, 95 * M), Some(M));
        assert!(matches!(queue.place(100 * M), StreamPlace::Waiting));
        assert!(!queue.has_room());
        assert!(matches!(queue.place(160 * M), StreamPlace::Waiting));
        assert!(queue.has_room());
        assert_eq!(claim(&mut queue), Some((224, 288)));
    }

    #[test]
    fn a_stream_follows_what_comes_and_is_given_the_end_of_the_file_last() {
        let mut queue = ahead(0, 10 * M, 2);
        let (first, last) = (fill(&mut queue, M), fill(&mut queue, M));
        assert_eq!((first.range, &last.range), (5 * M..9 * M, &(9 * M..10 * M)));
        assert_eq!(there(&mut queue, 5 * M + 3), 5 * M + 3..6 * M);
        assert!(matches!(queue.place(6 * M), StreamPlace::Waiting));
        queue.receive(first.number, 3 * M);
        assert_eq!(there(&mut queue, 6 * M), 6 * M..9 * M);
        assert!(matches!(queue.place(9 * M), StreamPlace::Waiting));
        queue.end_part(last.number, PartOutcome::Whole);
        assert_eq!(there(&mut queue, 9 * M), 9 * M..10 * M);
        assert_eq!(distance(&mut queue, 10 * M), None);
        assert_eq!(queue.brought(), 5 * M);
    }

    #[test]
    fn a_part_that_was_cut_leaves_a_gap_before_the_next() {
        let mut queue = ahead(0, 1024 * M, 2);
        let first = fill(&mut queue, M);
        claim(&mut queue);
        assert!(queue.is_next(first.number));
        queue.end_part(first.number, PartOutcome::Cut);
        assert_eq!(there(&mut queue, 96 * M), 96 * M..97 * M);
        assert_eq!(distance(&mut queue, 97 * M), Some(63 * M));
        assert!(queue.has_room());
    }

    #[test]
    fn a_part_that_failed_ends_the_queue_where_the_stream_comes_to_it() {
        let mut queue = ahead(0, 1024 * M, 2);
        let first = fill(&mut queue, M);
        queue.end_part(first.number, PartOutcome::Failed);
        assert!(queue.is_over());
        assert_eq!(there(&mut queue, 96 * M), 96 * M..97 * M);
        assert!(matches!(queue.place(97 * M), StreamPlace::Failed));
    }

    #[test]
    fn a_stream_that_overtakes_all_parts_has_the_next_one_before_it() {
        let mut queue = ahead(0, 1024 * M, 2);
        assert_eq!(distance(&mut queue, 100 * M), None);
        assert_eq!(claim(&mut queue), Some((164, 228)));
    }

    #[test]
    fn what_parts_brought_before_they_were_cut_is_used_where_it_is_worth_it() {
        let mut queue = ahead(0, 1024 * M, 2);
        let (first, second) = (fill(&mut queue, 6), fill(&mut queue, M));
        queue.cut();
        assert!(!queue.receive(first.number, 1) && !queue.receive(second.number, 1));
        assert_eq!(distance(&mut queue, second.range.start - M), Some(M));
        assert_eq!(claim(&mut queue), None);
    }

    #[test]
    fn what_is_left_of_a_part_of_a_whole_file_is_fetched_another_time() {
        let now = Instant::now();
        let mut queue = PartQueue::whole(1, 20 * M, 2, now);
        assert!(!queue.has_time(now));
        queue.give_time(Duration::from_secs(1));
        assert!(queue.has_time(now));
        let first = fill(&mut queue, 3 * M);
        assert!(!queue.is_next(first.number), "no reader comes to it");
        assert_eq!(claim(&mut queue), Some((10, 20)));
        assert!(queue.is_over());
        queue.end_part(first.number, PartOutcome::Cut);
        assert_eq!(queue.take(first.number).unwrap().range, 0..3 * M);
        assert_eq!(claim(&mut queue), Some((3, 10)));
        assert!(queue.is_over());
    }

    #[test]
    fn without_room_on_the_disk_nothing_is_claimed() {
        let mut queue = ahead(0, 1024 * M, 2);
        let part = queue.claim().unwrap();
        queue.unclaim(part.number);
        assert!(queue.is_over());
        assert_eq!(distance(&mut queue, 96 * M), None, "it leaves no part");
    }
}
