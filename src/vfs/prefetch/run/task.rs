//! What there is to do for a run, and within which limits.

use std::sync::Arc;
use std::time::Duration;

use crate::ftp::RemotePath;
use crate::vfs::prefetch::slot::PrefetchSlot;

/// Maximum size of a file that is fetched ahead.
pub(super) const LARGEST_FILE: u64 = 256 << 10;

/// A file to be fetched.
#[derive(Debug)]
pub(in crate::vfs::prefetch) struct WantedFile {
    pub(in crate::vfs::prefetch) path: RemotePath,
    pub(in crate::vfs::prefetch) size: u64,
    pub(in crate::vfs::prefetch) slot: Arc<PrefetchSlot>,
}

/// What there is to do for a run.
#[derive(Debug)]
pub(in crate::vfs::prefetch) enum RunTask {
    /// Ask what the server says of these now, then `FileRun::confirmed`.
    Confirm(Vec<RemotePath>),
    /// Fetch this one, then `FileRun::fetched`.
    Fetch(WantedFile),
}

/// How much may be fetched, and how old the server's answers may be.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs::prefetch) struct RunLimits {
    /// Maximum number of bytes fetched and not read yet.
    pub(in crate::vfs::prefetch) most_bytes: u64,
    /// Maximum age of an answer by which a file is opened.
    pub(in crate::vfs::prefetch) open_ttl: Duration,
}

impl RunLimits {
    /// Maximum size of a file that is fetched ahead.
    pub(super) fn largest(self) -> u64 {
        LARGEST_FILE.min(self.most_bytes / 4)
    }
}
