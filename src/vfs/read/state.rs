//! What is known of an open file's bytes: the blocks that are here, the streams that bring more,
//! and which stream a read belongs to: one that comes to its offset, one that stopped there, or a
//! new one.

use std::ops::{Range, RangeInclusive};
use std::time::{Duration, Instant};

use super::block_map::{BlockMap, BlockPlace, Retention};
use super::bytes::BlockBytes;
use super::stream::{GAP, Stream};

/// Pieces are filled and handed out in blocks aligned in the file; a block is as large as the
/// kernel's requests are, between these bounds (Linux asks for 128 KiB, or up to 1 MiB where the
/// device's `read_ahead_kb` was raised).
const BLOCK: RangeInclusive<u64> = 128 << 10..=1 << 20;

/// The blocks of a file, the streams, and who waits for them.
pub(super) struct ReaderState {
    pub(super) blocks: BlockMap,
    pub(super) streams: Vec<Stream>,
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
    pub(super) fn new(size: Option<u64>) -> Self {
        Self {
            blocks: BlockMap::default(),
            streams: Vec::new(),
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
        let transfer = Some(transfer);
        let index = self.streams.iter().position(|it| it.transfer == transfer)?;
        let stream = self.streams.get_mut(index)?;
        let start = stream.position();
        let serves = stream.publish(length);
        let range = start..start + length;
        self.blocks.insert(range, place, from, Retention::Stream);
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
        self.evict(&passed, Some(index));
        if let Some(stream) = self.streams.get_mut(index) {
            stream.set_floor(floor);
        }
    }

    /// Lets go of the blocks in `range` that no stream but that at `without` keeps.
    fn evict(&mut self, range: &Range<u64>, without: Option<usize>) {
        let streams = self.streams.iter().enumerate();
        let others: Vec<_> = streams
            .filter(|(index, _)| Some(*index) != without)
            .map(|(_, stream)| stream.kept())
            .collect();
        self.blocks.evict(range, |block| {
            others
                .iter()
                .any(|kept| kept.start < block.end && block.start < kept.end)
        });
    }

    /// Lets go of the streams without a transfer that nobody waits for or has read from for
    /// `older_than`, and of their bytes.
    pub(super) fn forget_idle(&mut self, older_than: Duration, now: Instant) {
        let is_old = |stream: &mut Stream| {
            let unused = now.saturating_duration_since(stream.used);
            stream.transfer.is_none() && !stream.is_awaited() && unused >= older_than
        };
        let old: Vec<Stream> = self.streams.extract_if(.., is_old).collect();
        for stream in old {
            self.evict(&stream.kept(), None);
        }
    }

    /// Which stream is to bring the bytes at `offset`; none while others wait for every one of
    /// them.
    pub(super) fn place_for(&mut self, offset: u64, most: usize) -> Option<StreamChoice> {
        let streams = &self.streams;
        let near = streams
            .iter()
            .filter_map(|it| Some((it.distance(offset)?, it.id)));
        if let Some((_, id)) = near.min() {
            return Some(StreamChoice::Running(id));
        }
        if let Some(stream) = streams.iter().find(|it| it.can_go_on(offset)) {
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
        self.evict(&replaced.kept(), None);
        Some(StreamChoice::Free)
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
