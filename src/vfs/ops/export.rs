//! `-o export`: inodes by their numbers, for an NFS server.

use crate::cancel::Blocking;
use crate::vfs::Vfs;
use crate::vfs::attr::{Attr, WithTtl};
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;

impl Vfs {
    /// Whether file handles survive the mount.
    pub(crate) fn is_exported(&self) -> bool {
        self.inodes.are_exported()
    }

    /// Looks up `.` or `..` in `ino` and counts one lookup of what it finds. `None` if `name` is an
    /// ordinary name.
    ///
    /// The kernel does so for a file handle whose inode it has forgotten, and to find the
    /// directories above it. Only with `-o export`.
    ///
    /// # Errors
    /// `STALE` if the inode or its name no longer exists.
    pub(super) fn lookup_dots(
        &self,
        ino: Ino,
        name: &[u8],
        may: Blocking<'_>,
    ) -> Option<Result<WithTtl<Attr>, Errno>> {
        match name {
            b"." => Some(self.lookup_number(ino, may)),
            b".." => {
                let parent = self.inodes.parent_and_name(ino);
                let parent = parent.map(|place| place.map_or(Ino::ROOT, |(parent, _)| parent));
                Some(parent.and_then(|parent| self.lookup_number(parent, may)))
            }
            _ => None,
        }
    }

    fn lookup_number(&self, ino: Ino, may: Blocking<'_>) -> Result<WithTtl<Attr>, Errno> {
        self.inodes.lookup_number(ino)?;
        let found = self.getattr(ino, may);
        if found.is_err() {
            self.forget(ino, 1);
        }
        match found {
            Err(Errno::NOENT) => Err(Errno::STALE),
            found => found,
        }
    }
}
