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
//!
//! Nothing here asks the server. A file in the cache belongs to a version; who opens it says which
//! one the server has.

#![allow(dead_code, reason = "the reader does not use it yet")]

mod block;
mod entry;
mod header;
mod place;
mod settled;

use std::io;
use std::path::PathBuf;

pub(crate) use block::BLOCK;
pub(crate) use entry::{CachedFile, DamagedBlock};
pub(crate) use place::{CacheDir, CachePlace, cache_home};

use crate::sys::private_files::PrivateFileError;

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
}

impl DiskCache {
    /// Opens the cache.
    ///
    /// # Errors
    /// Its directory cannot be used.
    pub(crate) fn open(options: &DiskCacheOptions) -> Result<Self, DiskCacheError> {
        Ok(Self {
            directory: options.place.open()?,
            limits: options.limits,
        })
    }

    /// The directory of the cache.
    pub(crate) fn directory(&self) -> &CacheDir {
        &self.directory
    }

    /// The limits of its size.
    pub(crate) fn limits(&self) -> DiskCacheLimits {
        self.limits
    }
}
