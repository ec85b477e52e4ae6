//! Where spool files are created, and the space they take together.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::error::SpoolError;
use super::quota::{Quota, QuotaFile};
use super::spool::Spool;
use crate::ftp::RemotePath;
use crate::journal::{Journal, WaitingFile};

/// Where spool files are created, and how much space they may take together.
#[derive(Debug, Clone)]
pub(crate) struct SpoolDir {
    journal: Journal,
    /// The journals of killed mounts whose uploads this mount finishes.
    left: Arc<Mutex<Vec<Journal>>>,
    account: Arc<Quota>,
}

impl SpoolDir {
    /// Creates spool files where `journal` stores them, of at most `limit` bytes together.
    pub(crate) fn new(journal: Journal, limit: Option<u64>) -> Self {
        Self {
            journal,
            left: Arc::default(),
            account: Arc::new(Quota::new(limit)),
        }
    }

    /// Creates an empty spool for data written to `path`.
    #[cfg(test)]
    pub(crate) fn create(&self, path: &RemotePath) -> Result<Spool, SpoolError> {
        self.create_from(path, 0)
    }

    /// Creates a spool for data that is appended to the file at `path`, which has `start` bytes.
    pub(crate) fn create_from(&self, path: &RemotePath, start: u64) -> Result<Spool, SpoolError> {
        let kept = self.journal.spool_file(path)?;
        if start > 0 {
            kept.file.set_len(start)?;
        }
        Ok(Spool::wrap(
            kept,
            self.journal.clone(),
            &self.account,
            start,
            start,
        ))
    }

    /// Takes over the journal of a killed mount until the end of this one.
    pub(crate) fn take_over(&self, journal: Journal) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(journal);
    }

    /// Returns the spool of an upload that a killed mount left in `journal`. It may exceed the
    /// limit.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub(crate) fn left(
        &self,
        journal: &Journal,
        waiting: &WaitingFile,
    ) -> Result<Spool, SpoolError> {
        let kept = journal.waiting_spool(waiting)?;
        let length = kept.file.metadata()?.len();
        let start = waiting.pending.appended_from.unwrap_or(0);
        let Some(here) = length.checked_sub(start) else {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        };
        self.account.take(here);
        Ok(Spool::wrap(
            kept,
            self.journal.clone(),
            &self.account,
            start,
            length,
        ))
    }

    /// Creates a local file of `bytes` bytes for contents that the server also has.
    ///
    /// # Errors
    /// The quota or the disk has no room for it.
    pub(crate) fn scratch(&self, bytes: u64) -> Result<QuotaFile, SpoolError> {
        QuotaFile::new(&self.account, bytes, || self.journal.scratch_file())
    }

    /// Announces the end of the mount: data that cannot be stored from now on waits for the next
    /// one.
    pub(crate) fn ending(&self) {
        self.journals().iter().for_each(Journal::ending);
    }

    /// Compacts the journal. Waits for the local disk.
    pub(crate) fn tidy_journal(&self) {
        self.journals().iter().for_each(Journal::tidy);
    }

    /// Logs the files that are not stored yet.
    pub(crate) fn log_pending(&self) {
        for path in self.journals().iter().flat_map(Journal::waiting) {
            log::warn!(
                path;
                "{path} is not stored yet; the next mount of this server will store it"
            );
        }
    }

    /// Ends the journal after the mount has ended, and logs the files that are not stored.
    pub(crate) fn end(&self) {
        self.log_pending();
        self.journals().iter().for_each(Journal::end);
    }

    fn journals(&self) -> Vec<Journal> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        [&self.journal].into_iter().chain(&*left).cloned().collect()
    }

    /// Whether the limit leaves room for a file of `bytes` bytes if there is no other.
    pub(crate) fn can_hold(&self, bytes: u64) -> bool {
        self.account.limit().is_none_or(|limit| bytes <= limit)
    }

    /// Whether there is a limit.
    pub(crate) fn is_limited(&self) -> bool {
        self.account.limit().is_some()
    }

    /// Returns the number of times that bytes were discarded to make room.
    pub(crate) fn rooms(&self) -> u64 {
        self.account.rooms()
    }

    /// Waits until [`Self::rooms`] is no longer `seen`, at most `patience`.
    pub(crate) fn wait_for_room(&self, seen: u64, patience: Duration) {
        self.account.wait_for_room(seen, patience);
    }

    /// Returns the bytes that all spool files take.
    pub(crate) fn used(&self) -> u64 {
        self.account.used()
    }
}
