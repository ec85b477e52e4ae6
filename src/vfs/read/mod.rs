//! An open remote file, which several threads read in parallel.
//!
//! One [map of blocks](block_map) holds the bytes that were fetched, in memory and on the local
//! disk. The kernel sends requests in parallel and slightly out of order. Each belongs to one of a
//! few [streams](stream): sequential runs through the file with read-ahead within a bounded
//! [window]. A request near a stream waits for it. A request far from all of them starts a new
//! stream, which replaces the least recently used one.
//!
//! [Threads](fetch) fetch what is missing: one for each stream, with one transfer that is
//! [resumed](resume) if it breaks and the file is still [the version that was
//! opened](pinned_version). Others fetch parts of the file [in parallel](parallel) if that is
//! faster, or the [whole file](whole_file) if its readers read at random offsets.
//!
//! The memory of a reader is bounded: for each stream the window and the tail behind it, and one
//! window of buffers for reuse.
//!
//! Locks: the reader's, then the free list's or the pool's queue, which a cancelled stream leaves.
//! None is held during I/O.

mod block_map;
mod bytes;
mod fetch;
mod keep;
pub(super) mod parallel;
mod pinned_version;
mod read_end;
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
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::disk_cache::DiskCache;
use crate::ftp::Version;
use crate::remote::{Error, ErrorKind};
use crate::vfs::local_share::LocalShare;

pub(crate) use bytes::Bytes;
use bytes::{BlockBytes, BufferPool, UnreadableBlock};
use fetch::FetchTask;
use parallel::ParallelReads;
pub(super) use pinned_version::PinnedVersion;
pub(super) use read_end::ReadEnd;
pub(super) use resume::{DownloadStep, ResumableDownload, Revalidate};
pub(super) use source::{RangeDownload, RangeSource};
use state::{ReadRequest, ReaderState, StreamChoice, WaitingOn};
use whole_file::JumpAdvice;

/// How often a waiting read checks whether it is cancelled. A transfer without progress for this
/// long stalls.
const LOOK_UP: Duration = Duration::from_millis(500);

/// Limits for reading a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadOptions {
    /// Maximum read-ahead of a stream in bytes, rounded up to the kernel's request size.
    pub(crate) read_ahead: usize,
    /// Maximum number of streams; at least one.
    pub(crate) streams: usize,
    /// Maximum wait of a read without progress of its transfer. Longer than the network deadlines,
    /// which normally end the wait.
    pub(crate) timeout: Duration,
}

/// An open remote file, shared by all its handles. Its transfers end when it is dropped.
pub(crate) struct Reader {
    pub(in crate::vfs::read) shared: Arc<ReaderShared>,
}

/// State shared by the callers of a reader and the threads of its transfers.
struct ReaderShared {
    source: Arc<dyn RangeSource>,
    /// The version that was opened.
    expected: Arc<PinnedVersion>,
    options: ReadOptions,
    parallel: ParallelReads,
    state: Mutex<ReaderState>,
    /// Notifies readers: bytes arrived, a transfer failed, or a stream is free.
    arrived: Condvar,
    /// Notifies the threads of parts: a part can be claimed, or no part will be, or there is time
    /// for one.
    parts: Condvar,
    free: Arc<BufferPool>,
    /// What was read stays here.
    disk: Option<Arc<DiskCache>>,
    /// Set when the first read has looked into it: a reader is created under locks.
    has_looked: OnceLock<()>,
    /// Bytes of the persistent cache that were found to be damaged.
    damaged: AtomicU64,
}

/// The state of a read.
enum ReadStatus {
    Here(Vec<BlockBytes>),
    Failed(Error),
    /// Nothing has arrived since then.
    Wait(Instant),
}

impl Reader {
    /// Creates a reader of `source`, which has the version `expected`. It never reads beyond a
    /// known size, and never returns bytes of another version. What `disk` has of that version is
    /// not fetched.
    pub(in crate::vfs) fn new(
        source: Arc<dyn RangeSource>,
        expected: Arc<PinnedVersion>,
        options: ReadOptions,
        parallel: ParallelReads,
        disk: Option<Arc<DiskCache>>,
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
                disk,
                has_looked: OnceLock::new(),
                damaged: AtomicU64::new(0),
            }),
        }
    }

    /// Returns the `length` bytes at `offset`, fewer at the end of the file, or `None` if the read
    /// would have to wait.
    pub(crate) fn available(&self, offset: u64, length: usize) -> Option<Bytes> {
        if self.has_changed() {
            return None;
        }
        self.shared.find_cached();
        let mut state = self.shared.lock();
        let end = state.clip(offset, length);
        if end <= offset {
            return Some(Bytes::default());
        }
        let parts = state.find(offset, end, Instant::now())?;
        drop(state);
        self.shared.load(parts)
    }

    /// Returns the `length` bytes at `offset`, fewer only at the end of the file, and none if the
    /// read is cancelled. Waits for the network.
    ///
    /// # Errors
    /// The error of the transfer if resuming does not help. `Truncated` if the data repeatedly ends
    /// before the file's size. `TimedOut` if nothing arrives; the next read tries again. `Changed`
    /// if the server has another version, from then on.
    pub(crate) fn read(&self, offset: u64, length: usize, cancel: &Cancel) -> Result<Bytes, Error> {
        let shared = &self.shared;
        let woken = Arc::clone(shared);
        let _listener = cancel.on_cancel(move || {
            // A read that has checked `cancel` under the lock is waiting by now, and is woken.
            drop(woken.lock());
            woken.arrived.notify_all();
        });
        shared.find_cached();
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

    /// Whether the server has another version. Bytes read so far may belong to either.
    pub(crate) fn has_changed(&self) -> bool {
        self.shared.expected.has_changed()
    }

    /// Returns how much of the file was fetched and is kept.
    pub(in crate::vfs) fn local_share(&self) -> LocalShare {
        let size = self.size();
        let state = self.shared.lock();
        match size {
            Some(size) if size > 0 && state.blocks.has(0..size) => LocalShare::Whole,
            _ if state.blocks.is_empty() => LocalShare::None,
            _ => LocalShare::Part,
        }
    }

    /// Returns the size of the file if the server listed a wrong one.
    pub(crate) fn corrected_size(&self) -> Option<u64> {
        self.shared.expected.corrected_size()
    }

    /// Returns the size of the file, if it is known.
    pub(in crate::vfs) fn size(&self) -> Option<u64> {
        self.shared.expected.size()
    }

    /// Returns when the server last confirmed the version that is read.
    pub(in crate::vfs) fn confirmed_at(&self) -> Instant {
        self.shared.expected.confirmed_at()
    }

    /// Records that this mount appends to the file until it has `size` bytes.
    pub(in crate::vfs) fn may_become(&self, size: u64) {
        self.shared.expected.may_become(size);
    }

    /// Asks the server whether it still has the version, unless it said so within the last second.
    ///
    /// # Errors
    /// `Changed` if it has another one; the error of the query if the server cannot be asked.
    pub(in crate::vfs) fn confirm(&self, cancel: &Cancel) -> Result<(), Error> {
        let shared = &self.shared;
        if shared.expected.has_changed() {
            return Err(shared.expected.changed(&*shared.source));
        }
        if shared.expected.is_confirmed() {
            return Ok(());
        }
        shared.expected.confirm(&*shared.source, cancel)
    }

    /// Records that this mount is about to give the file the modification time `seconds`, in Unix
    /// seconds.
    pub(in crate::vfs) fn may_get_time(&self, seconds: i64) {
        self.shared.expected.may_get_time(seconds);
    }

    /// Records that the server's file has the modification time `seconds`, if that was
    /// [announced](Self::may_get_time).
    pub(in crate::vfs) fn has_time(&self, seconds: i64) {
        self.shared.expected.has_time(seconds);
    }

    /// Returns the version that is read.
    pub(in crate::vfs) fn version(&self) -> Version {
        self.shared.expected.version()
    }

    /// Whether `now`, which the server has, is the version that is read, maybe with a time that
    /// this mount has set. If so, the version has that time from now on, unless it has a later one.
    pub(in crate::vfs) fn recognizes(&self, now: &Version) -> bool {
        self.shared.expected.recognizes(now)
    }

    /// Records how far a program has read that reached the end. From now on, the file may grow.
    pub(in crate::vfs) fn set_end(&self, end: ReadEnd) {
        self.shared.expected.set_end(end);
    }

    /// Returns the ends of what programs have read that must be in a version that grew from this
    /// one.
    pub(in crate::vfs) fn ends(&self) -> Vec<ReadEnd> {
        self.shared.expected.ends()
    }

    /// Records that another reader has read the file up to `end`. The first transfer starts where
    /// the first read does, and the file may grow.
    pub(in crate::vfs) fn continue_from(&self, end: ReadEnd) {
        self.set_end(end);
        self.shared.lock().begin();
    }

    /// Ends the transfers that no read waits for or has used for `older_than`, so that their
    /// connections are free. The bytes are kept, and reading continues where they stopped.
    pub(crate) fn release_idle(&self, older_than: Duration) {
        let mut state = self.shared.lock();
        for stream in &mut state.streams {
            if !stream.is_awaited() && stream.used.elapsed() >= older_than {
                stream.end();
            }
        }
    }

    /// Ends all transfers, because the name belongs to another file. Bytes of the streams are kept.
    pub(in crate::vfs) fn end_transfers(&self) {
        let mut state = self.shared.lock();
        for stream in &mut state.streams {
            stream.end();
        }
        state.forget_whole();
        drop(state);
        self.shared.arrived.notify_all();
        self.shared.sweep();
    }

    /// Makes all further reads fail: the server has another file.
    pub(in crate::vfs) fn refuse_reads(&self) {
        self.shared.expected.refuse();
    }

    /// Discards the bytes of streams without a transfer that no read has used for `older_than`.
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

    /// Records that a read at an offset that no other read had reached waited for `waited`.
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

    /// Returns the bytes of `parts`. Removes from the map what the local disk cannot return.
    fn load(&self, parts: Vec<BlockBytes>) -> Option<Bytes> {
        match Bytes::load(parts, &self.free) {
            Ok(bytes) => Some(bytes),
            Err(UnreadableBlock::Local { file, error }) => {
                log::warn!(path = self.source.path(); "cannot read what was kept: {error}");
                self.lock().blocks.lose(&file);
                self.sweep();
                None
            }
            Err(UnreadableBlock::Cached { file, ranges }) => {
                self.lose_cached(&file, &ranges);
                None
            }
        }
    }

    /// Returns the state of the read. Assigns it to a stream if it waits for none yet.
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
                let start = self.start_for(offset);
                let id = state.open(start, self.options.read_ahead as u64, now);
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

    /// Starts a transfer at the stream's position.
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

    /// Ends the wait of the read. Another read that waits for a free stream may use this one.
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

    /// Ends a transfer without progress, or one whose reader is gone, so that the next read does
    /// not wait for it.
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
            reply: None,
        }
    }
}
