//! What the persistent cache has, without asking the server.

use crate::cache::Attributes;
use crate::disk_cache::CachedShare;
use crate::ftp::{RemotePath, Version};
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
}
