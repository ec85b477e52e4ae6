//! The thread behind a stream: pulls one transfer into blocks as far as the stream's window goes.
//!
//! It holds the reader's lock only to look and to publish, never while it waits for the network,
//! and ends by itself when its stream no longer knows it.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::block_map::BlockPlace;
use super::bytes::Buffer;
use super::stream::{Stream, StreamProgress};
use super::{DownloadStep, ReaderShared, ReaderState, ResumableDownload, Revalidate};
use crate::guarded::{self, OnDrop};
use crate::remote::{Error, ErrorKind};

/// How often a thread that waits for room looks whether it was forgotten; the wake-up normally
/// comes.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// One transfer of a stream.
struct FetchThread {
    shared: Arc<ReaderShared>,
    transfer: u64,
    resuming: ResumableDownload,
}

/// How a block ended.
enum Filled {
    /// It is published, and there may be more.
    More,
    /// The server confirmed the end of the file.
    End,
    /// The stream has no use for the transfer any more.
    Unwanted,
}

/// Starts the thread that fills `stream` from its position on.
pub(super) fn spawn(
    shared: &Arc<ReaderShared>,
    stream: &Stream,
    transfer: u64,
    trust: Revalidate,
) -> io::Result<()> {
    let source = Arc::clone(&shared.source);
    let pull = FetchThread {
        shared: Arc::clone(shared),
        transfer,
        resuming: ResumableDownload::new(
            source,
            stream.position(),
            Arc::clone(&shared.expected),
            trust,
        ),
    };
    guarded::spawn("ftpfs-read", move || pull.run()).map(drop)
}

impl FetchThread {
    fn run(self) {
        let (shared, transfer) = (Arc::clone(&self.shared), self.transfer);
        // After a panic the reader waits for nothing; otherwise the stream knows this transfer no
        // more.
        let _ended = OnDrop::new(|| {
            if std::thread::panicking() {
                let reason = "reading panicked, which is a mistake in ftpfs".to_owned();
                failed(&shared, transfer, &shared.error(ErrorKind::Local, reason));
            }
        });
        self.fill_stream();
    }

    fn fill_stream(mut self) {
        while let Some(size) = self.wait_for_room() {
            match self.fill(size) {
                Ok(Filled::More) => {}
                Ok(Filled::End) => return self.ended(),
                Ok(Filled::Unwanted) => return,
                Err(error) => return self.failed(&error),
            }
            if self.shared.expected.size() == Some(self.resuming.position()) {
                self.ended();
                return self.take_completion();
            }
        }
    }

    /// Waits until the stream may go further, and says how many bytes the next block has.
    fn wait_for_room(&self) -> Option<usize> {
        let mut state = self.shared.lock();
        loop {
            let block = state.block;
            let stream = state.filled_by(self.transfer)?;
            if stream.has_room() {
                let start = stream.position();
                let boundary = (start / block + 1).saturating_mul(block);
                let end = self
                    .shared
                    .expected
                    .size()
                    .map_or(boundary, |size| size.min(boundary));
                return Some((end - start) as usize);
            }
            stream.park();
            let room = Arc::clone(&stream.room);
            state = room
                .wait_timeout(state, LOOK_AGAIN)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Receives `size` bytes, or fewer when a reader waits for just these, and publishes them.
    fn fill(&mut self, size: usize) -> Result<Filled, Error> {
        let mut buffer = self.shared.free.take(size);
        let mut filled = 0;
        let mut outcome = Ok(Filled::More);
        while let Some(rest) = buffer.get_mut(filled..size).filter(|it| !it.is_empty()) {
            match self.resuming.step(rest) {
                Ok(DownloadStep::Bytes(count)) => filled += count,
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
            match self.received(filled) {
                None => {
                    self.shared.free.give(buffer);
                    return Ok(Filled::Unwanted);
                }
                Some(StreamProgress::GoOn) => {}
                Some(StreamProgress::Publish) => break,
            }
        }
        if filled > 0 && !self.publish(buffer, filled) {
            return Ok(Filled::Unwanted);
        }
        outcome
    }

    /// What the stream says to `filled` unpublished bytes; none when it has gone on without this
    /// transfer.
    fn received(&self, filled: usize) -> Option<StreamProgress> {
        let mut state = self.shared.lock();
        let stream = state.filled_by(self.transfer)?;
        Some(stream.receive(filled as u64, Instant::now()))
    }

    /// Hands the first `filled` bytes of `buffer` to the readers.
    fn publish(&self, buffer: Vec<u8>, filled: usize) -> bool {
        let free = &self.shared.free;
        // A few bytes must not hold a whole block in memory.
        let piece = if filled < buffer.len() / 2 {
            let copied = Buffer::copied(buffer.get(..filled).unwrap_or_default());
            free.give(buffer);
            copied
        } else {
            Buffer::recycled(buffer, free)
        };
        let place = BlockPlace::Memory(Arc::new(piece));
        let mut state = self.shared.lock();
        let Some(serves) = state.publish(self.transfer, filled as u64, &place, 0) else {
            return false;
        };
        if serves {
            self.shared.arrived.notify_all();
        }
        true
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
        self.wake(state);
    }

    fn failed(&self, error: &Error) {
        failed(&self.shared, self.transfer, error);
    }

    fn wake(&self, state: MutexGuard<'_, ReaderState>) {
        drop(state);
        self.shared.arrived.notify_all();
    }

    /// All bytes are here and nobody waits for this: takes the server's word for it, so that the
    /// connection can be used again.
    fn take_completion(mut self) {
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
}

/// The transfer failed: its stream's readers get the error.
fn failed(shared: &ReaderShared, transfer: u64, error: &Error) {
    let mut state = shared.lock();
    let Some(stream) = state.filled_by(transfer) else {
        return;
    };
    if !stream.is_awaited() {
        log::debug!("read-ahead stopped: {error}");
    }
    stream.fail(error);
    drop(state);
    shared.arrived.notify_all();
}
