//! One run through a file: how far its bytes have come, how far they are wanted and kept, and who
//! waits for which. The bytes themselves are in the file's [block map](super::block_map). Pure
//! bookkeeping: no thread, no lock, no network.

use std::ops::Range;
use std::sync::{Arc, Condvar};
use std::time::Instant;

use super::window::ReadWindow;
use crate::cancel::Cancel;
use crate::remote::Error;

/// Kept behind the furthest byte asked for: the kernel's read-ahead comes slightly out of order.
pub(super) const TAIL: u64 = 2 << 20;

/// A gap this short is cheaper read through than jumped over by a new transfer.
pub(super) const GAP: u64 = 512 << 10;

/// A read that waits for bytes of this stream.
struct Waiter {
    ticket: u64,
    offset: u64,
    end: u64,
    /// Why the bytes will not come.
    error: Option<Error>,
}

/// What is to become of the bytes received and not yet published.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StreamProgress {
    /// More of them first.
    GoOn,
    /// A reader waits for just these.
    Publish,
}

/// One run through a file.
pub(super) struct Stream {
    /// Its name among the reader's streams.
    pub(super) id: u64,
    /// The transfer that fills it; none when that ended, failed or was given up.
    pub(super) transfer: Option<u64>,
    /// Ends the wait of the transfer for a connection.
    cancel: Cancel,
    /// Wakes the transfer's thread when it waits for room.
    pub(super) room: Arc<Condvar>,
    /// When it was last read from.
    pub(super) used: Instant,
    /// When the transfer last moved.
    pub(super) moved: Instant,
    /// First byte that is kept.
    floor: u64,
    /// End of the published bytes.
    position: u64,
    /// `position` and what is in the buffer being filled.
    received: u64,
    window: ReadWindow,
    /// Whether the transfer's thread waits for room.
    parked: bool,
    waiters: Vec<Waiter>,
}

impl Stream {
    /// A stream that begins at `position`, read ahead by at most `largest_window` bytes.
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

    /// End of the published bytes.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The bytes that have come and are kept.
    pub(super) fn kept(&self) -> Range<u64> {
        self.floor..self.position
    }

    /// The floor that the stream needs now: the tail behind the reader is kept, and what a read
    /// waits for.
    pub(super) fn next_floor(&self) -> u64 {
        let behind = self.window.furthest().saturating_sub(TAIL);
        let awaited = self.waiters.iter().map(|it| it.offset).min();
        let floor = awaited.map_or(behind, |offset| offset.min(behind));
        floor.clamp(self.floor, self.position)
    }

    /// The bytes before `floor` are no longer kept.
    pub(super) fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }

    /// Reads that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// How far a read at `offset` is from what has come; none when this stream will not bring it.
    pub(super) fn distance(&self, offset: u64) -> Option<u64> {
        let reach = (self.received + GAP).max(self.window.end());
        (self.transfer.is_some() && (self.floor..=reach).contains(&offset))
            .then(|| offset.saturating_sub(self.received))
    }

    /// Whether a new transfer at `position` would bring `offset` without a gap.
    pub(super) fn can_go_on(&self, offset: u64) -> bool {
        self.transfer.is_none() && (self.floor..=self.position).contains(&offset)
    }

    /// A read of `offset..end` was answered or is going to be: the stream may go further. Wakes the
    /// transfer.
    pub(super) fn wanted(&mut self, end: u64, now: Instant) {
        self.used = now;
        self.window.advance(end);
        if self.parked && self.has_room() {
            self.parked = false;
            self.room.notify_all();
        }
    }

    /// Whether the transfer is to go on. Once parked it goes on when half a window is free or a
    /// reader waits: not for every read.
    pub(super) fn has_room(&self) -> bool {
        let is_open = if self.parked {
            self.window.is_half_open(self.position)
        } else {
            self.window.is_open(self.position)
        };
        is_open || self.waiters.iter().any(|it| it.end > self.position)
    }

    /// The transfer's thread waits for room from now on.
    pub(super) fn park(&mut self) {
        self.parked = true;
    }

    /// A transfer `transfer` begins at the stream's position. The returned token is cancelled when
    /// the stream has no use for it any more.
    pub(super) fn begin(&mut self, transfer: u64, now: Instant) -> Cancel {
        self.transfer = Some(transfer);
        self.cancel = Cancel::new();
        self.received = self.position;
        self.parked = false;
        self.moved = now;
        self.cancel.clone()
    }

    /// No transfer from now on; its thread ends by itself. What has come is kept.
    pub(super) fn end(&mut self) {
        self.transfer = None;
        self.cancel.cancel();
        self.received = self.position;
        self.room.notify_all();
    }

    /// The transfer ended with `error`, which every read that waits now is given once.
    pub(super) fn fail(&mut self, error: &Error) {
        self.end();
        for waiter in &mut self.waiters {
            waiter.error = Some(error.clone());
        }
    }

    /// `count` bytes beyond the position are in the buffer being filled.
    pub(super) fn receive(&mut self, count: u64, now: Instant) -> StreamProgress {
        self.moved = now;
        self.received = self.position + count;
        if self.serves_a_waiter(self.received) {
            StreamProgress::Publish
        } else {
            StreamProgress::GoOn
        }
    }

    /// The next `length` bytes are in the block map. Says whether a reader can go on now.
    pub(super) fn publish(&mut self, length: u64) -> bool {
        let end = self.position + length;
        let serves = self.serves_a_waiter(end);
        self.position = end;
        self.received = end;
        serves
    }

    /// A read waits for `offset..end`.
    pub(super) fn wait_for(&mut self, ticket: u64, offset: u64, end: u64) {
        self.waiters.push(Waiter {
            ticket,
            offset,
            end,
            error: None,
        });
    }

    /// Why the read will not be answered, if so.
    pub(super) fn error_of(&self, ticket: u64) -> Option<Error> {
        let waiter = self.waiters.iter().find(|it| it.ticket == ticket)?;
        waiter.error.clone()
    }

    /// The read waits no more.
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
