//! Inode numbers.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// The number of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ino(pub u64);

impl Ino {
    /// The root of the mount, by convention of the kernel.
    pub(crate) const ROOT: Self = Self(1);
}

/// A table by inode number.
pub(in crate::vfs) type InoMap<T> = HashMap<Ino, T, BuildHasherDefault<InoHasher>>;
/// A set of inode numbers.
pub(in crate::vfs) type InoSet = HashSet<Ino, BuildHasherDefault<InoHasher>>;

/// Hashes inode numbers such that neighbours are neighbours in the table: the entries of a
/// directory have successive numbers, and are used one after the other. This mount assigns the
/// numbers, so no one can choose many with the same hash.
#[derive(Debug, Default)]
pub(in crate::vfs) struct InoHasher(u64);

/// Numbers that differ only in this many low bits remain together.
const BLOCK_BITS: u32 = 6;
/// These bits.
const INNER: u64 = (1 << BLOCK_BITS) - 1;
/// The bits by which a `HashMap` compares hashes before it compares keys.
const TAG: u64 = 0x7f << 57;
/// An odd number near 2^64 divided by the golden ratio: its multiples are far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for InoHasher {
    fn write_u64(&mut self, number: u64) {
        let inner = number & INNER;
        let spread = (number >> BLOCK_BITS).wrapping_mul(SPREAD);
        // A table uses the low bits, on which the high ones of the number had no effect.
        let block = spread ^ (spread >> 32);
        let slot = (block << BLOCK_BITS) | (inner ^ ((block >> 40) & INNER));
        self.0 = (slot & !TAG) | (number.wrapping_mul(SPREAD) & TAG);
    }

    /// Not used for inode numbers.
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(SPREAD);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    fn hash(number: u64) -> u64 {
        BuildHasherDefault::<InoHasher>::default().hash_one(Ino(number))
    }

    /// Returns how many of `numbers` share a slot of a table of `1 << bits`, at most.
    fn most_in_a_slot(numbers: impl Iterator<Item = u64>, bits: u32) -> usize {
        let mut slots = vec![0; 1 << bits];
        for number in numbers {
            slots[(hash(number) & ((1 << bits) - 1)) as usize] += 1;
        }
        slots.into_iter().max().unwrap()
    }

    #[test]
    fn neighbours_are_neighbours_in_the_table() {
        let slots: HashSet<_> = (6_400..6_464).map(|number| hash(number) & 0xfff).collect();
        assert_eq!(slots.len(), 64);
        let blocks: HashSet<_> = slots.iter().map(|slot| slot >> BLOCK_BITS).collect();
        assert_eq!(blocks.len(), 1);
    }

    #[test]
    fn few_numbers_share_a_slot() {
        for first in [1, 1_000_000, u64::MAX - 5_000] {
            let most = most_in_a_slot(first..first + 4_096, 12);
            assert!(most <= 4, "{most} from {first} on");
        }
        // Such numbers may remain in use when all between them are forgotten.
        for step in [2, 3, 63, 64, 100, 4_096, 1 << 20] {
            let most = most_in_a_slot((0..4_096).map(|number| number * step), 12);
            assert!(most <= 10, "{most} with a step of {step}");
        }
    }

    #[test]
    fn the_tags_of_neighbours_differ() {
        let tags: HashSet<_> = (0..16).map(|number| hash(640 + number) & TAG).collect();
        assert!(tags.len() > 8, "{}", tags.len());
    }
}
