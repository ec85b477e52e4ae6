//! The thread of a stream. It fetches the bytes up to the end of the stream's window, with one
//! transfer or from parts that are fetched in parallel.

use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use super::LOOK_AGAIN;
use crate::cancel::Cancel;
use crate::guarded;
use crate::remote::Error;
use crate::vfs::read::block_map::BlockPlace;
use crate::vfs::read::bytes::{Buffer, Bytes, LocalPiece};
use crate::vfs::read::keep::Keeping;
use crate::vfs::read::parallel::{self, ParallelWatch, PartBytes, PartQueue, ProbeAction, Verdict};
use crate::vfs::read::steps::StreamStep;
use crate::vfs::read::stream::StreamProgress;
use crate::vfs::read::{DownloadStep, ReaderShared, ResumableDownload, Revalidate};

/// Fills the stream of the transfer `transfer`, from `position` on.
pub(super) fn fill(
    shared: &Arc<ReaderShared>,
    transfer: u64,
    position: u64,
    trust: Revalidate,
    cancel: &Cancel,
) {
    let source = Arc::clone(&shared.source);
    let expected = Arc::clone(&shared.expected);
    let fetch = StreamFetch {
        shared,
        transfer,
        may_grow: expected.may_grow(),
        resuming: ResumableDownload::new(source, position, expected, trust, cancel),
        watch: None,
        keeping: Keeping::start(shared, SystemTime::now()),
    };
    fetch.run();
}

struct StreamFetch<'a> {
    shared: &'a Arc<ReaderShared>,
    transfer: u64,
    /// Whether a program had read the file to its end before this transfer. Its own reader may do
    /// so at any moment, which says nothing about what comes after the last byte.
    may_grow: bool,
    resuming: ResumableDownload,
    /// Measures whether parallel transfers pay off; `None` if one transfer is enough.
    watch: Option<ParallelWatch>,
    /// Puts the bytes into the persistent cache.
    keeping: Option<Keeping>,
}

/// The outcome of filling a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// The block is published, and there may be more.
    More,
    /// The server confirmed the end of the file.
    End,
    /// The stream no longer needs the transfer.
    Unwanted,
}

impl StreamFetch<'_> {
    fn run(mut self) {
        let mut filled = Some(self.take_prefetched());
        while let Some(outcome) = filled {
            match outcome {
                Ok(Filled::More) => {}
                Ok(Filled::End) => {
                    self.confirm_kept();
                    return self.ended();
                }
                Ok(Filled::Unwanted) => break,
                Err(error) => return self.shared.fail_stream(self.transfer, &error),
            }
            if self.shared.expected.size() == Some(self.resuming.position()) {
                self.ended();
                return self.take_completion();
            }
            filled = self.advance();
        }
        if let Some(keeping) = self.keeping.take() {
            // The server gets its connection back before it is asked.
            drop(self.resuming.take_transfer());
            keeping.confirm_part(self.shared);
        }
    }

    /// Makes the bytes in the persistent cache valid: the server has confirmed the transfer and the
    /// version.
    fn confirm_kept(&mut self) {
        if let Some(keeping) = self.keeping.take() {
            keeping.confirm();
        }
    }

    /// Publishes the whole file if it was prefetched for a program that reads it from its start.
    fn take_prefetched(&mut self) -> Result<Filled, Error> {
        if self.resuming.position() > 0 {
            return Ok(Filled::More);
        }
        self.resuming.revalidate()?;
        let shared = self.shared;
        let Some(bytes) = shared.source.prefetched(&shared.expected.version()) else {
            return Ok(Filled::More);
        };
        let length = bytes.len() as u64;
        self.resuming.end_at(length)?;
        if !self.publish_memory(Buffer::from(bytes), length) {
            return Ok(Filled::Unwanted);
        }
        Ok(Filled::End)
    }

    /// Waits until the stream may continue, and fetches its next bytes. Returns `None` if the
    /// stream has continued without this transfer.
    fn advance(&mut self) -> Option<Result<Filled, Error>> {
        let size = self.shared.expected.size();
        let mut state = self.shared.lock();
        loop {
            let (step, room) = state.next_step(self.transfer, size)?;
            if state.has_room_for_part(self.transfer) {
                self.shared.parts.notify_all();
            }
            let awaits_part = match step {
                StreamStep::Fetch(size) => {
                    drop(state);
                    return Some(self.fetch(size));
                }
                StreamStep::Follow(bytes) => {
                    drop(state);
                    return Some(self.follow(&bytes));
                }
                StreamStep::Pass(end) => {
                    drop(state);
                    return Some(self.pass(end));
                }
                StreamStep::PartsFailed => {
                    self.watch = None;
                    continue;
                }
                StreamStep::AwaitPart => true,
                StreamStep::Park => false,
            };
            let began = Instant::now();
            state = room
                .wait_timeout(state, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if let Some(watch) = self.watch.as_mut().filter(|_| awaits_part) {
                watch.waited(began, 0);
            }
        }
    }

    /// Receives and publishes `size` bytes, or fewer if a reader waits for exactly these.
    fn fetch(&mut self, size: usize) -> Result<Filled, Error> {
        let mut buffer = self.shared.free.take(size);
        let mut filled = 0;
        let mut outcome = Ok(Filled::More);
        while let Some(rest) = buffer.get_mut(filled..size).filter(|it| !it.is_empty()) {
            let began = Instant::now();
            let step = self.resuming.step(rest);
            match step {
                Ok(DownloadStep::Bytes(count)) => {
                    filled += count;
                    if let Some(watch) = &mut self.watch {
                        watch.waited(began, count as u64);
                    }
                }
                Ok(DownloadStep::Again) => {}
                Ok(DownloadStep::End) => {
                    outcome = Ok(Filled::End);
                    break;
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
            let progress = self.received(filled);
            let Some(progress) = progress else {
                self.shared.free.give(buffer);
                return Ok(Filled::Unwanted);
            };
            self.consider_parts();
            match progress {
                StreamProgress::GoOn => {}
                StreamProgress::Publish => break,
            }
        }
        if filled > 0 && !self.publish_buffer(buffer, filled) {
            return Ok(Filled::Unwanted);
        }
        outcome
    }

    /// Publishes `bytes`, which arrived in a part, and continues after them.
    fn follow(&mut self, bytes: &PartBytes) -> Result<Filled, Error> {
        self.skip_to(bytes.range.end)?;
        let length = bytes.range.end - bytes.range.start;
        let place = BlockPlace::Disk(Arc::clone(&bytes.file));
        if self.received(length as usize).is_none() || !self.publish(length, &place, bytes.from) {
            return Ok(Filled::Unwanted);
        }
        if let Some(keeping) = &self.keeping {
            let piece = LocalPiece {
                file: Arc::clone(&bytes.file),
                from: bytes.from,
                length,
            };
            keeping.offer(bytes.range.start, piece, self.is_awaited());
        }
        self.consider_parts();
        Ok(Filled::More)
    }

    /// Continues at `end`: the bytes before it are already available.
    fn pass(&mut self, end: u64) -> Result<Filled, Error> {
        let length = end - self.resuming.position();
        self.skip_to(end)?;
        let passed = self.shared.lock().pass(self.transfer, length);
        if self.wake_readers(passed) {
            Ok(Filled::More)
        } else {
            Ok(Filled::Unwanted)
        }
    }

    /// Continues at `position`. The current transfer is not needed for that. Ending it takes the
    /// server one round trip or more, which no reader should wait for.
    fn skip_to(&mut self, position: u64) -> Result<(), Error> {
        if let Some(own) = self.resuming.take_transfer() {
            // At the end of the file the server may have to be queried, over this connection if no
            // other one is free. The transfer therefore ends first.
            if self.shared.expected.size() == Some(position) {
                drop(own);
            } else {
                // If no thread can be started, the transfer ends here.
                drop(guarded::spawn("ftpfs-end", move || drop(own)));
            }
        }
        self.resuming.skip_to(position)
    }

    /// Records that `filled` unpublished bytes were received. Returns what the stream does with
    /// them, or `None` if it has continued without this transfer.
    fn received(&self, filled: usize) -> Option<StreamProgress> {
        let mut state = self.shared.lock();
        let stream = state.filled_by(self.transfer)?;
        Some(stream.receive(filled as u64, Instant::now()))
    }

    /// Publishes the first `filled` bytes of `buffer` to the readers. Returns whether the stream
    /// still has this transfer.
    fn publish_buffer(&self, buffer: Vec<u8>, filled: usize) -> bool {
        let free = &self.shared.free;
        // A few bytes must not keep a whole block in memory.
        let piece = if filled < buffer.len() / 2 {
            let copied = Buffer::copied(buffer.get(..filled).unwrap_or_default());
            free.give(buffer);
            copied
        } else {
            Buffer::recycled(buffer, free)
        };
        self.publish_memory(piece, filled as u64)
    }

    /// Publishes the first `length` bytes of `buffer`, which end at the position.
    fn publish_memory(&self, buffer: Buffer, length: u64) -> bool {
        let buffer = Arc::new(buffer);
        let is_wanted = self.publish(length, &BlockPlace::Memory(Arc::clone(&buffer)), 0);
        if let Some(keeping) = &self.keeping {
            let start = self.resuming.position().saturating_sub(length);
            let bytes = Bytes::slice(&buffer, 0..length as usize);
            keeping.offer(start, bytes, self.is_awaited());
        }
        is_wanted
    }

    /// Whether a reader waits for the stream.
    fn is_awaited(&self) -> bool {
        let mut state = self.shared.lock();
        let stream = state.filled_by(self.transfer);
        stream.is_some_and(|stream| stream.is_awaited())
    }

    /// Publishes the next `length` bytes to the readers. They are in `place`, from byte `from` on.
    /// Returns whether the stream still has this transfer.
    fn publish(&self, length: u64, place: &BlockPlace, from: u64) -> bool {
        let mut state = self.shared.lock();
        let published = state.publish(self.transfer, length, place, from);
        let released = state.take_released();
        drop(state);
        drop(released);
        self.wake_readers(published)
    }

    /// Wakes the readers that can continue, according to the stream's answer `published`. Returns
    /// whether the stream still has this transfer.
    fn wake_readers(&self, published: Option<bool>) -> bool {
        if published == Some(true) {
            self.shared.arrived.notify_all();
        }
        published.is_some()
    }

    /// Records that the stream has reached the end of the file.
    fn ended(&self) {
        let mut state = self.shared.lock();
        let Some(stream) = state.filled_by(self.transfer) else {
            return;
        };
        stream.end();
        let end = stream.position();
        state.end = Some(state.end.map_or(end, |known| known.min(end)));
        drop(state);
        self.shared.arrived.notify_all();
    }

    /// Reads the server's completion reply after the last byte, so that the connection can be
    /// reused. No reader waits for it.
    fn take_completion(mut self) {
        self.resuming.outlive_readers();
        match self.resuming.step(&mut [0; 1]) {
            Ok(DownloadStep::End) => self.confirm_kept(),
            Ok(DownloadStep::Again) => {}
            Ok(DownloadStep::Bytes(_)) if self.may_grow => {}
            Ok(DownloadStep::Bytes(_)) => log::warn!(
                path = self.shared.source.path();
                "{}: more came than the server says it has: it has grown, or comes in another form than it is stored \
                 in (TYPE I)",
                self.shared.source.path()
            ),
            Err(error) => log::debug!("after the last byte: {error}"),
        }
    }

    /// Starts parallel parts, or ends them, depending on the measurements so far.
    fn consider_parts(&mut self) {
        let Some(size) = self.shared.expected.size() else {
            return;
        };
        let position = self.resuming.position();
        let left = size.saturating_sub(position);
        let parallel = &self.shared.parallel;
        let Some(watch) = &mut self.watch else {
            let round_trip = self.resuming.round_trip().unwrap_or_default();
            self.watch = parallel.watch(round_trip, left);
            // A reader that starts at the beginning of a large file is likely to read on. The
            // logins need not wait until that is certain.
            if self.watch.is_some()
                && position == 0
                && parallel.known() != Some(Verdict::DoesNotPay)
            {
                self.shared.source.prepare_beside();
            }
            return;
        };
        let Some(brought) = self.shared.lock().brought_for(self.transfer) else {
            return;
        };
        match watch.look(brought) {
            ProbeAction::GoOn => {}
            ProbeAction::Begin => self.begin_parts(size),
            ProbeAction::Found(verdict) => {
                parallel.remember(verdict);
                if verdict == Verdict::DoesNotPay {
                    self.shared.lock().cut_parts(self.transfer);
                    self.shared.parts.notify_all();
                }
            }
        }
    }

    fn begin_parts(&self, size: u64) {
        let (transfer, position) = (self.transfer, self.resuming.position());
        let most = self.shared.source.most_beside();
        if most == 0 || !parallel::is_worth_parts(size.saturating_sub(position)) {
            return;
        }
        let queue = {
            let mut state = self.shared.lock();
            let id = state.number();
            let queue = PartQueue::ahead(id, transfer, position, size, most);
            state.queues.push(queue);
            id
        };
        self.shared.fetch_parts(queue, most);
    }
}
