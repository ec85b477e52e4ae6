//! What the persistent cache has, without asking the server, and what it loses.

use crate::cache::Attributes;
use crate::disk_cache::{CachedShare, RenamedEntries, RenamedKind};
use crate::ftp::{Kind, RemotePath, Version};
use crate::vfs::Vfs;

impl Vfs {
    /// Returns how much of the file `path` can be read without the server, if it is as
    /// `attributes` say. Asks the local disk only.
    pub(in crate::vfs) fn cached_share(
        &self,
        path: &RemotePath,
        attributes: &Attributes,
    ) -> CachedShare {
        match &self.services.disk {
            Some(disk) => disk.share_of(path, &Version::from(attributes)),
            None => CachedShare::None,
        }
    }

    /// Removes what the cache has of the file `path`, which is gone or has another time.
    pub(super) fn forget_cached(&self, path: &RemotePath) {
        if let Some(disk) = &self.services.disk {
            disk.forget(path);
        }
    }

    /// Prepares the cache for the rename of `from`, of this kind, to `to` on the server.
    pub(in crate::vfs) fn begin_cached_rename(
        &self,
        from: &RemotePath,
        to: &RemotePath,
        kind: Kind,
    ) -> Option<RenamedEntries> {
        let disk = self.services.disk.as_ref()?;
        let listing = self.cache.snapshot(from);
        if kind == Kind::Directory && listing.is_some_and(|it| it.is_empty()) {
            // Nothing moves with it, so that the headers of all entries need not be read.
            return None;
        }
        let kind = match kind {
            Kind::Directory => RenamedKind::Directory,
            Kind::File | Kind::Symlink | Kind::Special | Kind::Unknown => RenamedKind::File,
        };
        Some(disk.begin_rename(from, to, kind))
    }
}
