//! The next steps of the fetch threads, and the bytes that they have fetched: the part of the
//! reader's state that they use. Pure bookkeeping: no thread, no I/O.

use std::sync::{Arc, Condvar};

use super::block_map::{BlockPlace, Retention};
use super::parallel::{PartBytes, PartOutcome, PartQueue, PartsFor, StreamPlace, WORTH_A_DETOUR};
use super::state::ReaderState;
use super::stream::Stream;
use crate::vfs::local::quota::QuotaFile;

/// The next step of a stream's thread.
#[derive(Debug)]
pub(super) enum StreamStep {
    /// Receive this many bytes.
    Fetch(usize),
    /// Continue after these bytes, which were fetched in a part.
    Follow(PartBytes),
    /// Continue at this offset. The bytes before it are in the map and kept for the file.
    Pass(u64),
    /// Wait for the next bytes of a part.
    AwaitPart,
    /// Wait until the stream may continue.
    Park,
    /// End the parts, which are not needed any more.
    PartsFailed,
}

impl ReaderState {
    /// Returns the next step of the thread that fills a stream with `transfer`, in a file of `size`
    /// bytes, and what wakes it, or `None` if another transfer fills the stream.
    pub(super) fn next_step(
        &mut self,
        transfer: u64,
        size: Option<u64>,
    ) -> Option<(StreamStep, Arc<Condvar>)> {
        let block = self.block;
        let stream = self.filled_by(transfer)?;
        let room = Arc::clone(&stream.room);
        if !stream.has_room() {
            stream.park();
            return Some((StreamStep::Park, room));
        }
        let start = stream.position();
        let kept = self.blocks.kept_until(start);
        if kept - start >= WORTH_A_DETOUR || (kept > start && size == Some(kept)) {
            return Some((StreamStep::Pass(kept), room));
        }
        let boundary = (start / block + 1).saturating_mul(block);
        let end = size.map_or(boundary, |size| size.min(boundary));
        // A corrected size may be before the stream. One byte is requested, which shows the end.
        let missing = end.saturating_sub(start).max(1);
        let place = self.queue_for(transfer).map(|queue| queue.place(start));
        let step = match place {
            None | Some(StreamPlace::Before(None)) => StreamStep::Fetch(missing as usize),
            Some(StreamPlace::Before(Some(distance))) => {
                StreamStep::Fetch(missing.min(distance) as usize)
            }
            Some(StreamPlace::In(mut bytes)) => {
                bytes.range.end = bytes.range.end.min(end);
                StreamStep::Follow(bytes)
            }
            Some(StreamPlace::Waiting) => StreamStep::AwaitPart,
            Some(StreamPlace::Failed) => {
                if let Some(queue) = self.queue_for(transfer) {
                    queue.discard();
                }
                StreamStep::PartsFailed
            }
        };
        Some((step, room))
    }

    /// Returns the queue `id` while its parts are needed.
    pub(super) fn queue(&mut self, id: u64) -> Option<&mut PartQueue> {
        let index = self.queues.iter().position(|queue| queue.id == id)?;
        let queue = self.queues.get(index)?;
        if !self.is_used(queue) {
            return None;
        }
        self.queues.get_mut(index)
    }

    /// Returns the stream for which the queue `id` has parts.
    pub(super) fn stream_of_queue(&mut self, id: u64) -> Option<&mut Stream> {
        match self.queue(id)?.parts_for {
            PartsFor::Stream(transfer) => self.filled_by(transfer),
            PartsFor::File => None,
        }
    }

    /// Whether a part can be claimed for the stream that `transfer` fills.
    pub(super) fn has_room_for_part(&mut self, transfer: u64) -> bool {
        self.queue_for(transfer)
            .is_some_and(|queue| queue.has_room())
    }

    /// Returns the number of bytes that were fetched in parts for the stream that `transfer` fills,
    /// or `None` if another transfer fills the stream.
    pub(super) fn brought_for(&mut self, transfer: u64) -> Option<u64> {
        self.filled_by(transfer)?;
        Some(self.queue_for(transfer).map_or(0, |queue| queue.brought()))
    }

    /// Ends the parts for the stream that `transfer` fills.
    pub(super) fn cut_parts(&mut self, transfer: u64) {
        if let Some(queue) = self.queue_for(transfer) {
            queue.cut();
        }
    }

    /// Records that the transfer of the part `number` of the queue `id` has ended. For a whole
    /// file, the server has confirmed the bytes.
    pub(super) fn end_part(&mut self, id: u64, number: u64, outcome: PartOutcome) {
        let Some(queue) = self.queue(id) else {
            return;
        };
        queue.end_part(number, outcome);
        if queue.parts_for == PartsFor::File
            && let Some(bytes) = queue.take(number)
        {
            let place = BlockPlace::Disk(bytes.file);
            self.blocks
                .insert(bytes.range, &place, bytes.from, Retention::File);
        }
    }

    /// Records that the parts of the queue `id` are not needed any more.
    pub(super) fn discard_queue(&mut self, id: u64) {
        if let Some(queue) = self.queue(id) {
            queue.discard();
        }
    }

    /// Takes the queues whose parts are not needed any more.
    pub(super) fn take_unused_queues(&mut self) -> Vec<PartQueue> {
        let (used, unused) = std::mem::take(&mut self.queues)
            .into_iter()
            .partition(|queue| self.is_used(queue));
        self.queues = used;
        unused
    }

    /// Takes the local files whose blocks are gone, so that they are closed without the lock.
    pub(super) fn take_released(&mut self) -> Vec<Arc<QuotaFile>> {
        self.blocks.take_released()
    }

    fn queue_for(&mut self, transfer: u64) -> Option<&mut PartQueue> {
        let parts_for = PartsFor::Stream(transfer);
        let mut queues = self.queues.iter_mut();
        queues.find(|it| it.parts_for == parts_for && !it.is_discarded())
    }

    fn is_used(&self, queue: &PartQueue) -> bool {
        let has_readers = match queue.parts_for {
            PartsFor::Stream(transfer) => {
                let transfer = Some(transfer);
                self.streams
                    .iter()
                    .any(|stream| stream.transfer == transfer)
            }
            PartsFor::File => self.whole.queue == Some(queue.id),
        };
        has_readers && !queue.is_discarded()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::vfs::read::bytes::Buffer;

    const M: u64 = 1 << 20;
    const SIZE: u64 = 64 * M;

    /// Creates a file with one stream from `position` on, and its transfer.
    fn streaming(position: u64) -> (ReaderState, u64) {
        let now = Instant::now();
        let mut state = ReaderState::new(Some(SIZE), now);
        let id = state.open(position, 4 * M, now);
        let transfer = state.number();
        state.stream(id).unwrap().begin(transfer, now);
        state.want_stream(id, position + 1, now);
        (state, transfer)
    }

    fn disk() -> Arc<QuotaFile> {
        Arc::new(QuotaFile::unaccounted())
    }

    fn step(state: &mut ReaderState, transfer: u64) -> StreamStep {
        state.next_step(transfer, Some(SIZE)).unwrap().0
    }

    /// Records that the stream's own transfer has received `length` bytes.
    fn publish(state: &mut ReaderState, transfer: u64, length: u64) {
        let place = BlockPlace::Memory(Arc::new(Buffer::from(Vec::new())));
        state.publish(transfer, length, &place, 0).unwrap();
    }

    #[test]
    fn bytes_that_are_kept_for_the_file_are_passed_where_they_are_many() {
        let (mut state, transfer) = streaming(0);
        let place = BlockPlace::Disk(disk());
        let mut keep = |range| state.blocks.insert(range, &place, 0, Retention::File);
        keep(0..M / 2);
        keep(2 * M..5 * M);
        keep(SIZE - 10..SIZE);
        let first = step(&mut state, transfer);
        assert!(matches!(first, StreamStep::Fetch(_)), "{first:?}");
        publish(&mut state, transfer, 2 * M);
        let id = state.streams[0].id;
        state.want_stream(id, 2 * M, Instant::now());
        let second = step(&mut state, transfer);
        assert!(
            matches!(second, StreamStep::Pass(end) if end == 5 * M),
            "{second:?}"
        );
        state.pass(transfer, 3 * M).unwrap();
        assert!(matches!(step(&mut state, transfer), StreamStep::Park));

        let (mut state, transfer) = streaming(SIZE - 10);
        state
            .blocks
            .insert(SIZE - 10..SIZE, &place, 0, Retention::File);
        let last = step(&mut state, transfer);
        assert!(matches!(last, StreamStep::Pass(SIZE)), "{last:?}");
    }

    #[test]
    fn a_stream_follows_its_parts_and_fetches_what_lies_between_them() {
        let (mut state, transfer) = streaming(0);
        let id = state.number();
        state
            .queues
            .push(PartQueue::ahead(id, transfer, 0, SIZE, 3));
        let part = state.queue(id).unwrap().claim().unwrap();
        let start = part.range.start;
        let stream = state.streams[0].id;
        while state.streams[0].position() < start {
            state.want_stream(stream, state.streams[0].position() + 1, Instant::now());
            match step(&mut state, transfer) {
                StreamStep::Fetch(size) => publish(&mut state, transfer, size as u64),
                other => panic!("{other:?}"),
            }
        }
        state.want_stream(stream, start + 1, Instant::now());
        assert!(matches!(step(&mut state, transfer), StreamStep::AwaitPart));
        let queue = state.queue(id).unwrap();
        queue.begin(part.number, disk());
        queue.receive(part.number, 1000);
        match step(&mut state, transfer) {
            StreamStep::Follow(bytes) => assert_eq!(bytes.range, start..start + 1000),
            other => panic!("{other:?}"),
        }
        state.end_part(id, part.number, PartOutcome::Failed);
        state.pass(transfer, 1000).unwrap();
        assert!(matches!(
            step(&mut state, transfer),
            StreamStep::PartsFailed
        ));
        assert!(state.queue(id).is_none());
        assert_eq!(state.take_unused_queues().len(), 1);
        assert!(matches!(step(&mut state, transfer), StreamStep::Fetch(_)));
    }

    #[test]
    fn parts_are_of_no_more_use_when_their_stream_has_gone_on_without_them() {
        let (mut state, transfer) = streaming(0);
        let id = state.number();
        state
            .queues
            .push(PartQueue::ahead(id, transfer, 0, SIZE, 3));
        assert!(state.queue(id).is_some() && state.has_room_for_part(transfer));
        state.filled_by(transfer).unwrap().end();
        assert!(state.queue(id).is_none());
        assert!(state.next_step(transfer, Some(SIZE)).is_none());
    }

    #[test]
    fn a_part_of_a_whole_file_is_seen_when_it_has_ended() {
        let now = Instant::now();
        let mut state = ReaderState::new(Some(SIZE), now);
        let id = state.number();
        state.queues.push(PartQueue::whole(id, SIZE, 4, now));
        assert!(state.queue(id).is_none(), "nobody wants it");
        state.whole.queue = Some(id);
        let queue = state.queue(id).unwrap();
        let part = queue.claim().unwrap();
        queue.begin(part.number, disk());
        queue.receive(part.number, 100);
        assert!(state.find(0, 10, now).is_none());
        state.end_part(id, part.number, PartOutcome::Cut);
        assert!(state.find(0, 100, now).is_some());
        assert!(state.find(0, 101, now).is_none());
    }
}
