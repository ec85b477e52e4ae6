//! Which blocks were read and matched their checksums since this mount began. Pure: no I/O.

use std::collections::HashMap;
use std::ops::RangeInclusive;

/// Maximum number of files that are remembered.
const MOST_FILES: usize = 4096;

/// What changes when a data file does: if it is the same, so are the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DataStamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) length: u64,
    /// Seconds and nanoseconds of the last change (ctime).
    pub(super) changed: (i64, i64),
}

/// The verified blocks of all files, by the nonce of the entry.
#[derive(Debug, Default)]
pub(super) struct VerifiedFiles(HashMap<u64, VerifiedBlocks>);

#[derive(Debug)]
struct VerifiedBlocks {
    stamp: DataStamp,
    /// A bit for each block.
    bits: Vec<u64>,
    /// Number of blocks that were not verified yet.
    missing: u64,
}

impl VerifiedFiles {
    /// Records that `blocks` of the entry `nonce`, which has `count` blocks, matched while its data
    /// file had `stamp`. With another stamp, earlier ones count no longer.
    pub(super) fn record(
        &mut self,
        nonce: u64,
        stamp: DataStamp,
        count: u64,
        blocks: RangeInclusive<u64>,
    ) {
        let is_known = self.0.get(&nonce).is_some_and(|it| it.stamp == stamp);
        if !is_known {
            if self.0.len() >= MOST_FILES
                && let Some(other) = self.0.keys().find(|other| **other != nonce).copied()
            {
                self.0.remove(&other);
            }
            self.0.insert(nonce, VerifiedBlocks::new(stamp, count));
        }
        if let Some(file) = self.0.get_mut(&nonce) {
            blocks.for_each(|index| file.add(index));
        }
    }

    /// Whether any block of the entry `nonce` was verified.
    pub(super) fn knows(&self, nonce: u64) -> bool {
        self.0.contains_key(&nonce)
    }

    /// Whether all blocks of the entry `nonce` were verified, and its data file has not changed
    /// since.
    pub(super) fn is_whole(&self, nonce: u64, stamp: DataStamp) -> bool {
        let file = self.0.get(&nonce);
        file.is_some_and(|file| file.missing == 0 && file.stamp == stamp)
    }

    /// Forgets the entry `nonce`, of which something was damaged or removed.
    pub(super) fn forget(&mut self, nonce: u64) {
        self.0.remove(&nonce);
    }
}

impl VerifiedBlocks {
    fn new(stamp: DataStamp, count: u64) -> Self {
        Self {
            stamp,
            bits: vec![0; count.div_ceil(u64::from(u64::BITS)) as usize],
            missing: count,
        }
    }

    fn add(&mut self, index: u64) {
        let bit = 1 << (index % u64::from(u64::BITS));
        let word = self.bits.get_mut((index / u64::from(u64::BITS)) as usize);
        if let Some(word) = word
            && *word & bit == 0
        {
            *word |= bit;
            self.missing = self.missing.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stamp(changed: i64) -> DataStamp {
        DataStamp {
            device: 1,
            inode: 2,
            length: 3,
            changed: (changed, 0),
        }
    }

    #[test]
    fn a_file_that_changed_or_was_damaged_is_verified_again() {
        let mut files = VerifiedFiles::default();
        files.record(7, stamp(0), 3, 0..=2);
        assert!(files.is_whole(7, stamp(0)));
        assert!(!files.is_whole(7, stamp(1)) && !files.is_whole(8, stamp(0)));
        files.record(7, stamp(1), 3, 1..=1);
        assert!(!files.is_whole(7, stamp(1)) && !files.is_whole(7, stamp(0)));
        files.record(7, stamp(1), 3, 0..=2);
        assert!(files.is_whole(7, stamp(1)));
        files.forget(7);
        assert!(!files.is_whole(7, stamp(1)) && !files.knows(7));
    }

    #[test]
    fn the_number_of_files_is_bounded() {
        let mut files = VerifiedFiles::default();
        for nonce in 0..2 * MOST_FILES as u64 {
            files.record(nonce, stamp(0), 1, 0..=0);
            assert!(files.is_whole(nonce, stamp(0)));
        }
        assert_eq!(files.0.len(), MOST_FILES);
    }

    proptest! {
        #[test]
        fn a_file_is_whole_once_every_block_was_read(
            count in 1_u64..200,
            reads in proptest::collection::vec((0_u64..200, 0_u64..80), 1..40),
        ) {
            let mut files = VerifiedFiles::default();
            let mut seen = vec![false; count as usize];
            for (first, more) in reads {
                let last = (first + more).min(count - 1);
                if first > last {
                    continue;
                }
                files.record(7, stamp(0), count, first..=last);
                seen[first as usize..=last as usize].fill(true);
                prop_assert_eq!(files.is_whole(7, stamp(0)), seen.iter().all(|it| *it));
            }
        }
    }
}
