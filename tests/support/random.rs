//! Reproducible random choices.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marsaglia's xorshift64.
pub(crate) struct Random(u64);

impl Random {
    /// Creates a generator seeded from the environment or the clock; a failing test prints the
    /// seed.
    pub(crate) fn new() -> Self {
        let given = std::env::var("FTPFS_TEST_SEED").ok();
        let seed = given.map_or_else(
            || {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap()
                    .as_nanos() as u64
            },
            |seed| seed.parse().expect("a seed is a number"),
        );
        println!("FTPFS_TEST_SEED={seed}");
        Self(seed.max(1))
    }

    /// Returns a number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // Use the upper half: the lowest bits are the least random.
        (self.0 >> 32) as usize % limit
    }

    /// Returns `length` random bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// Returns an independent generator for another thread.
    pub(crate) fn fork(&mut self) -> Self {
        Self((self.below(1 << 30) as u64 + 1) << 32 | 1)
    }
}
