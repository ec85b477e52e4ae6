//! `ftpfs refresh`: forgets what is cached of a tree.

use crate::ftp::RemotePath;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::CachedNode;

impl Vfs {
    /// Returns the path on the server of `below`, a path relative to the mountpoint. Empty for the
    /// mountpoint itself.
    ///
    /// # Errors
    /// It contains a name that the server cannot have, or [`Errno::WOULD_BLOCK`] if the mount is
    /// not connected yet.
    pub(crate) fn path_below(&self, below: &[u8]) -> Result<RemotePath, Errno> {
        let names = below.split(|byte| *byte == b'/');
        let mut path = self.inodes.path(Ino::ROOT)?;
        for name in names.filter(|name| !name.is_empty() && *name != b".") {
            path = path.join(name)?;
        }
        Ok(path)
    }

    /// Forgets what is cached of `path` and everything below it. Returns the inodes whose
    /// attributes the kernel must forget.
    pub(crate) fn refresh(&self, path: &RemotePath) -> Vec<CachedNode> {
        if self.is_offline() {
            // What is known now is all that there is.
            self.remote.probe_now();
            return Vec::new();
        }
        self.cache.forget_tree(path);
        if let Some(parent) = path
            .parent()
            .filter(|_| self.inodes.root().as_ref() != Some(path))
        {
            self.cache.invalidate(&parent, path.name());
        }
        self.prefetcher.forget(path);
        self.refusals.clear();
        let nodes = self.inodes.tree(path);
        for node in nodes.iter().filter(|node| node.unused_file.is_some()) {
            self.inodes.set_cached(node.ino, None);
            self.forget_contents(node.ino);
        }
        nodes
    }
}
