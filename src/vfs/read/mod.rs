//! An open remote file as its readers see it: any bytes, asked for from several threads
//! simultaneously.
//!
//! What is here of the file is in one [map of blocks](block_map), in memory and on the local disk.
//! The kernel asks for a file in requests that come slightly out of order and side by side. Each
//! belongs to one of a few [streams](stream): runs through the file, read ahead within a bounded
//! [window]. A request near a stream waits for it; one far from all of them begins a new stream in
//! the place of the least recently used.
//!
//! [Threads](fetch) bring what is missing: one for each stream, with one transfer that is resumed
//! where it [breaks](resume), as long as the file is still [the one that was
//! opened](pinned_version). Others fetch parts of the file in the background, where that
//! [pays](parallel), or all of it where its readers [jump about](whole_file) in it.
//!
//! What a reader holds in memory is bounded: for each stream the window and the tail kept behind
//! it, and one window of buffers that wait for their next use.
//!
//! Locks: the reader's, then the free list's or the pool's queue, which a cancelled stream leaves.
//! None is held during I/O.

mod block_map;
mod bytes;
mod fetch;
pub(super) mod parallel;
mod pinned_version;
mod resume;
mod source;
mod state;
mod steps;
mod stream;
mod whole_file;
mod window;

#[cfg(test)]
pub(in crate::vfs) mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::remote::{Error, ErrorKind};

pub(crate) use bytes::Bytes;
use bytes::{BlockBytes, BufferPool, UnreadableBlock};
use fetch::FetchTask;
use parallel::ParallelReads;
pub(super) use pinned_version::PinnedVersion;
pub(super) use resume::{DownloadStep, ResumableDownload, Revalidate};
pub(super) use source::{RangeDownload, RangeSource};
use state::{ReadRequest, ReaderState, StreamChoice, WaitingOn};
use whole_file::JumpAdvice;

/// How often a waiting read looks whether it is still wanted; a transfer that did not move for so
/// long stalls.
const LOOK_UP: Duration = Duration::from_millis(500);

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    /// Most bytes a stream goes beyond what was asked for, rounded up to the kernel's request size.
    pub(crate) read_ahead: usize,
    /// Most simultaneous streams; at least one.
    pub(crate) streams: usize,
    /// Longest that a read waits without its transfer moving. A backstop: longer than the network's
    /// deadlines.
    pub(crate) timeout: Duration,
}

/// An open remote file; shared by all its handles. Dropped, its transfers end by themselves.
pub(crate) struct Reader {
    pub(in crate::vfs::read) shared: Arc<ReaderShared>,
}

/// What the reader's callers and its transfers' threads have in common.
struct ReaderShared {
    source: Arc<dyn RangeSource>,
    /// What the file was when it was opened.
    expected: Arc<PinnedVersion>,
    options: ReadOptions,
    parallel: ParallelReads,
    state: Mutex<ReaderState>,
    /// Bytes came, a transfer failed or a stream is free: readers look again.
    arrived: Condvar,
    /// A part can be claimed, or none ever, or there is time for one: their threads look again.
    parts: Condvar,
    free: Arc<BufferPool>,
}

/// What a waiting read finds.
enum ReadStatus {
    Here(Vec<BlockBytes>),
    Failed(Error),
    /// Nothing has moved since then.
    Wait(Instant),
}

impl Reader {
    /// Reads `source`, which is `expected`: never beyond its size, where that is known, and no
    /// other version's bytes.
    pub(in crate::vfs) fn new(
        source: Arc<dyn RangeSource>,
        expected: Arc<PinnedVersion>,
        options: ReadOptions,
        parallel: ParallelReads,
    ) -> Self {
        let state = ReaderState::new(expected.size(), Instant::now());
        Self {
            shared: Arc::new(ReaderShared {
                source,
                expected,
                options,
                parallel,
                state: Mutex::new(state),
                arrived: Condvar::new(),
                parts: Condvar::new(),
                free: Arc::new(BufferPool::new(options.read_ahead)),
            }),
        }
    }

    /// The `length` bytes at `offset`, fewer at the end of the file; none when that means waiting.
    pub(crate) fn available(&self, offset: u64, length: usize) -> Option<Bytes> {
        if self.has_changed() {
            return None;
        }
        let mut state = self.shared.lock();
        let end = state.clip(offset, length);
        if end <= offset {
            return Some(Bytes::default());
        }
        let parts = state.find(offset, end, Instant::now())?;
        drop(state);
        self.shared.load(parts)
    }

    /// The `length` bytes at `offset`, fewer only at the end of the file; none once nobody
    /// waits for them any more. Waits for the network.
    ///
    /// # Errors
    /// The transfer's, after what can be resumed was; `Truncated` when the data keeps ending before
    /// the file's size; `TimedOut` when nothing moves: the next read tries again. `Changed` when
    /// the server has another version by now, from then on.
    pub(crate) fn read(&self, offset: u64, length: usize, cancel: &Cancel) -> Result<Bytes, Error> {
        let shared = &self.shared;
        let woken = Arc::clone(shared);
        let _listener = cancel.on_cancel(move || {
            // A read that has looked at `cancel` under the lock waits by now, and is woken.
            drop(woken.lock());
            woken.arrived.notify_all();
        });
        let mut state = shared.lock();
        let mut ticket = state.ticket(offset, length);
        loop {
            match shared.look(&mut state, &mut ticket) {
                ReadStatus::Here(parts) => {
                    shared.leave(&mut state, &mut ticket);
                    drop(state);
                    if std::mem::take(&mut ticket.is_jump) {
                        self.jumped(ticket.since.elapsed());
                    }
                    if let Some(bytes) = shared.load(parts) {
                        return Ok(bytes);
                    }
                    state = shared.lock();
                }
                ReadStatus::Failed(error) => {
                    shared.leave(&mut state, &mut ticket);
                    return Err(error);
                }
                ReadStatus::Wait(_) if cancel.is_cancelled() => {
                    shared.give_up(&mut state, &mut ticket);
                    return Ok(Bytes::default());
                }
                ReadStatus::Wait(since) => {
                    let Some(left) = shared.options.timeout.checked_sub(since.elapsed()) else {
                        shared.give_up(&mut state, &mut ticket);
                        return Err(shared.timed_out());
                    };
                    state = shared
                        .arrived
                        .wait_timeout(state, left.min(LOOK_UP))
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }

    /// Whether the server was found to have another version: bytes read so far may be of either.
    pub(crate) fn has_changed(&self) -> bool {
        self.shared.expected.has_changed()
    }

    /// The size of the file, where the server listed a wrong one.
    pub(crate) fn corrected_size(&self) -> Option<u64> {
        self.shared.expected.corrected_size()
    }

    /// Ends the transfers that nobody waits for or has read from for `older_than`, so that others
    /// can have their connections. What they brought is kept, and reading goes on where they
    /// stopped.
    pub(crate) fn release_idle(&self, older_than: Duration) {
        let mut state = self.shared.lock();
        for stream in &mut state.streams {
            if !stream.is_awaited() && stream.used.elapsed() >= older_than {
                stream.end();
            }
        }
    }

    /// Lets go of the bytes of streams without a transfer that nobody has read from for
    /// `older_than`.
    pub(crate) fn forget_idle(&self, older_than: Duration) {
        let mut state = self.shared.lock();
        state.forget_idle(older_than, Instant::now());
        let is_empty = state.streams.is_empty();
        drop(state);
        if is_empty {
            self.shared.free.clear();
        }
        self.shared.sweep();
    }

    /// A read at a place that no other one had reached waited for `waited`.
    fn jumped(&self, waited: Duration) {
        let advice = self.shared.lock().whole.jumped(waited);
        match advice {
            JumpAdvice::GoOn => {}
            JumpAdvice::Fetch(time) => self.shared.fetch_whole(time),
            JumpAdvice::GiveTime(time) => self.shared.give_time(time),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let blocks = std::mem::take(&mut state.blocks);
        for mut stream in std::mem::take(&mut state.streams) {
            stream.end();
        }
        state.whole.queue = None;
        drop(state);
        drop(blocks);
        self.shared.sweep();
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("path", &self.shared.source.path())
            .field("expected", &self.shared.expected)
            .finish_non_exhaustive()
    }
}

impl ReaderShared {
    fn lock(&self) -> MutexGuard<'_, ReaderState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of `parts`. Where the local disk cannot give them they are no longer here.
    fn load(&self, parts: Vec<BlockBytes>) -> Option<Bytes> {
        match Bytes::load(parts, &self.free) {
            Ok(bytes) => Some(bytes),
            Err(UnreadableBlock { file, error }) => {
                log::warn!("cannot read what was kept: {error}");
                self.lock().blocks.lose(&file);
                self.sweep();
                None
            }
        }
    }

    /// How the read stands now; one that waits nowhere yet is given its place.
    fn look(self: &Arc<Self>, state: &mut ReaderState, ticket: &mut ReadRequest) -> ReadStatus {
        let offset = ticket.offset;
        if self.expected.has_changed() {
            return ReadStatus::Failed(self.expected.changed(&*self.source));
        }
        let end = state.clip(offset, ticket.length);
        if end <= offset {
            return ReadStatus::Here(Vec::new());
        }
        let now = Instant::now();
        if let Some(parts) = state.find(offset, end, now) {
            return ReadStatus::Here(parts);
        }
        if let WaitingOn::Stream(id) = ticket.place {
            match state.streams.iter().find(|stream| stream.id == id) {
                Some(stream) => {
                    if let Some(error) = stream.error_of(ticket.id) {
                        return ReadStatus::Failed(error);
                    }
                    if stream.transfer.is_some() && !state.has_hole(stream, offset) {
                        return ReadStatus::Wait(stream.moved.max(ticket.since));
                    }
                }
                None => ticket.place = WaitingOn::Nowhere,
            }
        }
        self.leave(state, ticket);
        let found = match state.place_for(offset, self.options.streams) {
            Some(StreamChoice::Running(id)) => Ok(id),
            Some(StreamChoice::Stopped(id)) => self.begin(state, id, now, Revalidate::Yes),
            Some(StreamChoice::Free) => {
                ticket.is_jump = state.has_begun();
                let id = state.open(offset, self.options.read_ahead as u64, now);
                let trust = if self.expected.is_confirmed() {
                    Revalidate::No
                } else {
                    Revalidate::Yes
                };
                self.begin(state, id, now, trust)
            }
            None => {
                state.queued += 1;
                ticket.place = WaitingOn::Queue;
                return ReadStatus::Wait(ticket.since);
            }
        };
        let id = match found {
            Ok(id) => id,
            Err(error) => return ReadStatus::Failed(error),
        };
        if let Some(stream) = state.stream(id) {
            stream.wait_for(ticket.id, offset, end);
        }
        state.want_stream(id, end, now);
        ticket.place = WaitingOn::Stream(id);
        ReadStatus::Wait(now)
    }

    /// Begins a transfer at the stream's position.
    fn begin(
        self: &Arc<Self>,
        state: &mut ReaderState,
        id: u64,
        now: Instant,
        trust: Revalidate,
    ) -> Result<u64, Error> {
        let transfer = state.number();
        if let Some(stream) = state.stream(id) {
            let task = FetchTask::Stream {
                transfer,
                position: stream.position(),
                trust,
                cancel: stream.begin(transfer, now),
            };
            if let Err(error) = fetch::spawn(self, &task) {
                stream.end();
                return Err(self.error(ErrorKind::Local, error.to_string()));
            }
        }
        Ok(id)
    }

    /// The read waits no more; one that waits for a free stream may have it now.
    fn leave(&self, state: &mut ReaderState, ticket: &mut ReadRequest) {
        match std::mem::replace(&mut ticket.place, WaitingOn::Nowhere) {
            WaitingOn::Nowhere => {}
            WaitingOn::Queue => state.queued -= 1,
            WaitingOn::Stream(id) => {
                let queued = state.queued;
                if let Some(stream) = state.stream(id) {
                    stream.leave(ticket.id);
                    if queued > 0 && !stream.is_awaited() {
                        self.arrived.notify_all();
                    }
                }
            }
        }
    }

    /// Nothing moved for too long, or the reader went: the next read is not to wait for a transfer
    /// that stalls.
    fn give_up(&self, state: &mut ReaderState, ticket: &mut ReadRequest) {
        let place = ticket.place;
        self.leave(state, ticket);
        if let WaitingOn::Stream(id) = place
            && let Some(stream) = state.stream(id)
            && (!stream.is_awaited() || stream.moved.elapsed() >= LOOK_UP)
        {
            stream.end();
            self.arrived.notify_all();
        }
    }

    fn timed_out(&self) -> Error {
        let seconds = self.options.timeout.as_secs();
        let reason = format!("no data came within {seconds} seconds");
        self.error(ErrorKind::TimedOut, reason)
    }

    fn error(&self, kind: ErrorKind, reason: String) -> Error {
        Error {
            kind,
            operation: "read",
            path: self.source.path(),
            reason,
        }
    }
}
