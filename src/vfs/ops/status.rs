//! The state of a running mount, for `ftpfs status`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cache::CacheStats;
use crate::ftp::{Capability, Finding, RateLimits, RemotePath};
use crate::remote::{IncompleteListings, Leftover, OfflineStatus, PoolStats, ServerProblem};
use crate::vfs::Vfs;
use crate::vfs::counters::Totals;
use crate::vfs::transfers::Transfer;

/// Maximum number of files that are reported individually.
const MAX_REPORTED: usize = 1_000;

/// A snapshot of the mount's state.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    /// Time since the mount started.
    pub uptime: Duration,
    /// Whether files are stored in the background.
    pub writeback: bool,
    /// What is wrong with the server, if something is.
    pub problem: Option<ServerProblem>,
    /// Why there is no server and since when, while the mount works without it.
    pub offline: Option<OfflineStatus>,
    /// What happened since the start.
    pub totals: Totals,
    /// Limits of the transfers.
    pub limits: RateLimits,
    /// The connections to the server.
    pub connections: PoolStats,
    /// File transfers in progress.
    pub transfers: Vec<Transfer>,
    /// Contents of the listing cache.
    pub cache: CacheStats,
    /// Size limit of the listing cache in bytes.
    pub cache_limit: usize,
    /// Bytes of written files on the local disk.
    pub spool: u64,
    /// Limit of those bytes; `None` is the size of the disk.
    pub spool_limit: Option<u64>,
    /// Closed files that are waiting to be stored, the longest waiting first; at most a thousand.
    pub uploads: Vec<Waiting>,
    /// Number of waiting files, including those that failed.
    pub waiting: usize,
    /// Number of files that failed and are not retried automatically.
    pub failed: usize,
    /// Number of changes of names that the server does not have yet, other than those of the files.
    pub changes: usize,
    /// Changes of names that the server refused, and why; the oldest first.
    pub refused: Vec<(RemotePath, String)>,
    /// Capabilities that the server was found to have or lack, or that the user switched off.
    pub findings: Vec<(Capability, Finding)>,
    /// Temporary names that remain to be cleaned up on the server, the next first; at most a
    /// thousand.
    pub leftovers: Vec<Leftover>,
    /// Directories whose listings could not be fully parsed.
    pub incomplete: IncompleteListings,
    /// How often each command was sent.
    pub commands: BTreeMap<String, u64>,
}

/// The parts of a [`Report`] that say whether all is well.
#[derive(Debug, Clone)]
pub(crate) struct HealthSummary {
    /// What is wrong with the server, if something is.
    pub problem: Option<ServerProblem>,
    /// Why there is no server and since when, while the mount works without it.
    pub offline: Option<OfflineStatus>,
    /// Number of waiting files, including those that failed.
    pub waiting: usize,
    /// Number of files that failed and are not retried automatically.
    pub failed: usize,
}

/// A closed file that is not stored yet.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    /// Its final path on the server.
    pub path: Option<RemotePath>,
    /// Its size in bytes.
    pub bytes: u64,
    /// Time since it was closed.
    pub age: Duration,
    /// The state of its upload.
    pub stage: Stage,
    /// Why the last attempt to store it failed.
    pub reason: Option<String>,
}

/// The state of a waiting file's upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waiting for its turn.
    Waiting,
    /// Being stored.
    Storing,
    /// Failed; it will be retried.
    Retrying,
    /// Failed; it waits until a program closes or syncs it, or for the end of the mount.
    Failed,
}

impl Vfs {
    /// Returns the parts of the current state that say whether all is well.
    pub(crate) fn summary(&self) -> HealthSummary {
        let waiting = self.writeback.statuses();
        HealthSummary {
            problem: self.remote.problem(),
            offline: self.remote.offline(),
            waiting: waiting.len(),
            failed: waiting.iter().filter(|it| it.is_refused).count(),
        }
    }

    /// Returns the current state.
    pub(crate) fn report(&self) -> Report {
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
                bytes: standing.file.sealed_bytes(),
                age: standing.age,
                stage,
                reason: standing.failure.map(|failure| failure.reason),
            }
        });
        let commands = self.remote.command_counts();
        let traffic = self.remote.traffic();
        Report {
            problem: self.remote.problem(),
            offline: self.remote.offline(),
            totals: Totals {
                received: traffic.received(),
                sent: traffic.sent(),
                commands: commands.values().sum(),
                round_trips: self.remote.round_trips(),
                retries: self.remote.retries(),
                ..self.counts.so_far()
            },
            limits: traffic.limits(),
            uptime: self.mounted.elapsed().unwrap_or_default(),
            writeback: self.options.writeback,
            connections: self.remote.pool_stats(),
            transfers: self
                .services
                .transfers
                .now(|ino| self.inodes.open_file(ino)?.visible_size()),
            cache: self.cache.stats(),
            cache_limit: self.options.cache_bytes,
            spool: self.services.spools.used(),
            spool_limit: self.options.spool_size,
            uploads: uploads.collect(),
            waiting,
            failed,
            changes: self.names.len().saturating_sub(self.names.stores()),
            refused: self
                .names
                .failures()
                .into_iter()
                .map(|it| (it.path, it.reason))
                .collect(),
            findings: self.remote.profile().findings(),
            leftovers: self
                .remote
                .leftovers()
                .into_iter()
                .take(MAX_REPORTED)
                .collect(),
            incomplete: self.remote.incomplete_listings(),
            commands,
        }
    }
}
