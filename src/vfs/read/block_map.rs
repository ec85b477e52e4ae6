//! The bytes of a file that were fetched, in memory or on the local disk. Pure bookkeeping: no
//! thread, no lock, no I/O.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::bytes::{BlockBytes, Buffer, Bytes};
use crate::disk_cache::CachedFile;
use crate::vfs::local::quota::QuotaFile;

/// The place of the bytes of a block.
#[derive(Debug, Clone)]
pub(super) enum BlockPlace {
    Memory(Arc<Buffer>),
    Disk(Arc<QuotaFile>),
    /// In the persistent cache, at the same offset.
    Cached(Arc<CachedFile>),
}

/// How long a block is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retention {
    /// Until the streams that it lies on have moved on.
    Stream,
    /// As long as the file is open and used.
    File,
}

/// Consecutive bytes in one place.
#[derive(Debug, Clone)]
struct Block {
    end: u64,
    place: BlockPlace,
    /// Offset of the first byte in the buffer or in the local file.
    from: u64,
    retention: Retention,
}

/// The blocks of one file by their first byte. No two overlap.
#[derive(Debug, Default)]
pub(super) struct BlockMap {
    blocks: BTreeMap<u64, Block>,
    in_memory: u64,
    on_disk: u64,
    /// Local files that blocks were removed from.
    released: Vec<Arc<QuotaFile>>,
}

impl BlockMap {
    /// Returns the number of bytes in memory.
    #[cfg(test)]
    pub(super) fn in_memory(&self) -> u64 {
        self.in_memory
    }

    /// Returns the number of bytes on the local disk.
    #[cfg(test)]
    pub(super) fn on_disk(&self) -> u64 {
        self.on_disk
    }

    /// Returns the blocks that are kept for streams.
    #[cfg(test)]
    pub(super) fn of_streams(&self) -> Vec<Range<u64>> {
        let blocks = self.blocks.iter();
        let of_streams = blocks.filter(|(_, block)| block.retention == Retention::Stream);
        of_streams.map(|(start, block)| *start..block.end).collect()
    }

    /// Returns the places of the bytes of `range`, or `None` unless the map has all of them.
    pub(super) fn find(&self, range: Range<u64>) -> Option<Vec<BlockBytes>> {
        let mut found = Vec::new();
        let mut at = range.start;
        for (start, block) in self.overlapping(&range) {
            if start > at {
                return None;
            }
            let end = block.end.min(range.end);
            found.push(block.slice(start, at..end));
            at = end;
        }
        (at >= range.end).then_some(found)
    }

    /// Whether the map has no bytes.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Whether the map has all bytes of `range`.
    pub(super) fn has(&self, range: Range<u64>) -> bool {
        let mut at = range.start;
        for (start, block) in self.overlapping(&range) {
            if start > at {
                return false;
            }
            at = block.end;
        }
        at >= range.end
    }

    /// Returns the end of the bytes from `offset` on that are kept for the file, or `offset` if
    /// there are none.
    pub(super) fn kept_until(&self, offset: u64) -> u64 {
        let mut at = offset;
        for (start, block) in self.overlapping(&(offset..u64::MAX)) {
            if start > at || block.retention != Retention::File {
                break;
            }
            at = block.end;
        }
        at
    }

    /// Returns the missing parts of `range`, in order.
    pub(super) fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = range.start;
        for (start, block) in self.overlapping(&range) {
            if start > at {
                missing.push(at..start);
            }
            at = block.end;
        }
        if at < range.end {
            missing.push(at..range.end);
        }
        missing
    }

    /// Returns the first byte of the block that holds `offset`, or `offset` itself.
    pub(super) fn block_start(&self, offset: u64) -> u64 {
        let before = self.blocks.range(..=offset).next_back();
        before
            .filter(|(_, block)| block.end > offset)
            .map_or(offset, |(start, _)| *start)
    }

    /// Adds the bytes of `range`, which are in `place` from byte `from` on. Existing bytes stay,
    /// unless they are kept for a shorter time than the new ones.
    pub(super) fn insert(
        &mut self,
        range: Range<u64>,
        place: &BlockPlace,
        from: u64,
        retention: Retention,
    ) {
        if retention == Retention::File {
            self.remove(&range);
        }
        for gap in self.missing(range.clone()) {
            let block = Block {
                end: gap.end,
                place: place.clone(),
                from: from + (gap.start - range.start),
                retention,
            };
            self.add(gap.start, block);
        }
    }

    /// Discards the blocks that overlap `range`, except those that are kept for the file or for
    /// which `keeps` returns true.
    pub(super) fn evict(&mut self, range: &Range<u64>, keeps: impl Fn(&Range<u64>) -> bool) {
        self.remove_where(range, |start, block| {
            block.retention == Retention::Stream && !keeps(&(start..block.end))
        });
    }

    /// Discards the blocks that are kept for the file, except those of the persistent cache.
    pub(super) fn evict_file(&mut self) {
        self.remove_where(&(0..u64::MAX), |_, block| {
            block.retention == Retention::File && !matches!(block.place, BlockPlace::Cached(_))
        });
    }

    /// Discards the blocks in `file`, which cannot be read.
    pub(super) fn lose(&mut self, file: &Arc<QuotaFile>) {
        self.remove_where(&(0..u64::MAX), |_, block| block.is_in(file));
    }

    /// Discards the bytes of `range` in `file` of the persistent cache, which are damaged.
    pub(super) fn lose_cached(&mut self, file: &Arc<CachedFile>, range: &Range<u64>) {
        self.remove_parts(range, |block| block.is_cached_in(file));
    }

    /// Takes the local files from which blocks were removed. Closing them takes a moment, during
    /// which no lock should be held.
    pub(super) fn take_released(&mut self) -> Vec<Arc<QuotaFile>> {
        std::mem::take(&mut self.released)
    }

    /// Removes the bytes of `range`.
    fn remove(&mut self, range: &Range<u64>) {
        self.remove_parts(range, |_| true);
    }

    /// Removes the bytes of `range` from the blocks for which `is_removed` returns true.
    fn remove_parts(&mut self, range: &Range<u64>, is_removed: impl Fn(&Block) -> bool) {
        let removed = self.remove_where(range, |_, block| is_removed(block));
        for (start, block) in removed {
            if start < range.start {
                let end = range.start;
                self.add(
                    start,
                    Block {
                        end,
                        ..block.clone()
                    },
                );
            }
            if block.end > range.end {
                let from = block.from + (range.end - start);
                self.add(range.end, Block { from, ..block });
            }
        }
    }

    /// Removes the blocks that overlap `range` and for which `is_removed` returns true.
    fn remove_where(
        &mut self,
        range: &Range<u64>,
        is_removed: impl Fn(u64, &Block) -> bool,
    ) -> Vec<(u64, Block)> {
        let removed: Vec<u64> = self
            .overlapping(range)
            .filter(|(start, block)| is_removed(*start, block))
            .map(|(start, _)| start)
            .collect();
        let mut blocks = Vec::with_capacity(removed.len());
        for start in removed {
            if let Some(block) = self.blocks.remove(&start) {
                *self.total(&block.place) -= block.end - start;
                if let BlockPlace::Disk(file) = &block.place {
                    self.released.push(Arc::clone(file));
                }
                blocks.push((start, block));
            }
        }
        blocks
    }

    /// Adds a block where there is none. A block that continues a local file extends the block
    /// before it.
    fn add(&mut self, start: u64, block: Block) {
        *self.total(&block.place) += block.end - start;
        if let Some((before_start, before)) = self.blocks.range_mut(..start).next_back()
            && before.end == start
            && before.retention == block.retention
            && before.is_in_place_of(&block)
            && before.from + (start - before_start) == block.from
        {
            before.end = block.end;
            return;
        }
        self.blocks.insert(start, block);
    }

    /// Returns the blocks that have bytes in `range`, in order.
    fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, &Block)> {
        let first = self.block_start(range.start);
        let blocks = self.blocks.range(first..range.end.max(first));
        blocks.map(|(start, block)| (*start, block))
    }

    fn total(&mut self, place: &BlockPlace) -> &mut u64 {
        match place {
            BlockPlace::Memory(_) => &mut self.in_memory,
            BlockPlace::Disk(_) | BlockPlace::Cached(_) => &mut self.on_disk,
        }
    }
}

impl Block {
    /// Returns the place of `range`, which is in this block that starts at `start`.
    fn slice(&self, start: u64, range: Range<u64>) -> BlockBytes {
        let from = self.from + (range.start - start);
        let length = (range.end - range.start) as usize;
        match &self.place {
            BlockPlace::Memory(buffer) => {
                let from = from as usize;
                BlockBytes::Memory(Bytes::slice(buffer, from..from + length))
            }
            BlockPlace::Disk(file) => BlockBytes::Disk {
                file: Arc::clone(file),
                from,
                length,
            },
            BlockPlace::Cached(file) => BlockBytes::Cached {
                file: Arc::clone(file),
                from,
                length,
            },
        }
    }

    fn is_in(&self, file: &Arc<QuotaFile>) -> bool {
        matches!(&self.place, BlockPlace::Disk(it) if Arc::ptr_eq(it, file))
    }

    fn is_cached_in(&self, file: &Arc<CachedFile>) -> bool {
        matches!(&self.place, BlockPlace::Cached(it) if Arc::ptr_eq(it, file))
    }

    /// Whether both are in the same local file.
    fn is_in_place_of(&self, other: &Self) -> bool {
        match &other.place {
            BlockPlace::Memory(_) => false,
            BlockPlace::Disk(file) => self.is_in(file),
            BlockPlace::Cached(file) => self.is_cached_in(file),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use proptest::prelude::*;

    use super::*;
    use crate::vfs::read::bytes::BufferPool;

    /// Creates a file of bytes with the value `number`.
    fn disk(number: u8, length: usize) -> BlockPlace {
        let file = QuotaFile::unaccounted();
        file.file().write_all_at(&vec![number; length], 0).unwrap();
        BlockPlace::Disk(Arc::new(file))
    }

    fn memory(number: u8, length: usize) -> BlockPlace {
        BlockPlace::Memory(Arc::new(Buffer::copied(&vec![number; length])))
    }

    fn free() -> Arc<BufferPool> {
        Arc::new(BufferPool::new(0))
    }

    fn read(map: &BlockMap, range: Range<u64>) -> Option<Vec<u8>> {
        let found = map.find(range)?;
        Some(Bytes::load(found, &free()).unwrap().to_vec())
    }

    fn only(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn a_range_over_memory_and_disk_is_found_where_nothing_is_missing() {
        let mut map = BlockMap::default();
        map.insert(10..20, &memory(1, 10), 0, Retention::Stream);
        map.insert(20..30, &disk(2, 15), 5, Retention::File);
        assert_eq!(read(&map, 18..22).as_deref(), Some([1, 1, 2, 2].as_slice()));
        assert_eq!(read(&map, 9..12), None);
        assert_eq!(read(&map, 29..31), None);
        assert!(map.has(10..30) && map.has(40..40) && !map.has(9..30) && !map.has(10..31));
        assert_eq!((map.kept_until(25), map.kept_until(15)), (30, 15));
        assert_eq!(map.missing(5..35), [5..10, 30..35]);
        assert_eq!((map.in_memory(), map.on_disk()), (10, 10));
        assert_eq!((map.block_start(15), map.block_start(30)), (10, 30));
    }

    #[test]
    fn a_local_file_that_grows_is_one_block() {
        let (mut map, file) = (BlockMap::default(), disk(1, 30));
        map.insert(100..110, &file, 0, Retention::Stream);
        map.insert(110..130, &file, 10, Retention::Stream);
        assert_eq!(map.find(100..130).unwrap().len(), 1);
        map.insert(130..140, &file, 0, Retention::Stream);
        assert_eq!(map.find(100..140).unwrap().len(), 2, "not where it goes on");
    }

    #[test]
    fn what_is_kept_for_the_file_replaces_what_is_not_and_outlives_it() {
        let mut map = BlockMap::default();
        map.insert(0..10, &memory(1, 10), 0, Retention::Stream);
        map.insert(4..6, &disk(2, 2), 0, Retention::File);
        map.insert(0..10, &memory(3, 10), 0, Retention::Stream);
        let expected = [1, 1, 1, 1, 2, 2, 1, 1, 1, 1];
        assert_eq!(read(&map, 0..10).as_deref(), Some(expected.as_slice()));
        map.evict(&(0..10), |_| false);
        assert_eq!(map.missing(0..10), [0..4, 6..10]);
        map.evict_file();
        assert_eq!(map.missing(0..10), only(0..10));
        assert_eq!((map.in_memory(), map.on_disk()), (0, 0));
    }

    #[test]
    fn a_block_in_the_range_is_evicted_unless_a_stream_keeps_it() {
        let mut map = BlockMap::default();
        for start in [0, 10, 20] {
            map.insert(start..start + 10, &memory(1, 10), 0, Retention::Stream);
        }
        map.evict(&(5..20), |block| block.start == 10);
        assert_eq!(map.missing(0..30), only(0..10));
    }

    #[test]
    fn a_local_file_that_cannot_be_read_is_no_longer_there() {
        let (mut map, file) = (BlockMap::default(), Arc::new(QuotaFile::unaccounted()));
        let place = BlockPlace::Disk(Arc::clone(&file));
        map.insert(0..10, &place, 0, Retention::File);
        map.insert(10..20, &memory(1, 10), 0, Retention::Stream);
        assert!(Bytes::load(map.find(0..20).unwrap(), &free()).is_err());
        map.lose(&file);
        assert_eq!(map.missing(0..20), only(0..10));
    }

    /// A change of a map.
    #[derive(Debug, Clone)]
    enum Change {
        Insert(Range<u64>, bool, bool),
        Evict(Range<u64>),
        EvictFile,
    }

    fn change() -> impl Strategy<Value = Change> {
        let range = (0_u64..60, 0_u64..20).prop_map(|(start, length)| start..start + length);
        prop_oneof![
            4 => (range.clone(), any::<bool>(), any::<bool>())
                .prop_map(|(range, on_disk, for_file)| Change::Insert(range, on_disk, for_file)),
            2 => range.prop_map(Change::Evict),
            1 => Just(Change::EvictFile),
        ]
    }

    proptest! {
        /// Each byte of the file has its offset as its value, so every byte can be checked.
        #[test]
        fn whatever_comes_and_goes_the_bytes_found_are_the_files(
            changes in proptest::collection::vec(change(), 1..40),
        ) {
            let file: Vec<u8> = (0..80).collect();
            let mut map = BlockMap::default();
            // For each byte: whether it is there, and on disk, and for the file.
            let mut model = vec![None::<(bool, bool)>; 80];
            for change in changes {
                match change {
                    Change::Insert(range, on_disk, for_file) => {
                        let (start, end) = (range.start as usize, range.end as usize);
                        let place = if on_disk {
                            let local = QuotaFile::unaccounted();
                            local.file().write_all_at(&file, 0).unwrap();
                            BlockPlace::Disk(Arc::new(local))
                        } else {
                            BlockPlace::Memory(Arc::new(Buffer::copied(&file)))
                        };
                        let retention = if for_file { Retention::File } else { Retention::Stream };
                        map.insert(range.clone(), &place, range.start, retention);
                        for byte in &mut model[start..end] {
                            if for_file || byte.is_none() {
                                *byte = Some((on_disk, for_file));
                            }
                        }
                    }
                    Change::Evict(range) => {
                        map.evict(&range, |_| false);
                        // Whole blocks go, which the model does not know.
                        for at in 0..80 {
                            let is_there = map.find(at..at + 1).is_some();
                            let byte = &mut model[at as usize];
                            let is_for_file = byte.is_some_and(|(_, for_file)| for_file);
                            prop_assert!(is_there || !is_for_file, "it is kept for the file");
                            if !is_there {
                                *byte = None;
                            }
                        }
                    }
                    Change::EvictFile => {
                        map.evict_file();
                        for byte in &mut model {
                            *byte = byte.filter(|(_, for_file)| !for_file);
                        }
                    }
                }
                let count = |wanted: bool| {
                    let bytes = model.iter().flatten();
                    bytes.filter(|(on_disk, _)| *on_disk == wanted).count() as u64
                };
                prop_assert_eq!((map.in_memory(), map.on_disk()), (count(false), count(true)));
                for at in 0..80_u64 {
                    let found = read(&map, at..at + 1);
                    let there = model[at as usize].map(|_| vec![at as u8]);
                    prop_assert_eq!(found, there);
                }
                let missing: u64 = map.missing(0..80).iter().map(|it| it.end - it.start).sum();
                prop_assert_eq!(missing, 80 - count(false) - count(true));
            }
        }
    }
}
