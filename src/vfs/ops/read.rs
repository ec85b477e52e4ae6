//! read: bytes of an open file, and the invalidation of caches when they differ from the expected
//! ones.

use crate::cache::{Answer, Attributes};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::RemotePath;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::read::Bytes;
use crate::vfs::table::handle::Handle;

impl Vfs {
    /// Returns up to `length` bytes from `offset`. Returns fewer only at the end of the file, or
    /// when no program waits for them any more.
    pub(crate) fn read(
        &self,
        handle: Handle,
        offset: u64,
        length: usize,
        may: Blocking<'_>,
    ) -> Result<Bytes, Errno> {
        let file = &self.files.find(handle)?.file;
        let mut read = file.read(offset, length, may);
        // Without the page cache, a program that polls with read(2) reads at the end.
        if read.as_ref().is_ok_and(|bytes| bytes.is_empty())
            && length > 0
            && file.polled().is_some()
            && self.follow(file.ino(), file, may)?
        {
            read = file.read(offset, length, may);
        }
        // The name of a replaced file belongs to another one.
        if matches!(read, Err(Errno::NOENT)) && self.is_nameless(file) {
            read = Err(Errno::STALE);
        }
        // Only a transfer, which is waited for, shows that the file is not as it was listed.
        if let Blocking::Yes(cancel) = may {
            match &read {
                Err(Errno::STALE) => self.forget_changed(file, cancel),
                Ok(bytes) if bytes.len() < length => self.correct_size(file, cancel),
                Ok(_) | Err(_) => {}
            }
        }
        read
    }

    /// Shows the size that reading has revealed, if the server listed a wrong one.
    fn correct_size(&self, file: &OpenFile, cancel: &Cancel) {
        let Some(size) = file.take_corrected_size() else {
            return;
        };
        let Ok((directory, name)) = self.location(file.ino()) else {
            return;
        };
        let known = self.cache.lookup(&directory, &name);
        self.check_listed_size(&directory, &name, cancel);
        if let Answer::Present(known, _) = known {
            let size = Some(size);
            let attributes = Attributes { size, ..known };
            self.cache.insert(&directory, &name, attributes);
        }
    }

    /// Forgets the listing of `directory` if the server lists wrong sizes.
    fn check_listed_size(&self, directory: &RemotePath, name: &[u8], cancel: &Cancel) {
        let Ok(path) = directory.join(name) else {
            return;
        };
        if let Err(error) = self.remote.with(cancel).check_listed_size(&path) {
            log::debug!("{error}");
        }
        self.cache.forget(directory);
    }

    /// Makes the next open see the file that the server has now, and none of the pages that the
    /// kernel received while it changed.
    pub(super) fn forget_changed(&self, file: &OpenFile, cancel: &Cancel) {
        if !file.has_changed() {
            return;
        }
        self.inodes.set_cached(file.ino(), None);
        if let Ok((directory, name)) = self.location(file.ino()) {
            self.check_listed_size(&directory, &name, cancel);
        }
    }
}
