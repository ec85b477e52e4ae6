//! Inode numbers.

use std::collections::HashMap;
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

/// Hashes inode numbers such that neighbours are neighbours in the table: the entries of a
/// directory have successive numbers, and are used one after the other. This mount assigns the
/// numbers, so no one can choose many with the same hash.
#[derive(Debug, Default)]
pub(in crate::vfs) struct InoHasher(u64);

/// Number of low bits of a number that remain together.
const BLOCK_BITS: u32 = 6;
/// The bits by which a `HashMap` compares hashes before it compares keys.
const TAG: u64 = 0x7f << 57;
/// An odd number near 2^64 divided by the golden ratio: its multiples are far apart.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for InoHasher {
    fn write_u64(&mut self, number: u64) {
        let inner = number & ((1 << BLOCK_BITS) - 1);
        let block = (number >> BLOCK_BITS).wrapping_mul(SPREAD) << BLOCK_BITS;
        self.0 = (block | inner) & !TAG | number.wrapping_mul(SPREAD) & TAG;
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
    use std::collections::HashSet;
    use std::hash::{BuildHasher, RandomState};

    fn hash(number: u64) -> u64 {
        BuildHasherDefault::<InoHasher>::default().hash_one(Ino(number))
    }

    /// Returns how many of `numbers` share each slot of a table of `1 << bits`, at most.
    fn most_in_a_slot(numbers: impl Iterator<Item = u64>, bits: u32) -> usize {
        let mut slots = vec![0; 1 << bits];
        for number in numbers {
            slots[(hash(number) & ((1 << bits) - 1)) as usize] += 1;
        }
        slots.into_iter().max().unwrap()
    }

    #[test]
    fn successive_numbers_share_no_slot_and_are_neighbours() {
        for first in [1, 1_000_000, u64::MAX - 5_000] {
            assert_eq!(most_in_a_slot(first..first + 4_096, 12), 1);
        }
        let neighbours = (0..64).map(|number| hash(6_400 + number) & 0xfff);
        assert!(neighbours.is_sorted_by(|one, next| one + 1 == *next));
    }

    #[test]
    fn numbers_left_over_from_long_ago_share_few_slots() {
        for step in [2, 64, 100, 4_096, 1 << 20] {
            let left = (0..4_096).map(|number| number * step);
            let random = RandomState::new();
            let mut usual = vec![0; 1 << 12];
            for number in 0..4_096_u64 {
                usual[(random.hash_one(number) & 0xfff) as usize] += 1;
            }
            let most = most_in_a_slot(left, 12);
            assert!(
                most <= 64,
                "{most} with a step of {step}, usually {:?}",
                usual.iter().max()
            );
        }
    }

    #[test]
    fn the_tags_of_neighbours_differ() {
        let tags: HashSet<_> = (0..16).map(|number| hash(640 + number) & TAG).collect();
        assert!(tags.len() > 8, "{}", tags.len());
    }
}
