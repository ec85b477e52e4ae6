//! What happens at close(2), fsync(2), and when the last descriptor of a file is gone.
//!
//! The kernel sends FLUSH for every close and waits for its answer, so this is where what was
//! written is stored (`-o writeback`: kept on the local disk). RELEASE follows when the last
//! descriptor is gone, and nobody waits for that.

use std::sync::Arc;

use crate::cache::Attributes;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::{ALWAYS, OpenFile};
use crate::vfs::table::handle::Handle;

impl Vfs {
    /// Whether closing `handle` has something to do.
    pub fn needs_flush(&self, handle: Handle) -> bool {
        self.files
            .find(handle)
            .is_ok_and(|opened| opened.stores && self.owes_closing(&opened.file))
    }

    /// What was written is stored (`close`): when it returns, the server has every byte, or the
    /// errno says why not. In `-o writeback` it is the local disk that has it.
    pub fn flush(&self, handle: Handle, wanted: &dyn Fn() -> bool) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        // A reader's close does not wait for somebody else's upload.
        if !opened.stores {
            return Ok(());
        }
        self.close_file(&opened.file, wanted)
    }

    /// A program closed `file`: stores it, or in `-o writeback` keeps it safely until it is stored.
    pub(in crate::vfs) fn close_file(
        &self,
        file: &Arc<OpenFile>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        if !self.options.writeback {
            return self.store(file, wanted);
        }
        let failure = file.take_failure();
        if !self.writeback.has_capacity_for(file) {
            return self.store(file, wanted);
        }
        match file.persist() {
            Ok(true) => self.store_later(file),
            Ok(false) => {}
            Err(error) => {
                log::warn!(
                    "cannot keep what was closed on the local disk, it is stored at once: {error}"
                );
                return self.store(file, wanted);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Whether syncing `handle` has something to do.
    pub fn needs_sync(&self, handle: Handle) -> bool {
        self.files.find(handle).is_ok_and(|opened| {
            (opened.stores && opened.file.is_dirty()) || opened.file.has_pending()
        })
    }

    /// Stores what was written, and what waits to be stored (`fsync`): when it returns, the server
    /// has every byte, or the errno says why not.
    pub fn sync(&self, handle: Handle, wanted: &dyn Fn() -> bool) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        // What happened before is of no interest to who asks how it is now.
        let _told = opened.file.take_failure();
        if opened.stores {
            self.store(&opened.file, wanted)
        } else {
            self.store_pending_now(&opened.file)
        }
    }

    /// Whether giving up `handle` has something to do on the server: to store pages of a shared
    /// mapping that were written after the last close, or to delete a file that lost its name.
    fn needs_release(&self, handle: Handle) -> bool {
        self.files.find(handle).is_ok_and(|opened| {
            let stores =
                opened.stores && opened.file.needs_store() && self.owes_closing(&opened.file);
            stores || opened.file.is_hidden()
        })
    }

    fn owes_closing(&self, file: &OpenFile) -> bool {
        file.is_dirty() && (!file.is_persisted() || self.writeback.is_refused(file.ino()))
    }

    /// Gives up `handle`; failures are only logged.
    pub fn release(&self, handle: Handle) {
        if let Some(file) = self.close_handle(handle) {
            self.discard_hidden(&file);
        }
    }

    /// Gives up `handle` where that does not wait for the server; false where it does.
    pub fn try_release(&self, handle: Handle) -> bool {
        if self.needs_release(handle) {
            return false;
        }
        // A file that was hidden this very moment is cleared away by the housekeeper.
        self.close_handle(handle);
        true
    }

    /// Gives up `handle`; the file, where no handle of it is left.
    fn close_handle(&self, handle: Handle) -> Option<Arc<OpenFile>> {
        let opened = self.files.remove(handle)?;
        self.forget_changed(&opened.file);
        let last_writer = opened.stores && opened.file.remove_writer();
        if last_writer
            && opened.file.needs_store()
            && !opened.file.is_persisted()
            && let Err(errno) = self.close_file(&opened.file, ALWAYS)
        {
            log::error!("what was written after the last close is lost: {errno:?}");
        }
        if last_writer {
            self.writeback.written(opened.file.ino());
        }
        let is_last = opened.file.remove_handle();
        is_last.then(|| Arc::clone(&opened.file))
    }

    /// Stores `file` and remembers what it became.
    pub(in crate::vfs) fn store(
        &self,
        file: &Arc<OpenFile>,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        let committed = file.commit(wanted);
        if committed.is_err()
            && !file.has_pending()
            && let Ok((directory, name)) = self.location(file.ino())
        {
            // The server may have the new file all the same. What waits is shown as it is here,
            // whatever the server has.
            self.invalidate(&directory, &name);
        }
        if let Some(stored) = committed? {
            self.on_stored(file, stored);
        }
        self.forget_pending(file);
        Ok(())
    }

    /// Remembers what `file` became when it was stored.
    pub(in crate::vfs) fn on_stored(&self, file: &OpenFile, stored: Attributes) {
        let ino = file.ino();
        // What was written past the kernel's pages is not in them.
        self.inodes.set_cached(ino, None);
        // A file removed meanwhile has no place in a listing.
        if let Ok((directory, name)) = self.location(ino) {
            if let Ok(path) = directory.join(&name) {
                self.prefetcher.forget(&path);
            }
            self.cache.insert(&directory, &name, stored);
            self.forget_variants(&directory, &name);
            self.touch_directory(&directory);
        }
    }
}
