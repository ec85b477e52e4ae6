//! Files that a killed mount left, which this mount shows and uploads.

use std::sync::Arc;

use crate::journal::{Pending, StateDir};
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::local::spool::Spool;
use crate::vfs::table::ino::Ino;
use crate::vfs::table::inode::NodeKind;

impl Vfs {
    /// Shows the contents in `spool`, which a killed mount left with its state in `place`, as the
    /// file that `pending` names, and puts them into the writeback queue. Sends nothing. Returns
    /// its inode.
    ///
    /// # Errors
    /// The file is not below the mounted directory.
    pub(in crate::vfs) fn adopt(
        &self,
        spool: Spool,
        pending: &Pending,
        place: &StateDir,
    ) -> Result<Ino, Errno> {
        let root = self.inodes.path(Ino::ROOT)?;
        let below = pending.target.below(&root).ok_or(Errno::NOENT)?;
        let mut names: Vec<_> = below.split(|byte| *byte == b'/').collect();
        let name = names.pop().ok_or(Errno::NOENT)?;
        let mut ancestors = vec![Ino::ROOT];
        let mut parent = Ino::ROOT;
        for name in names {
            parent = self.inodes.lookup(parent, name, NodeKind::Directory)?;
            ancestors.push(parent);
        }
        let ino = self.inodes.lookup(parent, name, NodeKind::Leaf)?;
        let open = || OpenFile::left(&self.services, ino, spool, pending, place);
        let file = self.inodes.share_open_file(ino, |_| false, open)?;
        self.queue_store(&Arc::clone(&file));
        // The queue holds the file, and the file its directories.
        self.forget(ino, 1);
        for ancestor in ancestors.iter().skip(1) {
            self.forget(*ancestor, 1);
        }
        Ok(ino)
    }
}
