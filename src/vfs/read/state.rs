//! The state of the bytes of an open file: the blocks that were fetched, the streams and parts that
//! fetch more, and the stream of each read: one that will reach its offset, one that stopped there,
//! or a new one. Pure bookkeeping: no thread, no I/O, and time is an argument.

use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use super::block_map::{BlockMap, BlockPlace, Retention};
use super::bytes::BlockBytes;
use super::parallel::PartQueue;
use super::stream::{GAP, Stream};
use super::whole_file::WholeFile;

/// Minimum and maximum size of the blocks, which are aligned in the file. A block has the size of
/// the kernel's requests (128 KiB on Linux, or up to 1 MiB if the device's `read_ahead_kb` was
/// raised).
const BLOCK: RangeInclusive<u64> = 128 << 10..=1 << 20;

/// The blocks of a file, its streams, and the reads that wait for them.
pub(super) struct ReaderState {
    pub(super) blocks: BlockMap,
    pub(super) streams: Vec<Stream>,
    /// Parts that are fetched in parallel with the streams.
    pub(super) queues: Vec<PartQueue>,
    pub(super) whole: WholeFile,
    /// End of the file if known: its size, or the end that the server confirmed.
    pub(super) end: Option<u64>,
    /// Number of the next stream, transfer or ticket.
    next: u64,
    /// Reads that wait for a free stream.
    pub(super) queued: usize,
    /// Size of new blocks in bytes.
    pub(super) block: u64,
    /// Whether there was a read.
    begun: bool,
}

/// A read in progress.
pub(super) struct ReadRequest {
    pub(super) id: u64,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) since: Instant,
    pub(super) place: WaitingOn,
    /// Whether it is at an offset that no other read had reached.
    pub(super) is_jump: bool,
}

/// What a read waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitingOn {
    Nowhere,
    Queue,
    Stream(u64),
}

/// The stream for a read.
pub(super) enum StreamChoice {
    /// One that will reach its offset.
    Running(u64),
    /// One that stopped at its offset.
    Stopped(u64),
    /// A new one.
    Free,
}

impl ReaderState {
    /// Creates the state of a file without streams. `size` is in bytes, if known.
    pub(super) fn new(size: Option<u64>, now: Instant) -> Self {
        Self {
            blocks: BlockMap::default(),
            streams: Vec::new(),
            queues: Vec::new(),
            whole: WholeFile::new(now),
            end: size,
            next: 0,
            queued: 0,
            block: *BLOCK.start(),
            begun: false,
        }
    }

    /// Returns a new number.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Records that a read of `length` bytes at `offset` starts. Blocks grow to its size.
    pub(super) fn ticket(&mut self, offset: u64, length: usize) -> ReadRequest {
        let request = (length as u64).min(*BLOCK.end()).next_power_of_two();
        self.block = self.block.max(request);
        ReadRequest {
            id: self.number(),
            offset,
            length,
            since: Instant::now(),
            place: WaitingOn::Nowhere,
            is_jump: false,
        }
    }

    /// Whether there was a read.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Records that there was a read.
    pub(super) fn begin(&mut self) {
        self.begun = true;
    }

    /// Returns the stream with this number if it still exists.
    pub(super) fn stream(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// Returns the stream that `transfer` still fills.
    pub(super) fn filled_by(&mut self, transfer: u64) -> Option<&mut Stream> {
        let transfer = Some(transfer);
        self.streams.iter_mut().find(|it| it.transfer == transfer)
    }

    /// Returns the end of a read of `length` bytes at `offset`, at most the end of the file.
    pub(super) fn clip(&self, offset: u64, length: usize) -> u64 {
        let end = offset.saturating_add(length as u64);
        self.end.map_or(end, |size| end.min(size))
    }

    /// Returns the places of the bytes if all of them were fetched. Their stream may continue.
    pub(super) fn find(&mut self, offset: u64, end: u64, now: Instant) -> Option<Vec<BlockBytes>> {
        let found = self.blocks.find(offset..end)?;
        let is_on = |stream: &Stream| {
            let kept = stream.kept();
            kept.start <= offset && end <= kept.end
        };
        // A stream may cross blocks that are kept for the whole file.
        self.whole.used = now;
        if let Some(index) = self.streams.iter().position(is_on) {
            self.want(index, end, now);
        }
        Some(found)
    }

    /// Requests the bytes up to `end` from the stream `id`.
    pub(super) fn want_stream(&mut self, id: u64, end: u64, now: Instant) {
        if let Some(index) = self.streams.iter().position(|stream| stream.id == id) {
            self.want(index, end, now);
        }
    }

    fn want(&mut self, index: usize, end: u64, now: Instant) {
        if let Some(stream) = self.streams.get_mut(index) {
            stream.wanted(end, now);
            self.trim(index);
        }
    }

    /// Records that the next `length` bytes of the stream that `transfer` fills are in `place`,
    /// from byte `from` on. Returns whether a reader can continue, or `None` if another transfer
    /// fills the stream.
    pub(super) fn publish(
        &mut self,
        transfer: u64,
        length: u64,
        place: &BlockPlace,
        from: u64,
    ) -> Option<bool> {
        let start = self.filled_by(transfer)?.position();
        let range = start..start + length;
        self.blocks.insert(range, place, from, Retention::Stream);
        self.pass(transfer, length)
    }

    /// Records that the next `length` bytes of the stream that `transfer` fills are in the map.
    /// Returns the same as [`Self::publish`].
    pub(super) fn pass(&mut self, transfer: u64, length: u64) -> Option<bool> {
        let transfer = Some(transfer);
        let index = self.streams.iter().position(|it| it.transfer == transfer)?;
        let serves = self.streams.get_mut(index)?.publish(length);
        self.trim(index);
        Some(serves)
    }

    /// Discards what a stream no longer keeps.
    fn trim(&mut self, index: usize) {
        let Some(stream) = self.streams.get(index) else {
            return;
        };
        let floor = self.blocks.block_start(stream.next_floor());
        let passed = stream.kept().start..floor;
        if passed.is_empty() {
            return;
        }
        if let Some(stream) = self.streams.get_mut(index) {
            stream.set_floor(floor);
        }
        self.evict(&passed);
    }

    /// Discards the blocks in `range` that no stream keeps.
    fn evict(&mut self, range: &Range<u64>) {
        let kept: Vec<_> = self.streams.iter().map(Stream::kept).collect();
        self.blocks.evict(range, |block| {
            kept.iter()
                .any(|kept| kept.start < block.end && block.start < kept.end)
        });
    }

    /// Discards the streams without a transfer that no read waits for or has used for `older_than`,
    /// with their bytes, and a file that was fetched whole.
    pub(super) fn forget_idle(&mut self, older_than: Duration, now: Instant) {
        let is_old = |stream: &mut Stream| {
            let unused = now.saturating_duration_since(stream.used);
            stream.transfer.is_none() && !stream.is_awaited() && unused >= older_than
        };
        let old: Vec<Stream> = self.streams.extract_if(.., is_old).collect();
        for stream in old {
            self.evict(&stream.kept());
        }
        let unused = now.saturating_duration_since(self.whole.used);
        if unused >= older_than {
            self.forget_whole();
        }
    }

    /// Discards a file that was fetched whole.
    pub(super) fn forget_whole(&mut self) {
        if self.whole.queue.take().is_some() {
            self.blocks.evict_file();
        }
    }

    /// Returns the stream that will fetch the bytes at `offset`, or `None` if other reads wait for
    /// all streams.
    pub(super) fn place_for(&mut self, offset: u64, most: usize) -> Option<StreamChoice> {
        let streams = &self.streams;
        let near = streams
            .iter()
            .filter_map(|it| Some((it.distance(offset)?, it)));
        let near = near.filter(|(_, it)| !self.has_hole(it, offset));
        if let Some((_, stream)) = near.min_by_key(|(distance, it)| (*distance, it.id)) {
            return Some(StreamChoice::Running(stream.id));
        }
        let goes_on = |it: &&Stream| it.can_go_on(offset) && !self.has_hole(it, offset);
        if let Some(stream) = streams.iter().find(goes_on) {
            return Some(StreamChoice::Stopped(stream.id));
        }
        if streams.len() < most.max(1) {
            return Some(StreamChoice::Free);
        }
        let unwanted = streams.iter().filter(|stream| !stream.is_awaited());
        let id = unwanted.min_by_key(|stream| stream.used)?.id;
        let index = streams.iter().position(|stream| stream.id == id)?;
        let mut replaced = self.streams.swap_remove(index);
        replaced.end();
        self.evict(&replaced.kept());
        Some(StreamChoice::Free)
    }

    /// Whether bytes between `offset` and the position of `stream` are gone, which it will not
    /// fetch again. They were on the disk.
    pub(super) fn has_hole(&self, stream: &Stream, offset: u64) -> bool {
        !self.blocks.has(offset..stream.position())
    }

    /// Creates a stream for a read at `offset`.
    pub(super) fn open(&mut self, offset: u64, read_ahead: u64, now: Instant) -> u64 {
        // The kernel's first requests may arrive in any order: those near the start belong to it.
        let at_start = !self.begun && offset <= GAP;
        self.begin();
        let position = if at_start { 0 } else { offset };
        let id = self.number();
        self.streams
            .push(Stream::new(id, position, read_ahead, now));
        id
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::vfs::read::bytes::Buffer;

    const M: u64 = 1 << 20;

    /// An event of a file.
    #[derive(Debug, Clone)]
    enum Event {
        /// A program reads this many bytes here.
        Read(u64, u64),
        /// Bytes arrive for the stream with this number.
        Come(usize, u64),
        /// The transfer of the stream with this number ends.
        End(usize),
        ForgetIdle,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => (0..12 * M, 1..M).prop_map(|(offset, length)| Event::Read(offset, length)),
            6 => (0_usize..3, 1..M).prop_map(|(stream, length)| Event::Come(stream, length)),
            1 => (0_usize..3).prop_map(Event::End),
            1 => Just(Event::ForgetIdle),
        ]
    }

    fn read(state: &mut ReaderState, offset: u64, end: u64, now: Instant) {
        if state.find(offset, end, now).is_some() {
            return;
        }
        let id = match state.place_for(offset, 3) {
            Some(StreamChoice::Running(id) | StreamChoice::Stopped(id)) => id,
            Some(StreamChoice::Free) => state.open(offset, 4 * M, now),
            None => return,
        };
        let transfer = state.number();
        if let Some(stream) = state.stream(id).filter(|it| it.transfer.is_none()) {
            stream.begin(transfer, now);
        }
        state.want_stream(id, end, now);
    }

    proptest! {
        #[test]
        fn what_streams_keep_is_here_and_nothing_else_is(
            events in proptest::collection::vec(event(), 1..80),
        ) {
            let now = Instant::now();
            let mut state = ReaderState::new(None, now);
            for event in events {
                match event {
                    Event::Read(offset, length) => read(&mut state, offset, offset + length, now),
                    Event::Come(stream, length) => {
                        let Some(transfer) = state.streams.get(stream).and_then(|it| it.transfer)
                        else {
                            continue;
                        };
                        let place = BlockPlace::Memory(Arc::new(Buffer::from(Vec::new())));
                        state.publish(transfer, length, &place, 0);
                    }
                    Event::End(stream) => {
                        if let Some(stream) = state.streams.get_mut(stream) {
                            stream.end();
                        }
                    }
                    Event::ForgetIdle => state.forget_idle(Duration::ZERO, now),
                }
                for stream in &state.streams {
                    prop_assert!(state.blocks.has(stream.kept()), "{:?} is kept", stream.kept());
                }
                for block in state.blocks.of_streams() {
                    let is_on = |stream: &Stream| {
                        let kept = stream.kept();
                        kept.start < block.end && block.start < kept.end
                    };
                    prop_assert!(state.streams.iter().any(is_on), "{block:?} is left over");
                }
            }
        }
    }
}
