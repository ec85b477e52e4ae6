//! The thread behind a stream: brings its bytes as far as the stream's window goes, by one transfer
//! or from the parts that come beside it.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::LOOK_AGAIN;
use crate::cancel::Cancel;
use crate::guarded;
use crate::remote::Error;
use crate::vfs::read::block_map::BlockPlace;
use crate::vfs::read::bytes::Buffer;
use crate::vfs::read::parallel::{self, ParallelWatch, PartBytes, PartQueue, ProbeAction, Verdict};
use crate::vfs::read::steps::StreamStep;
use crate::vfs::read::stream::StreamProgress;
use crate::vfs::read::{DownloadStep, ReaderShared, ResumableDownload, Revalidate};

/// Fills the stream that knows `transfer`, from `position` on.
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
        resuming: ResumableDownload::new(source, position, expected, trust, cancel),
        watch: None,
    };
    fetch.run();
}

struct StreamFetch<'a> {
    shared: &'a Arc<ReaderShared>,
    transfer: u64,
    resuming: ResumableDownload,
    /// Watches whether others beside this one pay; none where one transfer is enough.
    watch: Option<ParallelWatch>,
}

/// How a block ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Filled {
    /// It is published, and there may be more.
    More,
    /// The server confirmed the end of the file.
    End,
    /// The stream has no use for the transfer any more.
    Unwanted,
}

impl StreamFetch<'_> {
    fn run(mut self) {
        let mut filled = Some(self.take_prefetched());
        while let Some(outcome) = filled {
            match outcome {
                Ok(Filled::More) => {}
                Ok(Filled::End) => return self.ended(),
                Ok(Filled::Unwanted) => return,
                Err(error) => return self.shared.fail_stream(self.transfer, &error),
            }
            if self.shared.expected.size() == Some(self.resuming.position()) {
                self.ended();
                return self.take_completion();
            }
            filled = self.advance();
        }
    }

    /// Publishes all of the file, where it was fetched ahead of a program that reads it from its
    /// start.
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
        let place = BlockPlace::Memory(Arc::new(Buffer::from(bytes)));
        if !self.publish(length, &place, 0) {
            return Ok(Filled::Unwanted);
        }
        Ok(Filled::End)
    }

    /// Waits until the stream may go further, and brings its next bytes; none when it has gone on
    /// without this transfer.
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

    /// Receives `size` bytes, or fewer when a reader waits for just these, and publishes them.
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

    /// Goes on behind `bytes`, which came in a part.
    fn follow(&mut self, bytes: &PartBytes) -> Result<Filled, Error> {
        self.skip_to(bytes.range.end)?;
        let length = bytes.range.end - bytes.range.start;
        let place = BlockPlace::Disk(Arc::clone(&bytes.file));
        if self.received(length as usize).is_none() || !self.publish(length, &place, bytes.from) {
            return Ok(Filled::Unwanted);
        }
        self.consider_parts();
        Ok(Filled::More)
    }

    /// Goes on at `end`: the bytes before it are here.
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

    /// Goes on at `position`. The transfer under way is not needed here: ending it takes the server
    /// a round trip or more, for which no reader waits.
    fn skip_to(&mut self, position: u64) -> Result<(), Error> {
        if let Some(own) = self.resuming.take_transfer() {
            // At the end of the file the server may be asked a question, over this connection if no
            // other is free: the transfer ends first.
            if self.shared.expected.size() == Some(position) {
                drop(own);
            } else {
                // Without a thread it ends here.
                drop(guarded::spawn("ftpfs-end", move || drop(own)));
            }
        }
        self.resuming.skip_to(position)
    }

    /// What the stream says to `filled` unpublished bytes; none when it has gone on without this
    /// transfer.
    fn received(&self, filled: usize) -> Option<StreamProgress> {
        let mut state = self.shared.lock();
        let stream = state.filled_by(self.transfer)?;
        Some(stream.receive(filled as u64, Instant::now()))
    }

    /// Hands the first `filled` bytes of `buffer` to the readers.
    fn publish_buffer(&self, buffer: Vec<u8>, filled: usize) -> bool {
        let free = &self.shared.free;
        // A few bytes must not hold a whole block in memory.
        let piece = if filled < buffer.len() / 2 {
            let copied = Buffer::copied(buffer.get(..filled).unwrap_or_default());
            free.give(buffer);
            copied
        } else {
            Buffer::recycled(buffer, free)
        };
        self.publish(filled as u64, &BlockPlace::Memory(Arc::new(piece)), 0)
    }

    /// Hands the next `length` bytes, which are in `place` from byte `from` on, to the readers.
    fn publish(&self, length: u64, place: &BlockPlace, from: u64) -> bool {
        let mut state = self.shared.lock();
        let published = state.publish(self.transfer, length, place, from);
        let released = state.take_released();
        drop(state);
        drop(released);
        self.wake_readers(published)
    }

    /// Wakes the readers that can go on; `published` is the stream's answer. Whether the stream
    /// still knows this transfer.
    fn wake_readers(&self, published: Option<bool>) -> bool {
        if published == Some(true) {
            self.shared.arrived.notify_all();
        }
        published.is_some()
    }

    /// The whole file has come.
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

    /// All bytes are here. Reads the server's completion reply, for which no reader waits, so that
    /// the connection can be used again.
    fn take_completion(mut self) {
        self.resuming.outlive_readers();
        match self.resuming.step(&mut [0; 1]) {
            Ok(DownloadStep::End | DownloadStep::Again) => {}
            Ok(DownloadStep::Bytes(_)) => log::warn!(
                "{}: more came than the server says it has: it has grown, or comes in another form than it is stored \
                 in (TYPE I)",
                self.shared.source.path()
            ),
            Err(error) => log::debug!("after the last byte: {error}"),
        }
    }

    /// Begins parts beside this transfer, or ends with them, where that is what has been seen.
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
            // A reader that begins at the start of a large file is likely to read on: the logins
            // need not wait until that is sure.
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
