//! The inodes of the names in a listing, one after the other.

use std::sync::Arc;

use super::{InodeTable, Inodes, NodeKind};
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::ino::Ino;

/// What the inode of a listed name is.
#[derive(Debug)]
pub(in crate::vfs) enum ListedInode {
    /// It has this number, and one lookup was counted.
    Counted(Ino),
    /// A program has it open, so it can differ from the listing. No lookup was counted.
    Open(Arc<OpenFile>),
}

impl Inodes {
    /// Like [`Self::lookup`], for a name of a listing in which it is of this kind.
    pub(in crate::vfs) fn lookup_listed(
        &self,
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<ListedInode, Errno> {
        let mut table = self.lock();
        let known = table.child(parent, name)?;
        let open = known.and_then(|ino| table.nodes.get(&ino)?.open_file());
        if let Some(file) = open {
            return Ok(ListedInode::Open(file));
        }
        let ino = if self.are_exported() {
            drop(table);
            self.lookup(parent, name, shape)?
        } else {
            table.count_lookup(known, parent, name, shape)?
        };
        Ok(ListedInode::Counted(ino))
    }
}

impl InodeTable {
    /// Counts one lookup of `name` in `parent`, where the inode `known` has the name, and returns
    /// its number. Creates an inode if none of this kind has the name.
    pub(super) fn count_lookup(
        &mut self,
        known: Option<Ino>,
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<Ino, Errno> {
        if let Some(ino) = known {
            let node = self.node_mut(ino)?;
            if node.shape == shape {
                node.lookups += 1;
                return Ok(ino);
            }
            self.detach(ino);
        }
        let ino = self.free_number(parent, name);
        self.add((ino, 0), parent, name, shape)?.lookups += 1;
        Ok(ino)
    }

    /// Returns the number of `name` in `parent`, or another one if that is in use: by a file that
    /// had the name before it was renamed or removed, or by one of another name, by chance.
    fn free_number(&mut self, parent: Ino, name: &[u8]) -> Ino {
        let mut ino = Ino::of_name(parent, name, 0);
        while self.nodes.contains_key(&ino) || self.claimed.has(ino) {
            // A program may create many files under one name and rename each.
            self.attempts += 1;
            ino = Ino::of_name(parent, name, self.attempts);
        }
        ino
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(inodes: &Inodes, name: &[u8], shape: NodeKind) -> Ino {
        match inodes.lookup_listed(Ino::ROOT, name, shape).unwrap() {
            ListedInode::Counted(ino) => ino,
            ListedInode::Open(_) => panic!("{} is open", name.escape_ascii()),
        }
    }

    #[test]
    fn a_listed_name_is_the_inode_that_a_lookup_finds() {
        let inodes = Inodes::new(None);
        let file = counted(&inodes, b"f", NodeKind::Leaf);
        assert_eq!(inodes.lookup(Ino::ROOT, b"f", NodeKind::Leaf), Ok(file));
        assert_eq!(counted(&inodes, b"f", NodeKind::Leaf), file);
        inodes.forget(file, 2, || {});
        assert_eq!(inodes.known(Ino::ROOT, b"f"), Some(file));
        inodes.forget(file, 1, || {});
        assert_eq!(inodes.known(Ino::ROOT, b"f"), None);
    }

    #[test]
    fn a_listed_name_of_another_kind_is_another_inode() {
        let inodes = Inodes::new(None);
        let file = counted(&inodes, b"x", NodeKind::Leaf);
        let directory = counted(&inodes, b"x", NodeKind::Directory);
        assert_ne!(file, directory);
        assert_eq!(inodes.parent_and_name(file), Err(Errno::STALE));
    }
}
