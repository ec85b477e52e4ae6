//! write: bytes into the spool of an open file.

use std::sync::Arc;

use crate::cancel::Blocking;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::Position;
use crate::vfs::table::handle::{FileHandle, Handle};

impl Vfs {
    /// Writes `data` at `offset`, or at the end of a file opened with O_APPEND.
    pub(crate) fn write(
        &self,
        handle: Handle,
        offset: u64,
        data: &[u8],
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        let (opened, position) = self.writable(handle, offset)?;
        opened.file.confirm_changeable(position)?;
        self.with_room(may, || opened.file.write(position, data, may))
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
