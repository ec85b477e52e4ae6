//! The inodes in a directory, found by the hashes of their names. The names are in the inodes.

use hashbrown::HashTable;

use super::least_capacity;
use crate::vfs::table::ino::Ino;

/// The known inodes in a directory, each with another name.
#[derive(Debug, Default)]
pub(super) struct Children(HashTable<Ino>);

impl Children {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ino> {
        self.0.iter().copied()
    }

    /// Returns the inode with the name of this `hash` that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Ino) -> bool) -> Option<Ino> {
        self.0.find(hash, |ino| is_it(*ino)).copied()
    }

    /// Adds `ino`. `hash` returns the hash of an inode's name.
    pub(super) fn insert(&mut self, ino: Ino, hash: &dyn Fn(Ino) -> u64) {
        self.0.insert_unique(hash(ino), ino, |ino| hash(*ino));
    }

    /// Removes `ino`. `hash` returns the hash of an inode's name.
    pub(super) fn remove(&mut self, ino: Ino, hash: &dyn Fn(Ino) -> u64) {
        if let Ok(found) = self.0.find_entry(hash(ino), |it| *it == ino) {
            found.remove();
        }
        let needed = least_capacity(self.0.len());
        if self.0.capacity() > needed * 2 {
            self.0.shrink_to(needed, |ino| hash(*ino));
        }
    }

    /// Number of inodes for which there is space.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
