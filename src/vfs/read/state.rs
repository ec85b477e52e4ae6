//! Which stream a read belongs to: one that comes to its offset, one that stopped there, or a new
//! one.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Instant;

use super::Bytes;
use super::stream::{GAP, Stream};

/// Pieces are filled and handed out in blocks aligned in the file; a block is as large as the
/// kernel's requests are, between these bounds (Linux asks for 128 KiB, or up to 1 MiB where the
/// device's `read_ahead_kb` was raised).
const BLOCK: RangeInclusive<u64> = 128 << 10..=1 << 20;

/// The streams, and who waits for them.
pub(super) struct ReaderState {
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

    /// The bytes, if they are here.
    pub(super) fn find(&mut self, offset: u64, end: u64) -> Option<VecDeque<Bytes>> {
        let now = Instant::now();
        self.streams.iter_mut().find_map(|stream| {
            let parts = stream.find(offset, end)?;
            stream.wanted(end, now);
            Some(parts)
        })
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
        self.streams.swap_remove(index).end();
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
