//! The inodes in a directory, found by the hashes of their names. The names are in the inodes.

use hashbrown::HashTable;

use super::least_capacity;
use crate::vfs::table::ino::Ino;

/// The known inodes in a directory, each with another name.
#[derive(Debug, Default)]
pub(super) struct Children(HashTable<Child>);

/// An inode, and the hash of its name. A table that grows needs all hashes, and the names would
/// have to be fetched from all over the memory.
#[derive(Debug, Clone, Copy)]
struct Child {
    ino: Ino,
    hash: u64,
}

impl Children {
    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns all of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Ino> {
        self.0.iter().map(|child| child.ino)
    }

    /// Returns the inode with the name of this `hash` that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Ino) -> bool) -> Option<Ino> {
        let is_it = |child: &Child| child.hash == hash && is_it(child.ino);
        self.0.find(hash, is_it).map(|child| child.ino)
    }

    /// Adds `ino`, whose name has this `hash`.
    pub(super) fn insert(&mut self, ino: Ino, hash: u64) {
        self.0
            .insert_unique(hash, Child { ino, hash }, |child| child.hash);
    }

    /// Removes `ino`, whose name has this `hash`.
    pub(super) fn remove(&mut self, ino: Ino, hash: u64) {
        if let Ok(found) = self.0.find_entry(hash, |child| child.ino == ino) {
            found.remove();
        }
        let needed = least_capacity(self.0.len());
        if self.0.capacity() > needed * 2 {
            self.0.shrink_to(needed, |child| child.hash);
        }
    }

    /// Number of inodes for which there is space.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
