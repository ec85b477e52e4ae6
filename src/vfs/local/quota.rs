//! The disk space that all local files of a mount may take, and temporary files with contents that
//! the server also has.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::SpoolError;

/// The limit of all local files together, and the bytes reserved.
#[derive(Debug)]
pub(in crate::vfs) struct Quota {
    limit: Option<u64>,
    used: AtomicU64,
    /// Number of times that room was made.
    rooms: Mutex<u64>,
    made: Condvar,
}

/// An unnamed temporary file with a reserved length, deleted when this is dropped.
#[derive(Debug)]
pub(in crate::vfs) struct QuotaFile {
    file: File,
    account: Arc<Quota>,
    bytes: u64,
}

impl Quota {
    /// Creates a quota of at most `limit` bytes.
    pub(in crate::vfs) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
            rooms: Mutex::new(0),
            made: Condvar::new(),
        }
    }

    /// Reserves `count` bytes.
    ///
    /// # Errors
    /// Fewer bytes are available.
    pub(in crate::vfs) fn reserve(&self, count: u64) -> Result<(), SpoolError> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let grown = |used: u64| used.checked_add(count).filter(|sum| *sum <= limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map(drop)
            .map_err(|_| SpoolError::NoSpace)
    }

    /// Adds `count` bytes that are on the disk already, whatever the limit is.
    pub(in crate::vfs) fn take(&self, count: u64) {
        self.used.fetch_add(count, Ordering::Relaxed);
    }

    /// Releases `count` bytes.
    pub(in crate::vfs) fn release(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// Releases `count` bytes that were discarded to make room for others.
    pub(in crate::vfs) fn make_room(&self, count: u64) {
        self.release(count);
        *self.lock_rooms() += 1;
        self.made.notify_all();
    }

    /// Returns the limit in bytes.
    pub(in crate::vfs) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Returns the number of times that room was made.
    pub(in crate::vfs) fn rooms(&self) -> u64 {
        *self.lock_rooms()
    }

    /// Waits until [`Self::rooms`] is no longer `seen`, at most `patience`.
    pub(in crate::vfs) fn wait_for_room(&self, seen: u64, patience: Duration) {
        let rooms = self.lock_rooms();
        let is_same = |rooms: &mut u64| *rooms == seen;
        drop(self.made.wait_timeout_while(rooms, patience, is_same));
    }

    fn lock_rooms(&self) -> MutexGuard<'_, u64> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of reserved bytes.
    pub(in crate::vfs) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl QuotaFile {
    /// Creates a file for `bytes` bytes with `make`.
    ///
    /// # Errors
    /// The quota has no room for them, or the file cannot be created.
    pub(in crate::vfs) fn new(
        account: &Arc<Quota>,
        bytes: u64,
        make: impl FnOnce() -> io::Result<File>,
    ) -> Result<Self, SpoolError> {
        account.reserve(bytes)?;
        match make() {
            Ok(file) => Ok(Self {
                file,
                account: Arc::clone(account),
                bytes,
            }),
            Err(error) => {
                account.release(bytes);
                Err(error.into())
            }
        }
    }

    /// Returns the file.
    pub(in crate::vfs) fn file(&self) -> &File {
        &self.file
    }

    /// Creates a file whose length is not counted.
    #[cfg(test)]
    pub(in crate::vfs) fn unaccounted() -> Self {
        Self::new(&Arc::new(Quota::new(None)), 0, tempfile::tempfile).unwrap()
    }
}

impl Drop for QuotaFile {
    fn drop(&mut self) {
        self.account.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_takes_is_given_back_with_it_and_where_it_cannot_be_made() {
        let account = Arc::new(Quota::new(Some(100)));
        let scratch = QuotaFile::new(&account, 60, tempfile::tempfile).unwrap();
        assert!(QuotaFile::new(&account, 60, tempfile::tempfile).is_err());
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert!(QuotaFile::new(&account, 40, full).is_err());
        assert_eq!(account.used(), 60);
        drop(scratch);
        assert_eq!(account.used(), 0);
    }
}
