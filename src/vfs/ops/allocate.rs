//! fallocate(2) in its default mode, which posix_fallocate(3) uses: extends a file.

use crate::cancel::Blocking;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::Position;
use crate::vfs::table::handle::Handle;

impl Vfs {
    /// Extends the file to at least `offset + length` bytes with zeros, and reserves their space on
    /// the local disk. A file that is as large already stays as it is: the server has its space.
    ///
    /// # Errors
    /// `OPNOTSUPP` for other modes: no space can be reserved beyond the end of a file on a server,
    /// and no holes be punched. `NOSPC` if the spool has no room; those of a truncation.
    pub(crate) fn allocate(
        &self,
        handle: Handle,
        (offset, length): (u64, u64),
        mode: i32,
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        if mode != 0 {
            return Err(Errno::OPNOTSUPP);
        }
        let opened = self.files.find(handle)?;
        if !opened.is_writable() {
            return Err(Errno::BADF);
        }
        let size = offset.checked_add(length);
        let size = size.filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or(Errno::FBIG)?;
        let file = &opened.file;
        let before = file.visible_size();
        if before.is_some_and(|before| before >= size) {
            return Ok(());
        }
        let cancel = may.cancel()?;
        self.inodes.set_cached(file.ino(), None);
        self.with_room(
            (file, Position::At(size)),
            may,
            || file.allocate(size, cancel),
            || {
                file.confirm_changeable(Position::At(size)).is_err()
                    || file.is_too_large(Position::At(size))
                    || file.grows_too_much(size)
            },
        )
    }
}
