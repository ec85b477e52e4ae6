//! Blocks of a cached file, and the slot of each: eight bytes that say whether the block is there,
//! and what its bytes must be. Pure: no I/O.

use std::ops::Range;

use crc32fast::Hasher;

/// Size of a block in bytes. The last one of a file may be shorter.
pub(crate) const BLOCK: u64 = 64 << 10;

/// Size of a slot in bytes.
pub(super) const SLOT: u64 = 8;

/// Separates the checksum of a slot from the checksum of a block.
const OF_SLOT: &[u8] = b"slot";

/// The checksum of a block that is there. Different blocks and different nonces have different
/// checksums for the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BlockSlot(u32);

impl BlockSlot {
    /// Returns the slot of the block `index`, which contains `bytes`.
    pub(super) fn of(nonce: u64, index: u64, bytes: &[u8]) -> Self {
        let mut hasher = seeded(nonce, index);
        hasher.update(bytes);
        Self(hasher.finalize())
    }

    /// Returns the stored form: the checksum, and a checksum of that.
    pub(super) fn encode(self, nonce: u64, index: u64) -> [u8; SLOT as usize] {
        let stored = u64::from(self.0) | u64::from(self.guard(nonce, index)) << 32;
        stored.to_le_bytes()
    }

    /// Parses the stored form. `None` if the block is absent or the slot is damaged.
    pub(super) fn decode(nonce: u64, index: u64, stored: &[u8]) -> Option<Self> {
        let stored = u64::from_le_bytes(stored.try_into().ok()?);
        let slot = Self(stored as u32);
        let is_right = slot.guard(nonce, index) == (stored >> 32) as u32;
        (stored != 0 && is_right).then_some(slot)
    }

    fn guard(self, nonce: u64, index: u64) -> u32 {
        let mut hasher = seeded(nonce, index);
        hasher.update(OF_SLOT);
        hasher.update(&self.0.to_le_bytes());
        hasher.finalize()
    }
}

fn seeded(nonce: u64, index: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(&nonce.to_le_bytes());
    hasher.update(&index.to_le_bytes());
    hasher
}

/// Returns the bytes of the block `index` in a file of `size` bytes.
pub(super) fn range_of(index: u64, size: u64) -> Range<u64> {
    let start = index.saturating_mul(BLOCK).min(size);
    start..start.saturating_add(BLOCK).min(size)
}

/// Returns the number of blocks of a file of `size` bytes.
pub(super) fn count(size: u64) -> u64 {
    size.div_ceil(BLOCK)
}

/// Puts blocks together from consecutive pieces of a file. What does not fill a block is dropped.
#[derive(Debug)]
pub(super) struct BlockAssembler {
    size: u64,
    /// Offset of the next byte.
    next: u64,
    /// The bytes of the block that is not full yet.
    partial: Vec<u8>,
}

impl BlockAssembler {
    /// Creates an assembler for a file of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self {
            size,
            next: 0,
            partial: Vec::new(),
        }
    }

    /// Adds the bytes at `offset`. Calls `emit` with the index and the bytes of every block that is
    /// full now.
    pub(super) fn push(&mut self, offset: u64, bytes: &[u8], emit: &mut dyn FnMut(u64, &[u8])) {
        if offset != self.next {
            self.partial.clear();
            self.next = offset;
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.next < self.size {
            let index = self.next / BLOCK;
            let block = range_of(index, self.size);
            let missing = usize::try_from(block.end - self.next).unwrap_or(usize::MAX);
            let (piece, after) = rest.split_at(missing.min(rest.len()));
            let is_end = piece.len() == missing;
            let held = self.partial.len() as u64;
            if self.next == block.start && is_end {
                emit(index, piece);
            } else if block.start + held == self.next {
                self.partial.extend_from_slice(piece);
                if is_end {
                    emit(index, &self.partial);
                    self.partial.clear();
                }
            }
            self.next += piece.len() as u64;
            rest = after;
        }
    }
}

/// Collects the indices of blocks into runs of bytes.
pub(super) fn runs(indices: impl IntoIterator<Item = u64>, size: u64) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for index in indices {
        let block = range_of(index, size);
        match runs.last_mut() {
            Some(last) if last.end == block.start => last.end = block.end,
            _ => runs.push(block),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_slot_is_of_one_block_one_nonce_and_no_other_bytes() {
        let slot = BlockSlot::of(7, 3, b"bytes");
        let stored = slot.encode(7, 3);
        assert_eq!(BlockSlot::decode(7, 3, &stored), Some(slot));
        assert_eq!(BlockSlot::decode(7, 4, &stored), None);
        assert_eq!(BlockSlot::decode(8, 3, &stored), None);
        assert_eq!(BlockSlot::decode(7, 3, &[0; 8]), None);
        assert_eq!(BlockSlot::decode(7, 3, &stored[..7]), None);
        assert_ne!(BlockSlot::of(7, 4, b"bytes"), slot);
        for bit in 0..64 {
            let mut flipped = stored;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockSlot::decode(7, 3, &flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn the_last_block_ends_with_the_file() {
        assert_eq!(range_of(0, 10), 0..10);
        assert_eq!(range_of(1, BLOCK + 1), BLOCK..BLOCK + 1);
        assert_eq!(range_of(9, 10), 10..10);
        assert_eq!(
            (count(0), count(1), count(BLOCK), count(BLOCK + 1)),
            (0, 1, 1, 2)
        );
        assert_eq!(
            runs([0, 1, 3], 4 * BLOCK),
            [0..2 * BLOCK, 3 * BLOCK..4 * BLOCK]
        );
    }

    proptest! {
        #[test]
        fn pieces_become_the_blocks_that_they_cover(
            size in 0..5 * BLOCK,
            pieces in proptest::collection::vec((0..5 * BLOCK, 0..2 * BLOCK, any::<bool>()), 1..12),
        ) {
            let file: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let mut assembler = BlockAssembler::new(size);
            let mut at = 0;
            let mut covered_from = None;
            for (offset, length, follows) in pieces {
                let start = if follows { at } else { offset.min(size) };
                let end = (start + length).min(size);
                if start != at || covered_from.is_none() {
                    covered_from = Some(start);
                }
                let mut got = Vec::new();
                let piece = &file[start as usize..end as usize];
                assembler.push(start, piece, &mut |index, bytes| got.push((index, bytes.to_vec())));
                let first = covered_from.unwrap();
                let expected = (0..count(size)).filter(|index| {
                    let block = range_of(*index, size);
                    block.start >= first && block.end <= end && block.end > start
                });
                let expected: Vec<_> = expected
                    .map(|index| {
                        let block = range_of(index, size);
                        (index, file[block.start as usize..block.end as usize].to_vec())
                    })
                    .collect();
                prop_assert!(got == expected, "{start}..{end} from {first}");
                at = end;
            }
        }
    }
}
