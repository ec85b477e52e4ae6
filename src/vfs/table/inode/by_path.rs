//! Inodes by their paths on the server.

use std::sync::Arc;

use super::{Inodes, ParentAndName};
use crate::ftp::RemotePath;

impl Inodes {
    /// Returns the directory and the name of `path`, if the kernel knows the directory.
    pub(in crate::vfs) fn place_at(&self, path: &RemotePath) -> Option<ParentAndName> {
        let directory = self.lock().at(&path.parent()?)?;
        Some((directory, Arc::from(path.name())))
    }

    /// Renames the inode at `from` to `to` after a rename was taken back, unless another inode has
    /// either name by now.
    pub(in crate::vfs) fn rename_back(&self, from: &RemotePath, to: &RemotePath) {
        let is_free = {
            let table = self.lock();
            table.at(from).is_some() && table.at(to).is_none()
        };
        if is_free && let Some((from, to)) = self.place_at(from).zip(self.place_at(to)) {
            self.rename((from.0, &from.1), (to.0, &to.1));
        }
    }
}
