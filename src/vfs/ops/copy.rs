//! copy_file_range: a whole file copied on the server, without its bytes.
//!
//! What this refuses, the kernel copies by reading and writing (`OPNOTSUPP`), so no program
//! notices.

use crate::cancel::Blocking;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::handle::Handle;

/// Size in bytes from which a copy on the server is worth its round trips. Smaller files are read
/// and stored in fewer.
const LEAST: u64 = 64 << 10;

/// Length of the kernel's largest request with the largest page size. It splits a larger file.
const KERNEL_MOST: u64 = 0xffff_0000;

/// One end of a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopyEnd {
    /// The open file.
    pub handle: Handle,
    /// The offset of the first byte.
    pub offset: u64,
}

impl Vfs {
    /// Copies `length` bytes, or fewer at the end of the file. Returns their number.
    ///
    /// # Errors
    /// `OPNOTSUPP` unless a whole, unchanged file is copied to an empty one, and the server can do
    /// that.
    pub(crate) fn copy_range(
        &self,
        from: CopyEnd,
        to: CopyEnd,
        length: u64,
        may: Blocking<'_>,
    ) -> Result<u64, Errno> {
        let (source, target) = (self.files.find(from.handle)?, self.files.find(to.handle)?);
        if !target.is_writable() {
            return Err(Errno::BADF);
        }
        let version = source.file.copy_source().ok_or(Errno::OPNOTSUPP)?;
        if from.offset == to.offset
            && let Some(count) =
                target
                    .file
                    .continue_copy(version.ino, &version.version, from.offset, length)
        {
            return Ok(count);
        }
        let size = version.size();
        let is_whole = from.offset == 0
            && to.offset == 0
            && (length >= size || length >= KERNEL_MOST)
            && source.file.ino() != target.file.ino();
        if !is_whole
            || size < LEAST
            || !target.file.may_be_copied_to()
            || self.is_awaited(target.file.ino())
            || !self.remote.copies_files()
        {
            return Err(Errno::OPNOTSUPP);
        }
        let cancel = may.cancel()?;
        let path = self.inodes.path(version.ino)?;
        self.inodes.set_cached(target.file.ino(), None);
        target.file.copy_on_server(version, &path, length, cancel)
    }

    /// Undoes a copy to `handle` whose program was interrupted before it got the result.
    pub(crate) fn undo_copy(&self, handle: Handle) {
        if let Ok(target) = self.files.find(handle) {
            target.file.undo_copy();
        }
    }
}
