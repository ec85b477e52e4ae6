//! A sequential run through a file: how far its bytes were received, how far they are wanted and
//! kept, and which reads wait for which bytes. The bytes themselves are in the file's [block
//! map](super::block_map). Pure bookkeeping: no thread, no lock, no network.

use std::ops::Range;
use std::sync::{Arc, Condvar};
use std::time::Instant;

use super::window::ReadWindow;
use crate::cancel::Cancel;
use crate::remote::Error;

/// Number of bytes kept behind the furthest requested one: the kernel's read-ahead arrives slightly
/// out of order.
pub(super) const TAIL: u64 = 2 << 20;

/// Maximum length in bytes of a gap that is cheaper to read through than to skip with a new
/// transfer.
pub(super) const GAP: u64 = 512 << 10;

/// A read that waits for bytes of this stream.
struct Waiter {
    ticket: u64,
    offset: u64,
    end: u64,
    /// Why the bytes will not arrive.
    error: Option<Error>,
}

/// What to do with the bytes received and not yet published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamProgress {
    /// Receive more first.
    GoOn,
    /// Publish them now: a reader waits for exactly these.
    Publish,
}

/// A sequential run through a file.
pub(super) struct Stream {
    /// The identifier among the reader's streams.
    pub(super) id: u64,
    /// The transfer that fills it; `None` if it ended, failed or was given up.
    pub(super) transfer: Option<u64>,
    /// Cancels the transfer's wait for a connection.
    cancel: Cancel,
    /// Wakes the transfer's thread when it waits for room.
    pub(super) room: Arc<Condvar>,
    /// Time of the last read.
    pub(super) used: Instant,
    /// Time of the transfer's last progress.
    pub(super) moved: Instant,
    /// Offset of the first byte that is kept.
    floor: u64,
    /// End of the published bytes.
    position: u64,
    /// `position` plus the bytes in the buffer being filled.
    received: u64,
    window: ReadWindow,
    /// Whether the transfer's thread waits for room.
    parked: bool,
    waiters: Vec<Waiter>,
}

impl Stream {
    /// Creates a stream that starts at `position` and reads ahead by at most `largest_window`
    /// bytes.
    pub(super) fn new(id: u64, position: u64, largest_window: u64, now: Instant) -> Self {
        Self {
            id,
            transfer: None,
            cancel: Cancel::never(),
            room: Arc::default(),
            used: now,
            moved: now,
            floor: position,
            position,
            received: position,
            window: ReadWindow::new(position, largest_window),
            parked: false,
            waiters: Vec::new(),
        }
    }

    /// Returns the end of the published bytes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the range of the bytes that were published and are kept.
    pub(super) fn kept(&self) -> Range<u64> {
        self.floor..self.position
    }

    /// Returns the floor that the stream needs now. It keeps the tail behind the reader, and the
    /// bytes that a read waits for.
    pub(super) fn next_floor(&self) -> u64 {
        let behind = self.window.furthest().saturating_sub(TAIL);
        let awaited = self.waiters.iter().map(|it| it.offset).min();
        let floor = awaited.map_or(behind, |offset| offset.min(behind));
        floor.clamp(self.floor, self.position)
    }

    /// Sets the floor: the bytes before `floor` are no longer kept.
    pub(super) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// Returns the number of waiting reads.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Returns how many bytes a read at `offset` is ahead of those received, or `None` if this
    /// stream will not fetch it.
    pub(super) fn distance(&self, offset: u64) -> Option<u64> {
        let reach = (self.received + GAP).max(self.window.end());
        (self.transfer.is_some() && (self.floor..=reach).contains(&offset))
            .then(|| offset.saturating_sub(self.received))
    }

    /// Whether a new transfer at `position` would reach `offset` without a gap.
    pub(super) fn can_go_on(&self, offset: u64) -> bool {
        self.transfer.is_none() && (self.floor..=self.position).contains(&offset)
    }

    /// Records that a read up to `end` was or will be answered, so that the stream may continue.
    /// Wakes a parked transfer if it has room.
    pub(super) fn wanted(&mut self, end: u64, now: Instant) {
        self.used = now;
        self.window.advance(end);
        if self.parked && self.has_room() {
            self.parked = false;
            self.room.notify_all();
        }
    }

    /// Whether the transfer should continue. A parked transfer does so only when half a window is
    /// free or a reader waits, and not for every read.
    pub(super) fn has_room(&self) -> bool {
        let is_open = if self.parked {
            self.window.is_half_open(self.position)
        } else {
            self.window.is_open(self.position)
        };
        is_open || self.waiters.iter().any(|it| it.end > self.position)
    }

    /// Records that the transfer's thread waits for room from now on.
    pub(super) fn park(&mut self) {
        self.parked = true;
    }

    /// Records that `transfer` starts at the stream's position. Returns a token that is cancelled
    /// when the stream no longer needs the transfer.
    pub(super) fn begin(&mut self, transfer: u64, now: Instant) -> Cancel {
        self.transfer = Some(transfer);
        self.cancel = Cancel::new();
        self.received = self.position;
        self.parked = false;
        self.moved = now;
        self.cancel.clone()
    }

    /// Detaches the transfer, whose thread ends by itself. Published bytes are kept.
    pub(super) fn end(&mut self) {
        self.transfer = None;
        self.cancel.cancel();
        self.received = self.position;
        self.room.notify_all();
    }

    /// Records that the transfer failed with `error`. Every read that waits now gets the error
    /// once.
    pub(super) fn fail(&mut self, error: &Error) {
        self.end();
        for waiter in &mut self.waiters {
            waiter.error = Some(error.clone());
        }
    }

    /// Records that the buffer being filled holds `count` bytes beyond the position. Returns what
    /// to do with them.
    pub(super) fn receive(&mut self, count: u64, now: Instant) -> StreamProgress {
        self.moved = now;
        self.received = self.position + count;
        if self.serves_a_waiter(self.received) {
            StreamProgress::Publish
        } else {
            StreamProgress::GoOn
        }
    }

    /// Records that the next `length` bytes are in the block map. Returns whether a reader can
    /// continue now.
    pub(super) fn publish(&mut self, length: u64) -> bool {
        let end = self.position + length;
        let serves = self.serves_a_waiter(end);
        self.position = end;
        self.received = end;
        serves
    }

    /// Records that a read waits for `offset..end`.
    pub(super) fn wait_for(&mut self, ticket: u64, offset: u64, end: u64) {
        self.waiters.push(Waiter {
            ticket,
            offset,
            end,
            error: None,
        });
    }

    /// Returns the error of the read if it will not be answered.
    pub(super) fn error_of(&self, ticket: u64) -> Option<Error> {
        let waiter = self.waiters.iter().find(|it| it.ticket == ticket)?;
        waiter.error.clone()
    }

    /// Removes a read that no longer waits.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.waiters.retain(|it| it.ticket != ticket);
    }

    /// Whether any read waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiters.is_empty()
    }

    fn serves_a_waiter(&self, end: u64) -> bool {
        let news = self.position + 1..=end;
        self.waiters.iter().any(|it| news.contains(&it.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::read::window::FIRST_WINDOW;

    const K: u64 = 1 << 10;

    fn stream(position: u64) -> Stream {
        let mut stream = Stream::new(1, position, 4 << 20, Instant::now());
        stream.begin(1, Instant::now());
        stream
    }

    #[test]
    fn a_parked_transfer_is_woken_for_half_a_window_or_for_a_waiter() {
        let mut stream = stream(0);
        let now = Instant::now();
        stream.wanted(K, now);
        stream.publish(K + FIRST_WINDOW);
        assert!(!stream.has_room());
        stream.park();
        stream.wanted(2 * K, now);
        assert!(stream.parked, "not for 1 KiB");
        stream.wanted(2 * K + FIRST_WINDOW / 2, now);
        assert!(!stream.parked);

        stream.park();
        let end = stream.position() + 1;
        stream.wait_for(1, end - 1, end);
        stream.wanted(end, now);
        assert!(!stream.parked, "somebody waits");
    }

    #[test]
    fn the_tail_is_kept_and_what_lies_behind_is_not_unless_awaited() {
        let mut stream = stream(0);
        stream.publish(8 << 20);
        stream.wait_for(7, 128 * K, 256 * K);
        stream.wanted(8 << 20, Instant::now());
        assert_eq!(stream.next_floor(), 128 * K, "a read waits for it");
        stream.leave(7);
        assert_eq!(stream.next_floor(), (8 << 20) - TAIL);
        stream.set_floor(7 << 20);
        assert_eq!(stream.next_floor(), 7 << 20, "what is gone is gone");
        stream.wanted(16 << 20, Instant::now());
        assert_eq!(
            stream.next_floor(),
            8 << 20,
            "no further than what has come"
        );
    }

    #[test]
    fn bytes_are_published_early_only_for_a_reader_that_waits_for_them() {
        let mut stream = stream(0);
        let now = Instant::now();
        assert_eq!(stream.receive(4 * K, now), StreamProgress::GoOn);
        stream.wait_for(1, 0, 8 * K);
        assert_eq!(stream.receive(6 * K, now), StreamProgress::GoOn);
        assert_eq!(stream.receive(9 * K, now), StreamProgress::Publish);
        assert!(stream.publish(9 * K));
        assert!(!stream.publish(K), "that reader was served before");
    }

    #[test]
    fn a_short_gap_or_one_inside_the_window_is_no_seek() {
        let mut stream = stream(1 << 30);
        let at = 1 << 30;
        assert_eq!(stream.distance(at), Some(0));
        assert_eq!(stream.distance(at + GAP), Some(GAP));
        assert_eq!(stream.distance(at + GAP + 1), None);
        assert_eq!(stream.distance(at - 1), None);
        stream.end();
        assert_eq!(stream.distance(at), None);
        assert!(stream.can_go_on(at) && !stream.can_go_on(at + 1));
    }
}
