//! What was read stays on the local disk, for the next mount and for other mounts of the same
//! server and login.
//!
//! | file | contents |
//! |---|---|
//! | `place` | one directory per server and login, private to its user |
//! | `entry` | one cached file: header, slots, data |
//! | `header` | which file it is, and in which version |
//! | `block` | blocks of 64 KiB and their checksums |
//! | `settled` | which versions can be recognised later |
//! | `fill`, `queue` | what transfers bring, and the thread that writes it |
//! | `listing_file` | the listing of a directory |
//! | `numbers` | inode numbers for file handles that survive the mount |
//! | `verified` | which blocks were read and matched in this mount |
//! | `renamed` | entries of files that are renamed, replaced or removed |
//! | `server` | which server the cache was filled from |
//! | `room`, `trim` | how much may be written, and what is removed |
//!
//! Nothing here asks the server. A file in the cache belongs to a version; who opens it says which
//! one the server has.

mod block;
mod entry;
mod fill;
mod header;
mod listing_file;
mod numbers;
mod place;
mod queue;
mod renamed;
mod room;
mod server;
mod settled;
#[cfg(test)]
mod tests;
mod trim;
mod verified;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::ftp::{HostIdentity, RemotePath, ServerProfile, Version};
use crate::guarded::{self, OnDrop};

pub(crate) use block::BLOCK;
pub(crate) use entry::{CachedFile, DamagedBlocks};
pub(crate) use fill::{CacheFill, FillPiece, OnKept};
pub(crate) use listing_file::StoredListing;
pub(crate) use numbers::{InodeNumbers, NumbersError};
pub(crate) use place::{CacheDir, CachePlace, cache_home};
pub(crate) use renamed::{RenamedEntries, RenamedKind};
pub(crate) use trim::CacheContents;

use crate::sys::private_files::PrivateFileError;
use fill::LiveFills;
use header::EntryHeader;
use queue::WriterQueue;
use room::{CacheRoom, RoomAdvice};
use verified::VerifiedFiles;

/// The cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the cache in {}: {source}", path.display())]
pub(crate) struct DiskCacheError {
    /// The file or directory that failed.
    pub(crate) path: PathBuf,
    /// The cause.
    pub(crate) source: io::Error,
}

impl From<PrivateFileError> for DiskCacheError {
    fn from(PrivateFileError { path, source }: PrivateFileError) -> Self {
        Self { path, source }
    }
}

/// Where a mount keeps what it reads, and how much.
#[derive(Debug, Clone)]
pub(crate) struct DiskCacheOptions {
    /// The directory.
    pub(crate) place: CachePlace,
    /// Limits of its size.
    pub(crate) limits: DiskCacheLimits,
}

/// How much of the local disk a cache may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskCacheLimits {
    /// Maximum size in bytes.
    pub(crate) disk: u64,
    /// Bytes of the file system that stay free; `None` stands for a twentieth of it, and at least
    /// 1 GiB.
    pub(crate) free: Option<u64>,
}

/// The persistent cache of a mount.
#[derive(Debug)]
pub(crate) struct DiskCache {
    directory: CacheDir,
    limits: DiskCacheLimits,
    queue: WriterQueue,
    room: Mutex<CacheRoom>,
    /// What transfers are bringing.
    fills: LiveFills,
    /// What was read and matched.
    verified: Arc<Mutex<VerifiedFiles>>,
    /// The server, once there is a mount.
    profile: OnceLock<ServerProfile>,
    /// The server that was compared with the one that the cache was filled from.
    recognised: Mutex<Option<HostIdentity>>,
    /// Whether a warning said that it is another one.
    has_warned: Mutex<bool>,
    /// Whether a thread counts or trims.
    is_trimming: AtomicBool,
}

/// How much of a file is in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CachedShare {
    None,
    /// This many bytes.
    Part(u64),
    Whole,
}

impl DiskCache {
    /// Opens the cache. Reads nothing of its contents.
    ///
    /// # Errors
    /// Its directory cannot be used.
    pub(crate) fn open(options: &DiskCacheOptions) -> Result<Self, DiskCacheError> {
        let directory = options.place.open()?;
        let queue = WriterQueue::start().map_err(|source| DiskCacheError {
            path: directory.path().to_owned(),
            source,
        })?;
        Ok(Self {
            directory,
            limits: options.limits,
            queue,
            room: Mutex::default(),
            fills: LiveFills::default(),
            verified: Arc::default(),
            profile: OnceLock::new(),
            recognised: Mutex::default(),
            has_warned: Mutex::default(),
            is_trimming: AtomicBool::new(false),
        })
    }

    /// The directory of the cache.
    pub(crate) fn directory(&self) -> &CacheDir {
        &self.directory
    }

    /// Returns what the cache has of the file `path`, if it is of `version`. Asks the local disk
    /// only.
    pub(crate) fn find(&self, path: &RemotePath, version: &Version) -> Option<CachedFile> {
        if !self.recognise() {
            return None;
        }
        match CachedFile::open(&self.directory, path, version) {
            Ok(found) => found.map(|file| file.verifying(&self.verified)),
            Err(error) => {
                log::debug!("cannot read the cache for {path}: {error}");
                None
            }
        }
    }

    /// Like [`Self::find`], if all of the file was read and verified since the cache was opened,
    /// and its data has not changed since.
    pub(crate) fn find_verified(&self, path: &RemotePath, version: &Version) -> Option<CachedFile> {
        let file = self.find(path, version)?;
        (file.is_partly_verified() && file.is_verified()).then_some(file)
    }

    /// Returns how much the cache has of the file `path` in `version`. The checksums are not
    /// compared.
    pub(crate) fn share_of(&self, path: &RemotePath, version: &Version) -> CachedShare {
        let Some(file) = self.find(path, version) else {
            return CachedShare::None;
        };
        let present = file.present().unwrap_or_default();
        match present.iter().map(|range| range.end - range.start).sum() {
            0 => CachedShare::None,
            bytes if bytes == file.size() => CachedShare::Whole,
            bytes => CachedShare::Part(bytes),
        }
    }

    /// Starts to keep what a transfer brings of the file `path`, which began at `began` and brings
    /// `version`. `None` if that version could not be recognised later, or the disk is failing.
    /// `on_kept` is called when blocks are there.
    pub(crate) fn fill(
        self: &Arc<Self>,
        path: &RemotePath,
        version: &Version,
        began: SystemTime,
        on_kept: OnKept,
    ) -> Option<CacheFill> {
        if !self.recognise() {
            return None;
        }
        let began = began.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs() as i64;
        if version.size? == 0 || !settled::is_settled(version, began) {
            return None;
        }
        let header = EntryHeader::new(path, version, began, entry::new_nonce())?;
        Some(CacheFill::new(self, header, on_kept))
    }

    /// Whether a file of `size` bytes is too large to be kept whole.
    pub(crate) fn exceeds_one(&self, size: u64) -> bool {
        size > self.most_of_one()
    }

    /// Stops keeping what transfers bring of files whose path `is_other` now.
    fn end_fills(&self, is_other: impl Fn(&RemotePath) -> bool) {
        self.fills.end(is_other);
    }

    /// Stores the listing of the directory `path`, in place of an older one. Returns false if there
    /// is no room now.
    ///
    /// # Errors
    /// Those of the local disk. The older one is still there, or none is.
    pub(crate) fn write_listing(
        self: &Arc<Self>,
        path: &RemotePath,
        listing: &StoredListing,
    ) -> io::Result<bool> {
        // They are small, and the last one of a mount could not be stored later.
        if matches!(self.advice(), RoomAdvice::MakeSpace | RoomAdvice::Pause) {
            return Ok(false);
        }
        let written = self.directory.write_listing(path, listing);
        match &written {
            // An older one is counted twice, until the cache is counted again.
            Ok(()) => self.wrote(listing.bytes.len() as u64),
            Err(error) => self.failed(error),
        }
        written.map(|()| true)
    }

    /// Waits until everything that was confirmed is written, at most `patience`.
    pub(crate) fn finish(&self, patience: Duration) {
        if !self.queue.finish(patience) {
            log::info!("the local disk is slow: not all that was read is kept");
        }
    }

    /// Counts what is in the cache.
    ///
    /// # Errors
    /// The local disk failed.
    pub(crate) fn contents(directory: &CacheDir) -> io::Result<CacheContents> {
        trim::count(directory).map(|(contents, _)| contents)
    }

    /// Removes what is beyond `limits`, least recently used first. Returns what was removed, and
    /// what is left.
    ///
    /// # Errors
    /// The local disk failed.
    pub(crate) fn trim(
        directory: &CacheDir,
        limits: &DiskCacheLimits,
    ) -> io::Result<(CacheContents, CacheContents)> {
        let (contents, histogram) = trim::count(directory)?;
        let excess = limits.excess(contents.bytes, room::space_of(directory.path()));
        let removed = trim::remove(directory, &histogram, excess)?;
        Ok((removed, contents.without(removed)))
    }

    /// Removes all contents of files and all listings. Returns what was removed.
    ///
    /// # Errors
    /// The local disk failed.
    pub(crate) fn clear(directory: &CacheDir) -> io::Result<CacheContents> {
        trim::clear(directory)
    }

    /// Whether something may be written now.
    fn has_room(self: &Arc<Self>) -> bool {
        matches!(self.advice(), RoomAdvice::Write | RoomAdvice::WriteAndCount)
    }

    /// Returns what to do next. Starts to remove what is too much.
    fn advice(self: &Arc<Self>) -> RoomAdvice {
        let space = || room::space_of(self.directory.path());
        let advice = self.room().advice(&self.limits, Instant::now(), space);
        match advice {
            RoomAdvice::Trim | RoomAdvice::MakeSpace | RoomAdvice::WriteAndCount => {
                self.start_trimming();
            }
            RoomAdvice::Write | RoomAdvice::Pause => {}
        }
        advice
    }

    /// Returns the maximum size in bytes of one file in the cache: the rest is for the others.
    fn most_of_one(&self) -> u64 {
        self.limits.disk / 2
    }

    fn wrote(&self, bytes: u64) {
        self.room().wrote(bytes);
    }

    /// Records that the local disk failed with `error`.
    fn failed(self: &Arc<Self>, error: &io::Error) {
        if room::is_full(error) {
            self.pause("the disk is full");
        } else {
            self.pause(&error.to_string());
        }
        self.start_trimming();
    }

    /// Adds nothing for a while, for this reason.
    fn pause(&self, reason: &str) {
        if self.room().failed(Instant::now()) {
            log::warn!(
                "cannot write to the cache in {}: {reason}; nothing is added to it for a minute, and what it lacks is \
                 read from the server",
                self.directory.path().display()
            );
        }
    }

    /// Starts a thread that counts what is there, and removes what is too much.
    fn start_trimming(self: &Arc<Self>) {
        if self.is_trimming.swap(true, Ordering::AcqRel) {
            return;
        }
        let cache = Arc::clone(self);
        let trim = move || {
            let _done = OnDrop::new(|| cache.is_trimming.store(false, Ordering::Release));
            match Self::trim(&cache.directory, &cache.limits) {
                Ok((removed, left)) => {
                    log::debug!("removed {removed:?} from the cache, which has {left:?}");
                    cache.room().counted(left.bytes);
                    let space = room::space_of(cache.directory.path());
                    if cache.limits.excess(left.bytes, space) > 0 {
                        cache.pause("too little of the disk is free (cache_free)");
                    }
                }
                Err(error) => log::debug!("cannot trim the cache: {error}"),
            }
        };
        if let Err(error) = guarded::spawn("ftpfs-trim", trim) {
            log::debug!("no thread to trim the cache: {error}");
            self.is_trimming.store(false, Ordering::Release);
        }
    }

    fn has_warned(&self) -> MutexGuard<'_, bool> {
        self.has_warned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn room(&self) -> MutexGuard<'_, CacheRoom> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
