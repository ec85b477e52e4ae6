//! A thread that fetches parts of a file over spare connections, with one transfer for each part,
//! which ends where the part ends.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::LOOK_AGAIN;
use crate::cancel::Cancel;
use crate::remote::Error;
use crate::vfs::local::quota::QuotaFile;
use crate::vfs::read::bytes::LocalPiece;
use crate::vfs::read::keep::Keeping;
use crate::vfs::read::parallel::{ClaimedPart, PartOutcome, PartQueue, PartsFor};
use crate::vfs::read::source::RangeDownload;
use crate::vfs::read::{ReaderShared, ReaderState};

/// Maximum wait for a connection before the thread checks whether the part is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);
/// Size in bytes of the receive buffer.
const BUFFER: usize = 256 << 10;

/// Fetches parts of the queue `queue` until there are none left. Stops after a part that fails: the
/// readers continue by themselves.
pub(super) fn fetch(shared: &Arc<ReaderShared>, queue: u64) {
    let fetch = PartsFetch {
        began: SystemTime::now(),
        shared,
        queue,
    };
    while fetch.wait_for_room() {
        if !fetch.fetch_next() {
            return;
        }
    }
}

struct PartsFetch<'a> {
    shared: &'a Arc<ReaderShared>,
    /// Before the first part.
    began: SystemTime,
    queue: u64,
}

impl PartsFetch<'_> {
    /// Waits until a part can be claimed. Returns `false` if none ever can.
    fn wait_for_room(&self) -> bool {
        let mut state = self.shared.lock();
        loop {
            match state.queue(self.queue) {
                None => return false,
                Some(queue) if queue.is_over() => return false,
                Some(queue) if queue.has_room() => return true,
                Some(_) => {}
            }
            let woken = self.shared.parts.wait_timeout(state, LOOK_AGAIN);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Fetches a part if there is a connection for it. Returns whether this thread may fetch more.
    fn fetch_next(&self) -> bool {
        let source = &self.shared.source;
        let mut claimed = None;
        let opened = source.open_beside(PATIENCE, &self.shared.expected.version(), &mut || {
            claimed = self.claim();
            claimed.as_ref().map(|(part, _)| part.range.clone())
        });
        let Some((part, file)) = claimed else {
            self.pause();
            return true;
        };
        let outcome = match opened {
            Some(Ok(incoming)) => self.fill(&part, &file, incoming),
            Some(Err(error)) => Err(error),
            None => Ok(PartOutcome::Failed),
        };
        let outcome = outcome.unwrap_or_else(|error| {
            log::debug!("a part was not fetched: {error}");
            PartOutcome::Failed
        });
        let is_of_use = self.end_part(part.number, outcome);
        if is_of_use && outcome == PartOutcome::Whole {
            self.keep(&part, file);
        }
        is_of_use && outcome != PartOutcome::Failed
    }

    /// Claims the next part. Returns it and the local file that receives it.
    fn claim(&self) -> Option<(ClaimedPart, Arc<QuotaFile>)> {
        let part = self.with_queue(PartQueue::claim)??;
        let scratch = self
            .shared
            .parallel
            .scratch(part.range.end - part.range.start);
        let Some(file) = scratch else {
            self.shared.unclaim(self.queue, part.number);
            return None;
        };
        self.with_queue(|queue| queue.begin(part.number, Arc::clone(&file)))?;
        Some((part, file))
    }

    /// Receives `part` into `file`.
    fn fill(
        &self,
        part: &ClaimedPart,
        file: &QuotaFile,
        mut incoming: Box<dyn RangeDownload>,
    ) -> Result<PartOutcome, Error> {
        let is_last = self.shared.expected.size() == Some(part.range.end);
        let length = part.range.end - part.range.start;
        let mut buffer = vec![0; BUFFER];
        let mut filled = 0;
        loop {
            let missing = length - filled;
            // After the last byte of the file, the server still has to confirm that it was the
            // last.
            if missing == 0 && !is_last {
                return Ok(PartOutcome::Whole);
            }
            let most = usize::try_from(missing.max(1)).map_or(BUFFER, |most| most.min(BUFFER));
            let count = incoming.read(buffer.get_mut(..most).unwrap_or_default())?;
            match (count, missing) {
                (0, 0) => return Ok(PartOutcome::Whole),
                // The file is shorter or longer than expected: it is another one.
                (0, _) | (_, 0) => return Ok(PartOutcome::Failed),
                _ => {}
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            if let Err(error) = file.file().write_all_at(bytes, filled) {
                log::warn!(
                    path = self.shared.source.path();
                    "cannot keep what is read ahead: {error}"
                );
                return Ok(PartOutcome::Failed);
            }
            filled += count as u64;
            if !self.goes_on(part.number, count as u64) {
                return Ok(PartOutcome::Cut);
            }
        }
    }

    /// Records that the next `count` bytes of the part `number` are in its file. Returns whether
    /// its transfer should continue: the part is still wanted, there is time for it, and no
    /// operation needs its connection more.
    fn goes_on(&self, number: u64, count: u64) -> bool {
        let is_next = {
            let mut state = self.shared.lock();
            let Some(queue) = state.queue(self.queue) else {
                return false;
            };
            if !queue.receive(number, count) {
                return false;
            }
            let is_next = queue.is_next(number);
            self.shared.parts_moved(&mut state, self.queue);
            is_next
        };
        if !self.has_time() {
            self.with_queue(PartQueue::stop);
            return false;
        }
        is_next || !self.shared.source.is_needed_elsewhere()
    }

    /// Whether there is time left for fetching, or more is granted within a moment.
    fn has_time(&self) -> bool {
        let began = Instant::now();
        let mut state = self.shared.lock();
        loop {
            let now = Instant::now();
            match state.queue(self.queue) {
                None => return false,
                Some(queue) if queue.has_time(now) => return true,
                Some(queue) if queue.is_stopped() => return false,
                Some(_) => {}
            }
            let Some(left) = PATIENCE.checked_sub(now - began) else {
                return false;
            };
            let woken = self.shared.parts.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Records that the transfer of the part `number` has ended. Returns whether the queue is still
    /// of use.
    fn end_part(&self, number: u64, outcome: PartOutcome) -> bool {
        let parts_for = self.with_queue(|queue| queue.parts_for);
        // Regardless of the outcome, the bytes may belong to two versions. A stream asks the server
        // at its end. Readers at random offsets never reach one, and see no bytes before the
        // answer.
        let confirmed = match parts_for {
            None => return false,
            Some(PartsFor::Stream(_)) => Ok(()),
            Some(PartsFor::File) => self
                .shared
                .expected
                .confirm(&*self.shared.source, &Cancel::never()),
        };
        let mut state = self.shared.lock();
        if let Err(error) = &confirmed {
            log::debug!("what was fetched is not kept: {error}");
            state.discard_queue(self.queue);
        } else {
            state.end_part(self.queue, number, outcome);
        }
        self.shared.parts_moved(&mut state, self.queue);
        confirmed.is_ok()
    }

    /// Puts a part of a file that is fetched whole into the persistent cache. The server has
    /// confirmed the version after it.
    fn keep(&self, part: &ClaimedPart, file: Arc<QuotaFile>) {
        let is_for_file = self.with_queue(|queue| queue.parts_for == PartsFor::File);
        if is_for_file != Some(true) {
            return;
        }
        if let Some(keeping) = Keeping::start(self.shared, self.began) {
            let piece = LocalPiece {
                file,
                from: 0,
                length: part.range.end - part.range.start,
            };
            keeping.offer(part.range.start, piece, false);
            keeping.confirm();
        }
    }

    /// Waits a moment, or until no more parts can be claimed.
    fn pause(&self) {
        let goes_on = |state: &mut ReaderState| {
            state
                .queue(self.queue)
                .is_some_and(|queue| !queue.is_over())
        };
        let parts = &self.shared.parts;
        drop(parts.wait_timeout_while(self.shared.lock(), PATIENCE, goes_on));
    }

    /// Calls `change` with the queue. Returns `None` if the readers no longer use it.
    fn with_queue<T>(&self, change: impl FnOnce(&mut PartQueue) -> T) -> Option<T> {
        self.shared.lock().queue(self.queue).map(change)
    }
}
