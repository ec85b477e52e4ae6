//! Received bytes that are not yet split into lines.

use std::ops::Deref;

/// Received bytes. Removing them from the front moves no others.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Vec<u8>,
    /// Number of bytes at the front that were removed.
    removed: usize,
}

impl Unread {
    /// Adds bytes at the end.
    pub(super) fn extend_from_slice(&mut self, received: &[u8]) {
        // What is left is at most one line, unless several replies arrived together.
        self.bytes.drain(..self.removed);
        self.removed = 0;
        self.bytes.extend_from_slice(received);
    }

    /// Removes at most `count` bytes from the front.
    pub(super) fn remove(&mut self, count: usize) {
        self.removed = self.bytes.len().min(self.removed + count);
    }
}

impl Deref for Unread {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.removed..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_at_the_front_and_arrive_at_the_end() {
        let mut unread = Unread::default();
        assert!(unread.is_empty());
        unread.extend_from_slice(b"abc");
        unread.remove(2);
        assert_eq!(&*unread, b"c");
        unread.extend_from_slice(b"de");
        assert_eq!(&*unread, b"cde");
        unread.remove(9);
        assert!(unread.is_empty());
        unread.extend_from_slice(b"f");
        assert_eq!(&*unread, b"f");
    }

    #[test]
    fn removing_moves_no_bytes() {
        let mut unread = Unread::default();
        unread.extend_from_slice(b"one two");
        let last = unread.last().map(std::ptr::from_ref);
        unread.remove(4);
        assert_eq!(unread.last().map(std::ptr::from_ref), last);
    }
}
