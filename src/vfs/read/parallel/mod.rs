//! When a large file comes over several simultaneous transfers: the stream that its reader follows
//! has its own, and the parts beyond come over spare connections, each into a local file (REST, RFC
//! 3659 §5).
//!
//! That is done where one TCP stream brings less than the line carries, which is tried and
//! [judged](probe): far servers. Nothing depends on a part. One that fails, or whose connection is
//! needed by an operation that waits, is left to the stream.

mod part_queue;
mod probe;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::vfs::local::quota::QuotaFile;
use crate::vfs::local::spool::SpoolDir;
pub(super) use part_queue::{
    ClaimedPart, PartBytes, PartOutcome, PartQueue, PartsFor, StreamPlace, WORTH_A_DETOUR,
};
pub(super) use probe::{ProbeAction, SHORTEST_ROUND_TRIP, Verdict};
use probe::{Sample, ThroughputProbe};

/// Bytes still to come from which a file is a large one.
const LARGE: u64 = 32 << 20;
/// How long the finding that several transfers do not pay is remembered: the line may change.
const REMEMBERED: Duration = Duration::from_secs(300);

/// What a mount knows of reading over several connections, and where the bytes go; shared by
/// handle.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct ParallelReads {
    spools: SpoolDir,
    known: Arc<Mutex<Option<(Verdict, Instant)>>>,
}

/// Watches whether several transfers pay for one stream.
#[derive(Debug)]
pub(super) struct ParallelWatch {
    probe: ThroughputProbe,
    began: Instant,
    sample: Sample,
}

impl ParallelReads {
    /// Parts go to scratch files of `spools`, and count as they do.
    pub(in crate::vfs) fn new(spools: SpoolDir) -> Self {
        Self {
            spools,
            known: Arc::default(),
        }
    }

    /// A watch for a stream of a server that is `round_trip` away, with `left` bytes to come; none
    /// where one transfer is enough.
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

    /// What was found with another file lately.
    pub(super) fn known(&self) -> Option<Verdict> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, at) = known?;
        (verdict == Verdict::Pays || at.elapsed() < REMEMBERED).then_some(verdict)
    }

    /// What was found with this file.
    pub(super) fn remember(&self, verdict: Verdict) {
        log::debug!("several simultaneous transfers of one file: {verdict:?}");
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((verdict, Instant::now()));
    }

    /// A local file for a part of `length` bytes, where there is room for one.
    pub(super) fn scratch(&self, length: u64) -> Option<Arc<QuotaFile>> {
        match self.spools.scratch(length) {
            Ok(scratch) => Some(Arc::new(scratch)),
            Err(error) => {
                log::debug!("a large file comes over one connection: {error}");
                None
            }
        }
    }

    /// Bytes of the local disk that are in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.spools.used()
    }
}

impl ParallelWatch {
    /// The stream waited for the network since `began`, and `count` bytes came of its own transfer.
    pub(super) fn waited(&mut self, began: Instant, count: u64) {
        self.sample.waited += began.elapsed();
        self.sample.first += count;
    }

    /// What follows from how the file has come so far; parts have brought `others` bytes.
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
