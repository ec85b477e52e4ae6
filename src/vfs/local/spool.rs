//! Spool files: data that a program wrote and the server does not have yet, in one local file for
//! each open remote file.
//!
//! The beginning of a spool can be discarded while its upload runs, so that a file may be larger
//! than the local disk. Its length remains that of the whole file. A spool for data that is
//! appended has a hole in place of the bytes that only the server has.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::FallocateFlags;

use super::error::SpoolError;
use super::quota::{Quota, QuotaFile};
use crate::journal::{Journal, SpoolFile};

/// Bytes copied at a time.
const FROZEN_AT_A_TIME: u64 = 1 << 20;

/// Bytes are discarded in multiples of this, which is a multiple of the block size of all common
/// file systems.
pub(crate) const DISCARD_UNIT: u64 = 64 << 10;

/// A spool file, deleted when this is dropped. Any number of threads may read and write it.
///
/// Locks: `shape`, then `reserved`. `shape` is held during local file operations, shared by writers
/// and exclusively for a change of length. A write must not land beyond an end that is being moved,
/// or the length would include bytes that do not exist.
pub(crate) struct Spool {
    kept: SpoolFile,
    journal: Journal,
    account: Arc<Quota>,
    shape: RwLock<()>,
    length: AtomicU64,
    /// Offset before which the spool never had any bytes.
    start: u64,
    /// Offset before which the bytes were discarded, or were never here. Only changes with `shape`
    /// held exclusively.
    discarded: AtomicU64,
    /// Offset up to which bytes are reserved; never less than the length. Those before `discarded`
    /// were released.
    reserved: Mutex<u64>,
}

impl Spool {
    /// Wraps a spool file of `length` bytes, of which those from `start` on are here and counted in
    /// `account`.
    pub(super) fn wrap(
        kept: SpoolFile,
        journal: Journal,
        account: &Arc<Quota>,
        start: u64,
        length: u64,
    ) -> Self {
        Self {
            kept,
            journal,
            account: Arc::clone(account),
            shape: RwLock::default(),
            length: AtomicU64::new(length),
            start,
            discarded: AtomicU64::new(start),
            reserved: Mutex::new(length),
        }
    }

    /// Returns the file, to send from it.
    pub(crate) fn file(&self) -> &File {
        &self.kept.file
    }

    /// Returns its record in the journal.
    pub(crate) fn journal_record(&self) -> &SpoolFile {
        &self.kept
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Reserves space for `length` bytes that will be written.
    ///
    /// # Errors
    /// The quota has no room for them.
    pub(crate) fn expect(&self, length: u64) -> Result<(), SpoolError> {
        self.reserve(length)
    }

    /// Returns the offset before which the bytes were discarded.
    pub(crate) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Acquire)
    }

    /// Returns the number of bytes that are reserved for it.
    pub(crate) fn held(&self) -> u64 {
        self.lock_reserved().saturating_sub(self.discarded())
    }

    /// Returns the offset before which the spool never had any bytes.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Whether bytes were discarded, so that the file here is only a part.
    pub(crate) fn is_partial(&self) -> bool {
        self.discarded() > self.start
    }

    /// Discards the bytes before `end`, rounded down, and releases their space.
    ///
    /// # Errors
    /// The file system cannot release the space of a part of a file.
    pub(crate) fn discard(&self, end: u64) -> io::Result<()> {
        let _alone = self.shape.write().unwrap_or_else(PoisonError::into_inner);
        let start = self.discarded();
        let end = end.min(self.len()) / DISCARD_UNIT * DISCARD_UNIT;
        let Some(count) = end.checked_sub(start).filter(|count| *count > 0) else {
            return Ok(());
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.file(), flags, start, count)?;
        self.discarded.store(end, Ordering::Release);
        self.account.make_room(count);
        Ok(())
    }

    /// Returns a copy of the current contents, which later writes do not change, and its length.
    ///
    /// # Errors
    /// There is no room for it, bytes were discarded, or the local disk failed.
    pub(crate) fn freeze(&self) -> Result<(QuotaFile, u64), SpoolError> {
        let wanted = self.len();
        let copy = QuotaFile::new(&self.account, wanted, || self.journal.scratch_file())?;
        let mut length = 0;
        while length < wanted {
            let piece = (wanted - length).min(FROZEN_AT_A_TIME);
            let bytes = self.read_at(length, usize::try_from(piece).unwrap_or(usize::MAX))?;
            if bytes.is_empty() {
                break;
            }
            copy.file().write_all_at(&bytes, length)?;
            length += bytes.len() as u64;
        }
        Ok((copy, length))
    }

    /// Reads `length` bytes at `offset`; fewer at the end.
    ///
    /// # Errors
    /// [`SpoolError::Discarded`] if they are not here any more; else the local disk failed.
    pub(crate) fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, SpoolError> {
        let there = self.len().saturating_sub(offset);
        let mut bytes = vec![0; (length as u64).min(there) as usize];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|it| !it.is_empty()) {
            match self.file().read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(filled);
        // They may have been discarded while they were read.
        self.confirm_kept(offset)?;
        Ok(bytes)
    }

    /// Writes all of `bytes` at `offset`. A gap before them reads as zeros.
    ///
    /// # Errors
    /// [`SpoolError::Discarded`] if what they would change is not here any more; else there is no
    /// room, or the local disk failed.
    pub(crate) fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), SpoolError> {
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64);
        let end = end.ok_or(SpoolError::TooLarge)?;
        let result = {
            let _together = self.shape.read().unwrap_or_else(PoisonError::into_inner);
            self.confirm_kept(offset)?;
            self.reserve(end)?;
            let result = self.file().write_all_at(bytes, offset);
            if result.is_ok() {
                self.length.fetch_max(end, Ordering::AcqRel);
            }
            result
        };
        result.map_err(|error| {
            self.release_surplus();
            error.into()
        })
    }

    /// Truncates the file, or extends it with zeros. An empty file has nothing discarded.
    ///
    /// # Errors
    /// [`SpoolError::Discarded`] if some of the bytes that would remain are not here any more; else
    /// there is no room, or the local disk failed.
    pub(crate) fn set_len(&self, length: u64) -> Result<(), SpoolError> {
        let result = {
            let _alone = self.shape.write().unwrap_or_else(PoisonError::into_inner);
            if length > 0 || self.start > 0 {
                self.confirm_kept(length)?;
            }
            self.reserve(length)?;
            let result = self.file().set_len(length);
            if result.is_ok() {
                self.length.store(length, Ordering::Release);
            }
            if result.is_ok() && length == 0 {
                let mut reserved = self.lock_reserved();
                self.account
                    .release(reserved.saturating_sub(self.discarded()));
                *reserved = 0;
                self.discarded.store(0, Ordering::Release);
            }
            result
        };
        self.release_surplus();
        match result {
            // Linux reports EINVAL instead of EFBIG for a length beyond 63 bits.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(SpoolError::TooLarge),
            other => Ok(other?),
        }
    }

    /// Extends the file to `length` with zeros, and allocates their space. Does nothing if it is as
    /// long already.
    ///
    /// # Errors
    /// There is no room, or the local disk failed. The file stays as it was.
    pub(crate) fn allocate(&self, length: u64) -> Result<(), SpoolError> {
        let _alone = self.shape.write().unwrap_or_else(PoisonError::into_inner);
        let before = self.len();
        let Some(count) = length.checked_sub(before).filter(|count| *count > 0) else {
            return Ok(());
        };
        let reserved = *self.lock_reserved();
        self.reserve(length)?;
        let allocated =
            match rustix::fs::fallocate(self.file(), FallocateFlags::empty(), before, count) {
                // Not every file system can.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    self.file().set_len(length)
                }
                allocated => allocated.map_err(io::Error::from),
            };
        match allocated {
            Ok(()) => {
                self.length.store(length, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                let _ = self.file().set_len(before);
                let mut now = self.lock_reserved();
                self.account.release(now.saturating_sub(reserved));
                *now = reserved.min(*now);
                Err(error.into())
            }
        }
    }

    fn confirm_kept(&self, offset: u64) -> Result<(), SpoolError> {
        if offset < self.discarded() {
            return Err(SpoolError::Discarded);
        }
        Ok(())
    }

    fn reserve(&self, end: u64) -> Result<(), SpoolError> {
        let mut reserved = self.lock_reserved();
        if end > *reserved {
            self.account.reserve(end - *reserved)?;
            *reserved = end;
        }
        Ok(())
    }

    /// Releases the reservation beyond the length.
    fn release_surplus(&self) {
        let _alone = self.shape.write().unwrap_or_else(PoisonError::into_inner);
        let mut reserved = self.lock_reserved();
        let length = self.len();
        self.account.release(reserved.saturating_sub(length));
        *reserved = length.min(*reserved);
    }

    fn lock_reserved(&self) -> MutexGuard<'_, u64> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.account
            .release(self.lock_reserved().saturating_sub(self.discarded()));
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Spool({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::thread;

    use super::super::spool_dir::SpoolDir;
    use super::*;
    use crate::ftp::RemotePath;

    fn spools(limit: Option<u64>) -> SpoolDir {
        SpoolDir::new(Journal::disabled(None), limit)
    }

    fn spool() -> Spool {
        spools(None).create(&RemotePath::root()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_a_gap_reads_as_zeros() {
        let spool = spool();
        spool.write_at(3, b"abc").unwrap();
        assert_eq!(spool.len(), 6);
        assert_eq!(spool.read_at(0, 100).unwrap(), b"\0\0\0abc");
        assert_eq!(spool.read_at(4, 1).unwrap(), b"b");
        assert!(spool.read_at(6, 10).unwrap().is_empty());
        assert!(spool.read_at(u64::MAX, 10).unwrap().is_empty());
    }

    #[test]
    fn a_cut_file_grows_back_with_zeros() {
        let spool = spool();
        spool.write_at(0, b"abcdef").unwrap();
        spool.set_len(2).unwrap();
        spool.set_len(4).unwrap();
        assert_eq!(spool.read_at(0, 10).unwrap(), b"ab\0\0");
    }

    #[test]
    fn the_limit_holds_for_all_spools_together_and_space_comes_back() {
        let dir = spools(Some(10));
        let (one, two) = (
            dir.create(&RemotePath::root()).unwrap(),
            dir.create(&RemotePath::root()).unwrap(),
        );
        one.write_at(0, b"123456").unwrap();
        one.write_at(2, b"1234").unwrap();
        assert_eq!(dir.used(), 6, "an overwritten byte counts once");
        let full = two.write_at(0, b"12345");
        assert!(matches!(full, Err(SpoolError::NoSpace)));
        assert!(matches!(two.set_len(5), Err(SpoolError::NoSpace)));
        assert_eq!((two.len(), dir.used()), (0, 6));
        one.set_len(3).unwrap();
        two.write_at(0, b"12345").unwrap();
        assert_eq!(dir.used(), 8);
        drop(one);
        drop(two);
        assert_eq!(dir.used(), 0);
    }

    #[test]
    fn discarded_bytes_make_room_and_the_file_keeps_its_length() {
        let dir = spools(Some(4 * DISCARD_UNIT));
        let spool = dir.create(&RemotePath::root()).unwrap();
        let bytes = vec![7; 4 * DISCARD_UNIT as usize];
        spool.write_at(0, &bytes).unwrap();
        assert!(spool.write_at(4 * DISCARD_UNIT, b"x").is_err());
        let rooms = dir.rooms();
        spool.discard(3 * DISCARD_UNIT - 1).unwrap();
        assert_ne!(dir.rooms(), rooms);
        assert_eq!(
            (spool.discarded(), spool.len(), dir.used()),
            (2 * DISCARD_UNIT, 4 * DISCARD_UNIT, 2 * DISCARD_UNIT)
        );
        assert!(spool.file().metadata().unwrap().blocks() * 512 <= 2 * DISCARD_UNIT);
        spool.write_at(4 * DISCARD_UNIT, b"end").unwrap();
        assert_eq!(spool.read_at(4 * DISCARD_UNIT, 9).unwrap(), b"end");
        for gone in [0, 2 * DISCARD_UNIT - 1] {
            let gone_error = |result: Result<(), SpoolError>| {
                assert!(matches!(result, Err(SpoolError::Discarded)), "{gone}");
            };
            gone_error(spool.read_at(gone, 1).map(drop));
            gone_error(spool.write_at(gone, b"x"));
        }
        assert!(matches!(spool.set_len(5), Err(SpoolError::Discarded)));
        assert!(spool.freeze().is_err());
        spool.set_len(0).unwrap();
        assert_eq!((spool.discarded(), dir.used()), (0, 0));
        spool.write_at(0, b"again").unwrap();
        assert_eq!(spool.read_at(0, 9).unwrap(), b"again");
        drop(spool);
        assert_eq!(dir.used(), 0);
    }

    #[test]
    fn a_spool_of_what_is_appended_counts_only_that() {
        let dir = spools(Some(10));
        let spool = dir.create_from(&RemotePath::root(), 1 << 30).unwrap();
        assert_eq!((spool.len(), dir.used()), (1 << 30, 0));
        assert!(!spool.is_partial());
        spool.write_at(1 << 30, b"12345").unwrap();
        assert_eq!((spool.len(), dir.used()), ((1 << 30) + 5, 5));
        assert!(spool.file().metadata().unwrap().blocks() * 512 <= DISCARD_UNIT);
        assert_eq!(spool.read_at(1 << 30, 9).unwrap(), b"12345");
        let full = spool.write_at((1 << 30) + 5, b"123456");
        assert!(matches!(full, Err(SpoolError::NoSpace)));
        for before in [0, (1 << 30) - 1] {
            let refused = spool.write_at(before, b"x");
            assert!(matches!(refused, Err(SpoolError::Discarded)), "{before}");
            assert!(matches!(
                spool.read_at(before, 1),
                Err(SpoolError::Discarded)
            ));
            assert!(matches!(spool.set_len(before), Err(SpoolError::Discarded)));
        }
        spool.set_len(1 << 30).unwrap();
        assert_eq!(dir.used(), 0);
        drop(spool);
        assert_eq!(dir.used(), 0);
    }

    #[test]
    fn allocated_space_counts_and_is_on_the_disk() {
        let dir = spools(Some(10 << 20));
        let spool = dir.create(&RemotePath::root()).unwrap();
        spool.write_at(0, b"abc").unwrap();
        spool.allocate(4 << 20).unwrap();
        assert_eq!((spool.len(), dir.used()), (4 << 20, 4 << 20));
        assert!(spool.file().metadata().unwrap().blocks() * 512 >= 4 << 20);
        assert_eq!(spool.read_at(0, 5).unwrap(), b"abc\0\0");
        let full = spool.allocate((10 << 20) + 1);
        assert!(matches!(full, Err(SpoolError::NoSpace)));
        assert!(matches!(spool.allocate(u64::MAX), Err(SpoolError::NoSpace)));
        assert_eq!((spool.len(), dir.used()), (4 << 20, 4 << 20));
        spool.allocate(10).unwrap();
        assert_eq!(spool.len(), 4 << 20, "it never shrinks");
        drop(spool);
        assert_eq!(dir.used(), 0);
    }

    #[test]
    fn an_impossible_size_is_refused_and_not_counted() {
        let dir = spools(None);
        let spool = dir.create(&RemotePath::root()).unwrap();
        let beyond = spool.write_at(u64::MAX, b"x");
        assert!(matches!(beyond, Err(SpoolError::TooLarge)));
        assert!(matches!(spool.set_len(u64::MAX), Err(SpoolError::TooLarge)));
        assert_eq!(dir.used(), 0);
    }

    #[test]
    fn many_writers_and_a_cutter_leave_a_length_that_is_true() {
        let dir = spools(None);
        let spool = dir.create(&RemotePath::root()).unwrap();
        thread::scope(|scope| {
            for writer in 0..4_u64 {
                let spool = &spool;
                scope.spawn(move || {
                    for at in 0..200 {
                        spool.write_at((at * 4 + writer) * 10, &[7; 10]).unwrap();
                    }
                });
            }
            scope.spawn(|| {
                for at in 0..100 {
                    spool.set_len(at * 17).unwrap();
                }
            });
        });
        assert_eq!(spool.len(), spool.file().metadata().unwrap().len());
        assert_eq!(dir.used(), spool.len());
    }
}
