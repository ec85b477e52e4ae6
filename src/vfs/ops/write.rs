//! write: bytes into the spool of an open file.

use std::sync::Arc;

use crate::cancel::Cancel;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::Position;
use crate::vfs::table::handle::{FileHandle, Handle};

impl Vfs {
    /// Like [`Vfs::write`], if it needs no waiting.
    pub(crate) fn try_write(
        &self,
        handle: Handle,
        offset: u64,
        data: &[u8],
    ) -> Option<Result<(), Errno>> {
        let (opened, position) = match self.writable(handle, offset) {
            Ok(found) => found,
            Err(errno) => return Some(Err(errno)),
        };
        match opened.file.try_write(position, data)? {
            Err(Errno::NOSPC) if self.writeback.has_runnable() => None,
            written => Some(written),
        }
    }

    /// Writes `data` at `offset`, or at the end of a file opened with O_APPEND.
    pub(crate) fn write(
        &self,
        handle: Handle,
        offset: u64,
        data: &[u8],
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        let (opened, position) = self.writable(handle, offset)?;
        self.with_room(|| opened.file.write(position, data, cancel))
    }

    fn writable(&self, handle: Handle, offset: u64) -> Result<(Arc<FileHandle>, Position), Errno> {
        let opened = self.files.find(handle)?;
        if !opened.writable {
            return Err(Errno::BADF);
        }
        let position = if opened.append {
            Position::End
        } else {
            Position::At(offset)
        };
        self.inodes.set_cached(opened.file.ino(), None);
        Ok((opened, position))
    }
}
