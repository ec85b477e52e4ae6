//! Inodes whose numbers survive forget and remount (`-o export`).
//!
//! A file handle of an NFS client is a number and a generation. When the kernel no longer knows the
//! inode, it looks `.` up in that number, and [`Inodes::lookup_number`] finds its directory and
//! name on the disk.
//!
//! The lock of the numbers is taken before that of the table and is held while the disk works, so
//! that both change together. Looking up an inode that is in the table takes only the table's lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{InodeTable, Inodes, NodeKind};
use crate::disk_cache::InodeNumbers;
use crate::ftp::RemotePath;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;

/// Maximum number of directories above a file. It ends a circle of damaged records.
const MOST_DEPTH: usize = 4096;

/// The numbers on the disk; `None` after the end of the mount.
#[derive(Debug)]
pub(super) struct ExportedNumbers(Mutex<Option<InodeNumbers>>);

impl ExportedNumbers {
    fn lock(&self) -> MutexGuard<'_, Option<InodeNumbers>> {
        // A record is complete on the disk, or it is not valid.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inodes {
    /// Creates the table of the exported directory `root`, whose inodes have these numbers.
    pub(in crate::vfs) fn exported(root: RemotePath, numbers: InodeNumbers) -> Self {
        Self {
            numbers: Some(ExportedNumbers(Mutex::new(Some(numbers)))),
            ..Self::new(Some(root))
        }
    }

    /// Whether numbers and generations survive the mount.
    pub(in crate::vfs) fn are_exported(&self) -> bool {
        self.numbers.is_some()
    }

    /// Returns the generation of `ino`: 0 if numbers do not survive the mount.
    pub(in crate::vfs) fn generation(&self, ino: Ino) -> u32 {
        if !self.are_exported() {
            return 0;
        }
        let table = self.lock();
        table.nodes.get(&ino).map_or(0, |node| node.generation)
    }

    /// Leaves the numbers to the next mount. What has no inode yet gets none.
    pub(in crate::vfs) fn release_numbers(&self) {
        if let Some(numbers) = &self.numbers {
            *numbers.lock() = None;
        }
    }

    /// Finds the inode `ino`, which the kernel may have forgotten, and counts one lookup.
    ///
    /// # Errors
    /// `STALE` if the number stands for nothing.
    pub(in crate::vfs) fn lookup_number(&self, ino: Ino) -> Result<(), Errno> {
        if self.hold(ino) {
            return Ok(());
        }
        let numbers = self.numbers.as_ref().ok_or(Errno::STALE)?;
        let numbers = numbers.lock();
        let numbers = numbers.as_ref().ok_or(Errno::STALE)?;
        while !self.hold(ino) {
            let mut unknown = Vec::new();
            let mut at = ino;
            while !self.lock().nodes.contains_key(&at) {
                if unknown.len() == MOST_DEPTH {
                    return Err(Errno::STALE);
                }
                let found = numbers.read(at.0).ok_or(Errno::STALE)?;
                let parent = Ino(found.parent);
                unknown.push((at, found));
                at = parent;
            }
            let mut table = self.lock();
            if !table.nodes.contains_key(&at) {
                // The kernel forgot it in the meantime.
                continue;
            }
            for (ino, found) in unknown.into_iter().rev() {
                let shape = if found.is_directory {
                    NodeKind::Directory
                } else {
                    NodeKind::Leaf
                };
                let added = table.add_known((ino, found.generation), at, &found.name, shape);
                if let Err(errno) = added {
                    table.drop_unused(at);
                    return Err(errno);
                }
                at = ino;
            }
            if let Ok(node) = table.node_mut(ino) {
                node.lookups += 1;
                return Ok(());
            }
        }
        Ok(())
    }

    /// Like [`Inodes::lookup`]: a name without an inode gets the number that it has on the disk.
    pub(super) fn lookup_numbered(
        &self,
        numbers: &ExportedNumbers,
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<Ino, Errno> {
        if let Some(ino) = self.lock().lookup_known(parent, name, shape)? {
            return Ok(ino);
        }
        let mut numbers = numbers.lock();
        if let Some(ino) = self.lock().lookup_known(parent, name, shape)? {
            return Ok(ino);
        }
        let numbers = numbers.as_mut().ok_or(Errno::STALE)?;
        let given = numbers.number_of(parent.0, name, shape.is_directory());
        let ino = Ino(given.number);
        let mut table = self.lock();
        if let Some(other) = table.child(parent, name)? {
            table.detach(other);
        }
        if table.nodes.contains_key(&ino) {
            // The disk failed when the inode lost its name.
            return Err(Errno::IO);
        }
        let node = table.add((ino, given.generation), parent, name, shape)?;
        node.lookups += 1;
        Ok(ino)
    }

    /// Makes `name` in `parent` get a number that no file had. It is created now, so a file that
    /// had the name was removed by another client.
    pub(in crate::vfs) fn renumber(&self, parent: Ino, name: &[u8]) {
        let mut numbers = self.change_numbers(|_| {});
        if let Some(numbers) = numbers.as_deref_mut().and_then(Option::as_mut)
            && self.known(parent, name).is_none()
        {
            numbers.remove_name(parent.0, name);
        }
    }

    /// Changes the numbers on the disk, if there are any. They stay as they are until the result is
    /// dropped.
    pub(super) fn change_numbers(
        &self,
        change: impl FnOnce(&mut InodeNumbers),
    ) -> Option<MutexGuard<'_, Option<InodeNumbers>>> {
        let mut numbers = self.numbers.as_ref()?.lock();
        if let Some(numbers) = numbers.as_mut() {
            change(numbers);
        }
        Some(numbers)
    }
}

impl InodeTable {
    /// Adds an inode that the kernel knew before. Its name must not have another one.
    fn add_known(
        &mut self,
        numbered: (Ino, u32),
        parent: Ino,
        name: &[u8],
        shape: NodeKind,
    ) -> Result<(), Errno> {
        if !self.node(parent)?.shape.is_directory() || self.child(parent, name)?.is_some() {
            return Err(Errno::STALE);
        }
        self.add(numbered, parent, name, shape).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk_cache::CachePlace;

    fn root() -> RemotePath {
        RemotePath::new(b"/srv").unwrap()
    }

    fn inodes(base: &Path) -> Inodes {
        let directory = CachePlace::of(base, "anna", "h", 21).open().unwrap();
        Inodes::exported(root(), InodeNumbers::open(&directory, &root()).unwrap())
    }

    fn lookup(inodes: &Inodes, parent: Ino, name: &[u8]) -> (Ino, u32) {
        let kind = if name.starts_with(b"d") {
            NodeKind::Directory
        } else {
            NodeKind::Leaf
        };
        let ino = inodes.lookup(parent, name, kind).unwrap();
        (ino, inodes.generation(ino))
    }

    fn path(inodes: &Inodes, ino: Ino) -> Result<String, Errno> {
        inodes.path(ino).map(|path| path.to_string())
    }

    /// Number of known inodes, the root among them.
    fn count(inodes: &Inodes) -> usize {
        inodes.lock().nodes.len()
    }

    #[test]
    fn a_forgotten_inode_is_found_by_its_number() {
        let base = tempfile::tempdir().unwrap();
        let before = inodes(base.path());
        let (outer, _) = lookup(&before, Ino::ROOT, b"d1");
        let (inner, _) = lookup(&before, outer, b"d2");
        let file = lookup(&before, inner, b"f");
        for ino in [file.0, inner, outer] {
            before.forget(ino, 1, || {});
        }
        assert_eq!(count(&before), 1);
        before.lookup_number(file.0).unwrap();
        assert_eq!(path(&before, file.0).unwrap(), "/srv/d1/d2/f");
        assert_eq!(before.generation(file.0), file.1);
        assert_eq!(lookup(&before, Ino::ROOT, b"d1").0, outer);
        before.forget(outer, 1, || {});
        before.forget(file.0, 1, || {});
        assert_eq!(count(&before), 1);
        drop(before);
        let after = inodes(base.path());
        after.lookup_number(file.0).unwrap();
        after.lookup_number(file.0).unwrap();
        assert_eq!(path(&after, file.0).unwrap(), "/srv/d1/d2/f");
        assert_eq!(after.kind(inner), Ok(NodeKind::Directory));
        assert_eq!(lookup(&after, inner, b"f"), file);
        after.forget(file.0, 3, || {});
        assert_eq!(count(&after), 1);
        assert_eq!(after.lookup_number(Ino(99)), Err(Errno::STALE));
        assert_eq!(after.lookup_number(Ino(0)), Err(Errno::STALE));
        assert_eq!(after.lookup_number(Ino::ROOT), Ok(()));
        assert_eq!(after.generation(Ino::ROOT), 0);
    }

    #[test]
    fn a_removed_inode_is_not_found_and_a_renamed_one_is() {
        let base = tempfile::tempdir().unwrap();
        let inodes = inodes(base.path());
        let [removed, detached, replaced, renamed, moved] =
            [&b"r"[..], b"x", b"o", b"n", b"d"].map(|name| lookup(&inodes, Ino::ROOT, name).0);
        let (below, _) = lookup(&inodes, moved, b"f");
        inodes.remove(Ino::ROOT, b"r");
        inodes.detach(detached);
        inodes.rename((Ino::ROOT, b"n"), (Ino::ROOT, b"o"));
        inodes.rename((Ino::ROOT, b"d"), (Ino::ROOT, b"d2"));
        for ino in [removed, detached, replaced, renamed, moved, below] {
            inodes.forget(ino, 1, || {});
        }
        assert_eq!(count(&inodes), 1);
        for gone in [removed, detached, replaced] {
            assert_eq!(inodes.lookup_number(gone), Err(Errno::STALE));
        }
        inodes.lookup_number(renamed).unwrap();
        assert_eq!(path(&inodes, renamed).unwrap(), "/srv/o");
        inodes.lookup_number(below).unwrap();
        assert_eq!(path(&inodes, below).unwrap(), "/srv/d2/f");
        for name in [b"r", b"x"] {
            let (again, _) = lookup(&inodes, Ino::ROOT, name);
            assert!(again > below);
        }
        assert_eq!(lookup(&inodes, Ino::ROOT, b"o").0, renamed);
    }

    #[test]
    fn a_removed_directory_takes_what_is_below_it_along() {
        let base = tempfile::tempdir().unwrap();
        let inodes = inodes(base.path());
        let (directory, _) = lookup(&inodes, Ino::ROOT, b"d");
        let (file, _) = lookup(&inodes, directory, b"f");
        inodes.forget(file, 1, || {});
        inodes.remove(Ino::ROOT, b"d");
        inodes.forget(directory, 1, || {});
        assert_eq!(inodes.lookup_number(file), Err(Errno::STALE));
        assert_eq!(count(&inodes), 1);
    }

    #[test]
    fn a_name_of_another_kind_gets_another_number() {
        let base = tempfile::tempdir().unwrap();
        let inodes = inodes(base.path());
        let file = inodes.lookup(Ino::ROOT, b"x", NodeKind::Leaf).unwrap();
        let directory = inodes.lookup(Ino::ROOT, b"x", NodeKind::Directory).unwrap();
        assert_ne!(file, directory);
        assert_eq!(path(&inodes, file), Err(Errno::STALE));
        inodes.forget(file, 1, || {});
        assert_eq!(inodes.lookup_number(file), Err(Errno::STALE));
    }

    #[test]
    fn a_name_that_is_created_gets_another_number_unless_the_kernel_knows_it() {
        let base = tempfile::tempdir().unwrap();
        let inodes = inodes(base.path());
        let (known, _) = lookup(&inodes, Ino::ROOT, b"f");
        inodes.renumber(Ino::ROOT, b"f");
        assert_eq!(lookup(&inodes, Ino::ROOT, b"f").0, known);
        inodes.forget(known, 2, || {});
        inodes.renumber(Ino::ROOT, b"f");
        assert_eq!(inodes.lookup_number(known), Err(Errno::STALE));
        assert_ne!(lookup(&inodes, Ino::ROOT, b"f").0, known);
    }

    #[test]
    fn released_numbers_can_be_used_by_the_next_mount() {
        let base = tempfile::tempdir().unwrap();
        let before = inodes(base.path());
        let (known, _) = lookup(&before, Ino::ROOT, b"f");
        before.release_numbers();
        let after = inodes(base.path());
        assert_eq!(lookup(&after, Ino::ROOT, b"f").0, known);
        assert_eq!(lookup(&before, Ino::ROOT, b"f").0, known);
        let unknown = before.lookup(Ino::ROOT, b"g", NodeKind::Leaf);
        assert_eq!(unknown, Err(Errno::STALE));
        before.rename((Ino::ROOT, b"f"), (Ino::ROOT, b"g"));
        assert_eq!(path(&before, known).unwrap(), "/srv/g");
    }
}
