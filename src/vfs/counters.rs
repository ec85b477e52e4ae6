//! Totals of a mount since its start, for `ftpfs status`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Totals since the start of the mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Bytes received on data connections, including listings.
    pub received: u64,
    /// Bytes sent on data connections.
    pub sent: u64,
    /// Requests of the kernel.
    pub requests: u64,
    /// Requests that had to wait, mostly for the server.
    pub waited: u64,
    /// Requests that failed because of the server, the network or the disk.
    pub failed: u64,
    /// Names and listings that the cache answered.
    pub cache_hits: u64,
    /// Names and listings that the server had to answer.
    pub cache_misses: u64,
    /// Commands sent to the server.
    pub commands: u64,
    /// How often commands were sent; those sent together count once.
    pub round_trips: u64,
    /// Steps and transfers that were repeated after a failure.
    pub retries: u64,
}

/// Counts what happens on the FUSE threads and the workers.
#[derive(Debug, Default)]
pub(crate) struct RequestCounts {
    requests: AtomicU64,
    waited: AtomicU64,
    failed: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl RequestCounts {
    /// Counts a request of the kernel.
    pub(crate) fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of requests of the kernel.
    pub(in crate::vfs) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request that has to wait.
    pub(crate) fn waiting(&self) {
        self.waited.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that failed because of the server, the network or the disk.
    pub(crate) fn failure(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a name or a listing that the cache answered.
    pub(in crate::vfs) fn hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a name or a listing that the server has to answer.
    pub(in crate::vfs) fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the totals that are counted here. The others are 0.
    pub(in crate::vfs) fn so_far(&self) -> Totals {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            requests: count(&self.requests),
            waited: count(&self.waited),
            failed: count(&self.failed),
            cache_hits: count(&self.hits),
            cache_misses: count(&self.misses),
            ..Totals::default()
        }
    }
}
