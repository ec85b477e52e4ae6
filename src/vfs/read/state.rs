//! What is known of an open file's bytes: the blocks that are here, the streams and the parts that
//! bring more, and which stream a read belongs to: one that comes to its offset, one that stopped
//! there, or a new one. Pure bookkeeping: no thread, no I/O, and time is an argument.

use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use super::block_map::{BlockMap, BlockPlace, Retention};
use super::bytes::BlockBytes;
use super::parallel::PartQueue;
use super::stream::{GAP, Stream};
use super::whole_file::WholeFile;

/// Pieces are filled and handed out in blocks aligned in the file; a block is as large as the
/// kernel's requests are, between these bounds (Linux asks for 128 KiB, or up to 1 MiB where the
/// device's `read_ahead_kb` was raised).
const BLOCK: RangeInclusive<u64> = 128 << 10..=1 << 20;

/// The blocks of a file, the streams, and who waits for them.
pub(super) struct ReaderState {
    pub(super) blocks: BlockMap,
    pub(super) streams: Vec<Stream>,
    /// Parts that come beside the streams.
    pub(super) queues: Vec<PartQueue>,
    pub(super) whole: WholeFile,
    /// Where the file ends, as far as known: the given size, else the end the server confirmed.
    pub(super) end: Option<u64>,
    /// The next stream's, transfer's or ticket's number.
    next: u64,
    /// Reads that wait until a stream is free of others.
    pub(super) queued: usize,
    /// Size of the blocks that are filled now.
    pub(super) block: u64,
    /// Whether anything was read yet.
    begun: bool,
}

/// A read under way.
pub(super) struct ReadRequest {
    pub(super) id: u64,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) since: Instant,
    pub(super) place: WaitingOn,
    /// It went on where no other one had been.
    pub(super) is_jump: bool,
}

/// Where a read waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WaitingOn {
    Nowhere,
    Queue,
    Stream(u64),
}

/// Which stream a read is for.
pub(super) enum StreamChoice {
    /// One that is coming to its offset.
    Running(u64),
    /// One that stopped where the read goes on.
    Stopped(u64),
    /// None; there is room for a new one.
    Free,
}

impl ReaderState {
    /// No streams yet, of a file of `size` bytes where that is known.
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

    /// A number not given before.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A read of `length` bytes at `offset` begins; blocks grow to its size.
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

    /// Whether anything was read yet.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// The stream of that number, if it is still there.
    pub(super) fn stream(&mut self, id: u64) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    /// The stream that `transfer` still fills.
    pub(super) fn filled_by(&mut self, transfer: u64) -> Option<&mut Stream> {
        let transfer = Some(transfer);
        self.streams.iter_mut().find(|it| it.transfer == transfer)
    }

    /// Where a read of `length` bytes at `offset` ends, the end of the file considered.
    pub(super) fn clip(&self, offset: u64, length: usize) -> u64 {
        let end = offset.saturating_add(length as u64);
        self.end.map_or(end, |size| end.min(size))
    }

    /// Where the bytes are, if all of them are here. The stream that they lie on may go further.
    pub(super) fn find(&mut self, offset: u64, end: u64, now: Instant) -> Option<Vec<BlockBytes>> {
        let found = self.blocks.find(offset..end)?;
        let is_on = |stream: &Stream| {
            let kept = stream.kept();
            kept.start <= offset && end <= kept.end
        };
        // A stream may run over blocks that are kept for the whole file.
        self.whole.used = now;
        if let Some(index) = self.streams.iter().position(is_on) {
            self.want(index, end, now);
        }
        Some(found)
    }

    /// The stream `id` is wanted up to `end`.
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

    /// The next `length` bytes of the stream that `transfer` fills are in `place`, from byte `from`
    /// on. Says whether a reader can go on now; none when the stream has gone on without this
    /// transfer.
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

    /// The next `length` bytes of the stream that `transfer` fills are here. The answer is that of
    /// [`Self::publish`].
    pub(super) fn pass(&mut self, transfer: u64, length: u64) -> Option<bool> {
        let transfer = Some(transfer);
        let index = self.streams.iter().position(|it| it.transfer == transfer)?;
        let serves = self.streams.get_mut(index)?.publish(length);
        self.trim(index);
        Some(serves)
    }

    /// Lets go of what a stream keeps no longer.
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

    /// Lets go of the blocks in `range` that no stream keeps.
    fn evict(&mut self, range: &Range<u64>) {
        let kept: Vec<_> = self.streams.iter().map(Stream::kept).collect();
        self.blocks.evict(range, |block| {
            kept.iter()
                .any(|kept| kept.start < block.end && block.start < kept.end)
        });
    }

    /// Lets go of the streams without a transfer that nobody waits for or has read from for
    /// `older_than`, and of their bytes; and of a file that was fetched whole.
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
        if self.whole.queue.is_some() && unused >= older_than {
            self.whole.queue = None;
            self.blocks.evict_file();
        }
    }

    /// Which stream is to bring the bytes at `offset`; none while others wait for every one of
    /// them.
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

    /// Whether bytes between `offset` and the position of `stream` are gone, which it brings no
    /// more: they were on the disk.
    pub(super) fn has_hole(&self, stream: &Stream, offset: u64) -> bool {
        !self.blocks.has(offset..stream.position())
    }

    /// A new stream for a read at `offset`.
    pub(super) fn open(&mut self, offset: u64, read_ahead: u64, now: Instant) -> u64 {
        // Of the kernel's first requests any may come first: those near the start belong to it.
        let at_start = !self.begun && offset <= GAP;
        self.begun = true;
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

    /// What happens to a file.
    #[derive(Debug, Clone)]
    enum Event {
        /// A program reads this many bytes here.
        Read(u64, u64),
        /// Bytes come to the stream of this number.
        Come(usize, u64),
        /// The transfer of the stream of this number ends.
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
