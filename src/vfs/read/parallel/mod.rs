//! Parallel transfers of a large file. The stream that a reader follows has its own transfer. The
//! parts beyond it are fetched over spare connections, each into a local file (REST, RFC 3659 §5).
//!
//! This is done if one TCP stream does not fill the line, as with distant servers. It is tried and
//! [judged](probe). Nothing depends on a part. One that fails, or whose connection is needed by a
//! waiting operation, is left to the stream.

mod part_queue;
mod probe;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::vfs::local::quota::QuotaFile;
use crate::vfs::local::spool_dir::SpoolDir;
pub(super) use part_queue::{
    ClaimedPart, PartBytes, PartOutcome, PartQueue, PartsFor, StreamPlace, WORTH_A_DETOUR,
};
pub(super) use probe::{ProbeAction, SHORTEST_ROUND_TRIP, Verdict};
use probe::{Sample, ThroughputProbe};

/// Number of bytes left from which a file is large.
const LARGE: u64 = 32 << 20;
/// How long a verdict that parallel transfers do not pay off is remembered: the line may change.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What a mount knows about parallel transfers, and where their bytes are stored. Clones share the
/// same state.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct ParallelReads {
    spools: SpoolDir,
    known: Arc<Mutex<Option<(Verdict, Instant)>>>,
}

/// A measurement of whether parallel transfers pay off for one stream.
#[derive(Debug)]
pub(super) struct ParallelWatch {
    probe: ThroughputProbe,
    began: Instant,
    sample: Sample,
}

impl ParallelReads {
    /// Creates the state of a mount. Parts are stored in scratch files of `spools`, and count
    /// towards its quota.
    pub(in crate::vfs) fn new(spools: SpoolDir) -> Self {
        Self {
            spools,
            known: Arc::default(),
        }
    }

    /// Returns a watch for a stream of a server with this `round_trip` and `left` bytes left, or
    /// `None` if one transfer is enough.
    pub(super) fn watch(&self, round_trip: Duration, left: u64) -> Option<ParallelWatch> {
        if left < LARGE || round_trip < SHORTEST_ROUND_TRIP {
            return None;
        }
        Some(ParallelWatch {
            probe: ThroughputProbe::new(round_trip, self.known()),
            began: Instant::now(),
            sample: Sample::default(),
        })
    }

    /// Returns the verdict of another file, if it is still valid.
    pub(super) fn known(&self) -> Option<Verdict> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, at) = known?;
        (verdict == Verdict::Pays || at.elapsed() < REMEMBERED).then_some(verdict)
    }

    /// Remembers the verdict of this file.
    pub(super) fn remember(&self, verdict: Verdict) {
        log::debug!("several simultaneous transfers of one file: {verdict:?}");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((verdict, Instant::now()));
    }

    /// Returns a local file for a part of `length` bytes, if there is room for one.
    pub(super) fn scratch(&self, length: u64) -> Option<Arc<QuotaFile>> {
        match self.spools.scratch(length) {
            Ok(scratch) => Some(Arc::new(scratch)),
            Err(error) => {
                log::debug!("a large file comes over one connection: {error}");
                None
            }
        }
    }

    /// Returns the number of bytes used on the local disk.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.spools.used()
    }
}

impl ParallelWatch {
    /// Records that the stream has waited for the network since `began`, and that its own transfer
    /// received `count` bytes.
    pub(super) fn waited(&mut self, began: Instant, count: u64) {
        self.sample.waited += began.elapsed();
        self.sample.first += count;
    }

    /// Returns what to do next according to the measurements so far. `others` is the number of
    /// bytes received in parts.
    pub(super) fn look(&mut self, others: u64) -> ProbeAction {
        self.sample.elapsed = self.began.elapsed();
        self.sample.others = others;
        self.probe.look(self.sample)
    }
}

/// Whether `left` bytes are worth several transfers.
pub(super) fn is_worth_parts(left: u64) -> bool {
    left >= LARGE / 2
}
