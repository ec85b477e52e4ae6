//! The cached directories by path, by last use, and by subtree.
//!
//! An ordered set of the paths next to the LRU makes a subtree a range. Invalidating or moving a
//! subtree costs its own size, no matter how much else is cached.

use std::collections::BTreeSet;
use std::ops::Bound;

use lru::LruCache;

use crate::ftp::RemotePath;

use super::directory::Directory;

/// Overhead of a directory in bytes, besides its own data and its path: reference counts of the
/// path, the LRU's node, its slot in the hash table, and its entry in the ordered set.
const NODE_BYTES: usize = 144;

/// All cached directories.
#[derive(Debug)]
pub(super) struct DirectoryTable {
    directories: LruCache<RemotePath, Directory>,
    /// The keys of `directories`, in order.
    paths: BTreeSet<RemotePath>,
    bytes: usize,
    /// Number of directories visited to find those of a subtree.
    #[cfg(test)]
    pub(super) visited: usize,
}

impl DirectoryTable {
    pub(super) fn new() -> Self {
        Self {
            directories: LruCache::unbounded(),
            paths: BTreeSet::new(),
            bytes: 0,
            #[cfg(test)]
            visited: 0,
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.directories.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RemotePath, &Directory)> {
        self.directories.iter()
    }

    pub(super) fn contains(&self, path: &RemotePath) -> bool {
        self.directories.contains(path)
    }

    /// Returns the directory at `path` without marking it as used.
    pub(super) fn peek(&self, path: &RemotePath) -> Option<&Directory> {
        self.directories.peek(path)
    }

    /// Returns the directory at `path` and marks it as most recently used.
    pub(super) fn get(&mut self, path: &RemotePath) -> Option<&Directory> {
        self.directories.get(path)
    }

    /// Returns the directory at `path` for changes that do not affect its size, and marks it as
    /// most recently used.
    pub(super) fn get_mut(&mut self, path: &RemotePath) -> Option<&mut Directory> {
        self.directories.get_mut(path)
    }

    /// Changes the directory at `path`, which is created if missing, and marks it as most recently
    /// used. Evicts the least recently used directories until the total is at most `max_bytes`.
    pub(super) fn change<R>(
        &mut self,
        path: &RemotePath,
        max_bytes: usize,
        change: impl FnOnce(&mut Directory) -> R,
    ) -> R {
        let is_new = !self.directories.contains(path);
        let directory = self
            .directories
            .get_or_insert_mut(path.clone(), Directory::default);
        let before = if is_new { 0 } else { cost(path, directory) };
        let result = change(directory);
        let after = cost(path, directory);
        if is_new {
            self.paths.insert(path.clone());
        }
        self.bytes = (self.bytes + after).saturating_sub(before);
        if after > max_bytes {
            // A directory that exceeds the limit by itself must not evict all others.
            self.remove(path);
        }
        self.evict(max_bytes);
        result
    }

    pub(super) fn remove(&mut self, path: &RemotePath) -> Option<Directory> {
        let directory = self.directories.pop(path)?;
        self.removed(path, &directory);
        Some(directory)
    }

    fn evict(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes {
            let Some((path, directory)) = self.directories.pop_lru() else {
                return;
            };
            self.removed(&path, &directory);
        }
    }

    /// Returns the paths of `ancestor` and of all directories below it, in order.
    pub(super) fn paths_below(&mut self, ancestor: &RemotePath) -> Vec<RemotePath> {
        let mut paths: Vec<_> = self.paths.get(ancestor).into_iter().cloned().collect();
        // Siblings whose names begin with the ancestor's name can sort between it and its
        // descendants.
        let mut start = ancestor.as_bytes().to_vec();
        if !ancestor.is_root() {
            start.push(b'/');
        }
        let range = (Bound::Included(start.as_slice()), Bound::Unbounded);
        let from_start = self.paths.range::<[u8], _>(range);
        let below = from_start.take_while(|path| path.below(ancestor).is_some());
        paths.extend(below.filter(|path| *path != ancestor).cloned());
        #[cfg(test)]
        {
            self.visited += paths.len();
        }
        paths
    }

    #[cfg(test)]
    pub(super) fn recounted_bytes(&self) -> usize {
        assert!(self.paths.iter().all(|path| self.contains(path)));
        assert_eq!(self.paths.len(), self.len());
        self.iter().map(|(path, known)| cost(path, known)).sum()
    }

    fn removed(&mut self, path: &RemotePath, directory: &Directory) {
        self.paths.remove(path);
        self.bytes = self.bytes.saturating_sub(cost(path, directory));
    }
}

/// Bytes that a directory takes in the table.
fn cost(path: &RemotePath, directory: &Directory) -> usize {
    path.as_bytes().len() + NODE_BYTES + directory.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn table(paths: &[&str]) -> DirectoryTable {
        let mut table = DirectoryTable::new();
        for text in paths {
            table.change(&path(text), NO_LIMIT, |_| ());
        }
        table
    }

    #[test]
    fn a_subtree_is_its_root_and_what_is_below_it() {
        let mut table = table(&["/", "/a", "/a-b", "/a/c", "/a/c/d", "/a.b/c", "/ab", "/b"]);
        for (ancestor, expected) in [
            ("/a", &["/a", "/a/c", "/a/c/d"] as &[&str]),
            ("/a/c", &["/a/c", "/a/c/d"]),
            ("/none", &[]),
            ("/a.b", &["/a.b/c"]),
        ] {
            let expected: Vec<_> = expected.iter().map(|text| path(text)).collect();
            assert_eq!(table.paths_below(&path(ancestor)), expected, "{ancestor}");
        }
        assert_eq!(table.paths_below(&RemotePath::root()).len(), 8);
    }

    #[test]
    fn a_subtree_costs_its_own_size() {
        let mut table = table(&["/d", "/d/e", "/d/f"]);
        for number in 0..1_000 {
            table.change(&path(&format!("/other/{number}")), NO_LIMIT, |_| ());
        }
        table.visited = 0;
        for ancestor in ["/d", "/new", "/other/7"] {
            table.paths_below(&path(ancestor));
        }
        assert_eq!(table.visited, 4);
    }

    #[test]
    fn what_is_dropped_is_no_longer_found() {
        let mut table = DirectoryTable::new();
        let each = cost(&path("/d/0"), &Directory::default());
        for number in 0..5 {
            table.change(&path(&format!("/d/{number}")), 3 * each, |_| ());
        }
        let left = ["/d/2", "/d/3", "/d/4"].map(path);
        assert_eq!(table.paths_below(&path("/d")), left);
        table.change(&path("/d/3"), 1, |_| ());
        assert_eq!((table.len(), table.bytes()), (0, 0));
        assert_eq!(table.recounted_bytes(), 0);
    }
}
