//! What a running mount is doing: the figures of `ftpfs status`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::CacheStats;
use crate::ftp::{Capability, Finding, RemotePath};
use crate::remote::{IncompleteListings, Leftover, PoolStats};
use crate::vfs::Vfs;
use crate::vfs::transfers::Transfer;

/// Most files that are told one by one.
const MAX_REPORTED: usize = 1_000;

/// The figures of one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// How long the mount has been there.
    pub uptime: Duration,
    /// Whether files are stored in the background.
    pub writeback: bool,
    /// The connections to the server.
    pub connections: PoolStats,
    /// Contents of files under way.
    pub transfers: Vec<Transfer>,
    /// What the listing cache holds.
    pub cache: CacheStats,
    /// The most bytes it may.
    pub cache_limit: usize,
    /// Bytes of written files on the local disk.
    pub spool: u64,
    /// The most they may be; `None` is the disk's size.
    pub spool_limit: Option<u64>,
    /// Files that were closed and wait to be stored, the longest waiting first; no more than a
    /// thousand.
    pub uploads: Vec<Waiting>,
    /// How many wait in all, also those that failed.
    pub waiting: usize,
    /// How many of them failed and are not tried again unasked.
    pub failed: usize,
    /// What the server was seen to do or to lack, or what the user switched off.
    pub findings: Vec<(Capability, Finding)>,
    /// Temporary names that are still to be cleared away on the server, the next first; no more
    /// than a thousand.
    pub leftovers: Vec<Leftover>,
    /// Directories whose listing was not wholly understood.
    pub incomplete: IncompleteListings,
    /// How often each command was sent.
    pub commands: BTreeMap<String, u64>,
}

/// A file that was closed and is not stored yet.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What it is to be on the server.
    pub path: Option<RemotePath>,
    /// Its size.
    pub bytes: u64,
    /// How long ago it was closed.
    pub age: Duration,
    /// What is being done about it.
    pub stage: Stage,
    /// Why it could not be stored when that was tried last.
    pub reason: Option<String>,
}

/// What is being done about a file that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It waits for its turn.
    Waiting,
    /// It is being stored.
    Storing,
    /// It failed, and is tried again.
    Retrying,
    /// It failed, and waits until somebody closes or syncs it, or for the mount's end.
    Failed,
}

impl Vfs {
    /// The figures of now.
    pub fn report(&self) -> Report {
        let standing = self.writeback.statuses();
        let failed = standing.iter().filter(|it| it.is_refused).count();
        let waiting = standing.len();
        let uploads = standing.into_iter().take(MAX_REPORTED).map(|standing| {
            let stage = match (standing.is_running, standing.is_refused, &standing.failure) {
                (true, _, _) => Stage::Storing,
                (_, true, _) => Stage::Failed,
                (_, _, Some(_)) => Stage::Retrying,
                (_, _, None) => Stage::Waiting,
            };
            Waiting {
                path: self.inodes.path(standing.file.ino()).ok(),
                bytes: standing.file.pending_bytes(),
                age: standing.age,
                stage,
                reason: standing.failure.map(|failure| failure.reason),
            }
        });
        Report {
            uptime: self.mounted.elapsed().unwrap_or_default(),
            writeback: self.options.writeback,
            connections: self.remote.pool_stats(),
            transfers: self.services.transfers.now(),
            cache: self.cache.stats(),
            cache_limit: self.options.cache_bytes,
            spool: self.services.spools.used(),
            spool_limit: self.options.spool_size,
            uploads: uploads.collect(),
            waiting,
            failed,
            findings: self.remote.profile().findings(),
            leftovers: self
                .remote
                .leftovers()
                .into_iter()
                .take(MAX_REPORTED)
                .collect(),
            incomplete: self.remote.incomplete_listings(),
            commands: self.remote.command_counts(),
        }
    }
}
