//! How far a program has read a file, so that reading can continue if the file grows.
//!
//! A file that was replaced by a larger one looks like one that grew. The last bytes that the
//! program has read are therefore compared with those that the server has in their place.

use std::hash::Hasher;

/// Number of bytes that are compared.
const COMPARED: usize = 4096;
/// The kernel reads whole pages, so the bytes before the end are read again with what follows.
const PAGE: u64 = 4096;

/// The end of what a program has read, and a hash of the last bytes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct ReadEnd {
    /// Offset of the next byte.
    at: u64,
    /// Number of bytes in the hash.
    length: u64,
    hash: u64,
}

impl ReadEnd {
    /// Number of bytes before an end at `at` that are worth comparing.
    pub(in crate::vfs) fn wanted(at: u64) -> usize {
        usize::try_from(at).map_or(COMPARED, |at| at.min(COMPARED))
    }

    /// Creates the end at `at` of a program that has read `bytes` just before it, or more.
    pub(in crate::vfs) fn new(at: u64, bytes: &[u8]) -> Self {
        let length = bytes.len().min(Self::wanted(at));
        let last = bytes.get(bytes.len() - length..).unwrap_or_default();
        Self {
            at,
            length: length as u64,
            hash: hash(last),
        }
    }

    /// Returns the offset of the next byte.
    pub(in crate::vfs) fn at(&self) -> u64 {
        self.at
    }

    /// Returns the offset from which the bytes are read again: at the beginning of a page, and
    /// before those that are compared.
    pub(in crate::vfs) fn first(&self) -> u64 {
        let page = self.at.saturating_sub(1) / PAGE * PAGE;
        page.min(self.at - self.length)
    }

    /// Whether `bytes`, which the server now has between [`Self::first`] and [`Self::at`], end like
    /// those that the program has read.
    pub(in crate::vfs) fn precedes(&self, bytes: &[u8]) -> bool {
        let is_whole = bytes.len() as u64 == self.at - self.first();
        let last = (bytes.len()).checked_sub(self.length as usize);
        let last = last.and_then(|last| bytes.get(last..));
        // Without a byte to compare, nothing proves that a file continues.
        let is_comparable = self.length > 0 || self.at == 0;
        is_comparable && is_whole && last.is_some_and(|last| hash(last) == self.hash)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(length: usize) -> Vec<u8> {
        (0..length).map(|number| (number % 251) as u8).collect()
    }

    fn again(end: &ReadEnd, file: &[u8]) -> Vec<u8> {
        let range = end.first() as usize..(end.at() as usize).min(file.len());
        file.get(range).unwrap_or_default().to_vec()
    }

    #[test]
    fn a_longer_file_with_the_same_end_there_continues_the_read_one() {
        for length in [0, 1, 4095, 4096, 4097, 8192, 10_000] {
            let mut file = log(length);
            for read in [length, length.min(100)] {
                let end = ReadEnd::new(length as u64, &file[length - read..]);
                assert!(end.precedes(&again(&end, &file)));
                file.extend(b"more");
                assert!(end.precedes(&again(&end, &file)), "{length} {read}");
                file.truncate(length);
            }
        }
    }

    #[test]
    fn a_longer_file_with_another_end_there_is_another() {
        for length in [1, 4096, 10_000] {
            let file = log(length);
            let end = ReadEnd::new(length as u64, &file);
            let mut other = log(2 * length);
            other[length - 1] ^= 1;
            assert!(!end.precedes(&again(&end, &other)), "{length}");
            assert!(!end.precedes(&again(&end, &file[..length - 1])));
            assert!(!end.precedes(&[]));
            let unknown = ReadEnd::new(length as u64, &[]);
            assert!(!unknown.precedes(&again(&unknown, &file)), "{length}");
        }
    }

    #[test]
    fn the_bytes_are_read_again_from_the_page_that_the_kernel_reads() {
        for at in [1, 100, 4096, 4097, 9000] {
            let end = ReadEnd::new(at, &log(at as usize));
            assert!(end.first() <= (at - 1) / PAGE * PAGE);
            assert!(at - end.first() <= 2 * PAGE);
        }
    }
}
