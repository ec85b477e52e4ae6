//! Room on the local disk: the account of how much all local files of a mount take, and files of
//! what the server has anyhow.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::spool::SpoolError;

/// Bytes that all local files may grow to, and do.
#[derive(Debug)]
pub(in crate::vfs) struct Quota {
    limit: Option<u64>,
    used: AtomicU64,
}

/// A file of a length that is taken from the account; it has no name, and vanishes with this.
#[derive(Debug)]
pub(in crate::vfs) struct QuotaFile {
    file: File,
    account: Arc<Quota>,
    bytes: u64,
}

impl Quota {
    /// Of at most `limit` bytes.
    pub(in crate::vfs) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            used: AtomicU64::new(0),
        }
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    /// There are not so many left.
    pub(in crate::vfs) fn reserve(&self, count: u64) -> Result<(), SpoolError> {
        let limit = self.limit.unwrap_or(u64::MAX);
        let grown = |used: u64| used.checked_add(count).filter(|sum| *sum <= limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .map(drop)
            .map_err(|_| SpoolError::NoSpace)
    }

    /// Gives `count` bytes back.
    pub(in crate::vfs) fn release(&self, count: u64) {
        self.used.fetch_sub(count, Ordering::Relaxed);
    }

    /// Bytes taken now.
    pub(in crate::vfs) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl QuotaFile {
    /// The file that `make` makes, for `bytes` bytes.
    ///
    /// # Errors
    /// The account has no room for them, or the file cannot be made.
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

    /// The file itself.
    pub(in crate::vfs) fn file(&self) -> &File {
        &self.file
    }

    /// One whose length nobody counts.
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
