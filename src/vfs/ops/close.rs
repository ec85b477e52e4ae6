//! close(2), fsync(2), and the release of a file's last descriptor.
//!
//! The kernel sends FLUSH for every close and waits for the reply, so written data is stored at
//! that point (with `-o writeback`: persisted on the local disk). RELEASE follows after the last
//! descriptor is closed, and no program waits for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::cache::Attributes;
use crate::cancel::{Blocking, Cancel};
use crate::sys;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::handle::{FileHandle, Handle};

impl Vfs {
    /// Stores what was written (close(2)). On success, the server has every byte; otherwise the
    /// errno gives the reason. With `-o writeback`, the local disk has the data instead.
    ///
    /// `thread` of the program closes it.
    pub(crate) fn flush(
        &self,
        handle: Handle,
        thread: u32,
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        // A reader's close does not wait for another program's upload.
        if !opened.stores() || !self.owes_closing(&opened.file) {
            return Ok(());
        }
        let cancel = may.cancel()?;
        let kept = opened.file.keep_all();
        if kept.is_none() && opened.file.is_partial() && self.is_beside(&opened, thread) {
            return Ok(());
        }
        self.close_file(&opened.file, cancel)
    }

    /// Records that `thread` of a program opened the file for writing.
    pub(crate) fn record_opener(&self, handle: Handle, thread: u32) {
        if let Ok(opened) = self.files.find(handle)
            && opened.stores()
            && let Some(process) = sys::process_of(thread)
        {
            opened.opener.store(process, Ordering::Relaxed);
        }
    }

    /// Whether this is not the close of the program that writes a partial spool. What is written
    /// after that is stored would need the whole file here.
    ///
    /// Another program may have opened the file without writing it. A child process closes what it
    /// inherited. And one that did write may be one of several: the process that opened the file is
    /// seen to have it open for writing.
    fn is_beside(&self, closed: &FileHandle, thread: u32) -> bool {
        let Some(process) = sys::process_of(thread) else {
            return false;
        };
        let (others, has_written) = {
            let writers = closed.writers.lock();
            let mut writers = writers.unwrap_or_else(PoisonError::into_inner);
            if writers.is_empty() {
                return closed.file.has_other_writers();
            }
            let mut has_written = false;
            for writer in writers.iter_mut() {
                if writer.process == Some(process) {
                    has_written = true;
                    writer.has_closed = true;
                }
            }
            let open = writers.iter().filter(|writer| !writer.has_closed);
            let others: Vec<_> = open.filter_map(|writer| writer.process).collect();
            (others, has_written)
        };
        if !has_written {
            return others.into_iter().any(sys::is_alive);
        }
        let opener = closed.opener.load(Ordering::Relaxed);
        let ino = closed.file.ino();
        opener != 0
            && opener != process
            && self
                .location(ino)
                .is_ok_and(|(_, name)| sys::may_still_write(opener, &name, ino.0))
    }

    /// Stores `file` after a program closed it, or with `-o writeback` persists it until it is
    /// stored.
    pub(in crate::vfs) fn close_file(
        &self,
        file: &Arc<OpenFile>,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if !self.options.writeback {
            return self.store(file, cancel);
        }
        let failure = file.take_failure();
        if file.is_partial()
            || file.is_copied()
            || !self
                .writeback
                .has_capacity_for(file, self.is_offline(), self.options.names)
        {
            if let Ok(path) = self.inodes.path(file.ino()) {
                self.settle_before_store(&path, cancel)?;
            }
            return self.store(file, cancel);
        }
        match file.persist() {
            Ok(true) => self.store_later(file),
            Ok(false) => {}
            Err(error) => {
                log::warn!(
                    path = self.inodes.path(file.ino()).ok();
                    "cannot persist a closed file on the local disk; storing it immediately: {error}"
                );
                return self.store(file, cancel);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Stores what was written and what is pending (fsync(2)). On success, the server has every
    /// byte; otherwise the errno gives the reason.
    pub(crate) fn sync(&self, handle: Handle, may: Blocking<'_>) -> Result<(), Errno> {
        let opened = self.files.find(handle)?;
        let is_dirty = opened.stores() && opened.file.is_dirty();
        let path = self.inodes.path(opened.file.ino());
        if let Ok(path) = &path
            && !self.names.places(path, false).0.is_empty()
        {
            let cancel = may.cancel()?;
            self.unpark(path);
            self.settle(path, cancel)?;
        }
        if let Ok(path) = &path
            && let Some(errno) = self.names.take_failure(path)
        {
            return Err(errno);
        }
        if !is_dirty && !opened.file.has_sealed() {
            return Ok(());
        }
        let cancel = may.cancel()?;
        // fsync reports the current state, not earlier failures.
        let _told = opened.file.take_failure();
        self.look_before_sync();
        if opened.stores() {
            self.store(&opened.file, cancel)
        } else {
            self.store_sealed_now(&opened.file, cancel)
        }
    }

    /// Looks for a server that could not be reached before something is synced. Many syncs in a row
    /// do not wait for it each.
    pub(in crate::vfs) fn look_before_sync(&self) {
        /// Longest wait. A server that is away may answer nothing at all.
        const PATIENCE: Duration = Duration::from_secs(2);
        if self.is_offline() {
            self.remote.look_once_for_server(PATIENCE);
        }
    }

    /// Releases `handle`. Failures of storing are only logged.
    ///
    /// # Errors
    /// Only [`Errno::WOULD_BLOCK`]; the handle is still open then.
    pub(crate) fn release(&self, handle: Handle, may: Blocking<'_>) -> Result<(), Errno> {
        let Ok(opened) = self.files.find(handle) else {
            return Ok(());
        };
        if self.needs_release(&opened) {
            may.cancel()?;
        }
        if self.files.remove(handle).is_none() {
            return Ok(());
        }
        self.kernel_reads.close(opened.file.ino());
        // What came up since then is left to the next open and to the housekeeper.
        let cancel = may.cancel().ok();
        if let Some(cancel) = cancel {
            self.forget_changed(&opened.file, cancel);
        }
        let last_writer = opened.stores() && opened.file.remove_writer();
        let path = || self.inodes.path(opened.file.ino()).ok();
        if last_writer
            && cancel.is_none()
            && opened.file.needs_store()
            && !opened.file.is_persisted()
        {
            log::error!(path = path(); "data written while its file was closed is lost");
        }
        if let Some(cancel) = cancel
            && last_writer
            && opened.file.needs_store()
            && !opened.file.is_persisted()
            && let Err(errno) = self.close_file(&opened.file, cancel)
        {
            log::error!(path = path(); "data written after the last close is lost: {errno:?}");
        }
        if last_writer {
            self.writeback.written(opened.file.ino());
        }
        if opened.file.remove_handle() {
            if let Some(cancel) = cancel {
                self.discard_hidden(&opened.file, cancel);
            }
            let ino = opened.file.ino();
            drop(opened);
            self.inodes.drop_closed(ino);
        }
        Ok(())
    }

    /// Whether releasing `opened` requires work on the server: storing pages of a shared mapping
    /// that were written after the last close, deleting a file that lost its name or a copy that
    /// was not stored, or asking for the size of a file that changed.
    fn needs_release(&self, opened: &FileHandle) -> bool {
        let file = &opened.file;
        let stores = opened.stores() && file.needs_store() && self.owes_closing(file);
        stores || file.is_hidden() || file.is_copied() || file.has_changed()
    }

    fn owes_closing(&self, file: &OpenFile) -> bool {
        file.is_dirty() && (!file.is_persisted() || self.writeback.is_refused(file.ino()))
    }

    /// Stores `file` and records the resulting attributes.
    pub(in crate::vfs) fn store(&self, file: &Arc<OpenFile>, cancel: &Cancel) -> Result<(), Errno> {
        let path = self.inodes.path(file.ino());
        if let Ok(path) = &path {
            self.unpark(path);
            self.settle(path, cancel)?;
        }
        let committed = file.commit(cancel, |stored| self.on_stored(file, stored));
        if let Err(errno) = &committed {
            self.names.store_undone(file.ino());
            // It may have another name than before the upload.
            if let Ok(path) = self.inodes.path(file.ino()) {
                self.record_not_stored(&path, file, *errno);
            }
        }
        if committed.is_err()
            && !file.has_sealed()
            && let Ok((directory, name)) = self.location(file.ino())
        {
            // The server may have the new file anyway. A pending file is shown as it is here,
            // whatever the server has.
            self.invalidate(&directory, &name);
        }
        committed?;
        self.forget_sealed(file);
        Ok(())
    }

    /// Records the attributes of `file` after it was stored. The caller holds its gate.
    pub(in crate::vfs) fn on_stored(&self, file: &OpenFile, stored: Attributes) {
        let ino = file.ino();
        // The kernel's pages do not contain data written with direct I/O.
        self.inodes.set_cached(ino, None);
        // A file that was removed in the meantime does not belong in a listing.
        if let Ok((directory, name)) = self.location(ino) {
            if let Ok(path) = directory.join(&name) {
                self.prefetcher.forget(&path);
                self.record_stored(&path);
            }
            self.cache.insert(&directory, &name, stored);
            self.forget_variants(&directory, &name);
            self.touch_directory(&directory);
        }
        file.listed();
    }
}
