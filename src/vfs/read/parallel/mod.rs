//! A large file over several transfers at once: its reader takes the bytes in order, and the parts
//! that follow come over connections that nobody else needs, each into a local file (REST, RFC 3659
//! §5).
//!
//! That is done where one TCP stream brings less than the line carries, which is tried and
//! [judged](probe): far servers. Nothing depends on a part. One that fails, or whose connection is
//! needed by somebody who waits, is left to the reader.
//!
//! Locks: a plan's, then a part's. Neither is held while the network is waited for.

mod fetch;
mod part;
mod part_queue;
mod probe;
#[cfg(test)]
mod tests;
mod whole_file;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guarded;
use crate::remote::{Error, ErrorKind, Version};

use super::{PinnedVersion, RangeDownload, RangeSource};
use crate::vfs::local::spool::SpoolDir;
use fetch::Fetcher;
use part::{Found, PartOutcome};
use part_queue::{PartQueue, ReaderPlace};
use probe::{ProbeAction, SHORTEST_ROUND_TRIP, Sample, ThroughputProbe, Verdict};
pub(in crate::vfs) use whole_file::WholeFileCache;

/// Bytes still to come from which a file is a large one.
const LARGE: u64 = 32 << 20;
/// So long it is remembered that several transfers at once do not pay: the line may be another one
/// then.
const REMEMBERED: Duration = Duration::from_secs(300);

/// A file of which several transfers can be begun at once.
pub(in crate::vfs) trait ParallelSource: RangeSource {
    /// Most transfers beside the reader's own.
    fn most_beside(&self) -> usize;

    /// Makes the connections for them in the background, where there are not so many yet.
    fn prepare_beside(&self);

    /// Begins a transfer over a connection that nobody else has a use for, where there is one
    /// within `patience`, of the bytes that `choose` tells then: none where it tells none. It may
    /// go on behind them.
    ///
    /// # Errors
    /// The transfer's; [`ErrorKind::Changed`] where the file is not `version` any more.
    fn open_beside(
        &self,
        patience: Duration,
        version: &Version,
        choose: &mut dyn FnMut() -> Option<Range<u64>>,
    ) -> Option<Result<Box<dyn RangeDownload>, Error>>;

    /// Whether somebody waits for a connection.
    fn is_needed_elsewhere(&self) -> bool;
}

/// What a mount knows of reading in parts; shared by handle.
#[derive(Debug, Clone)]
pub(in crate::vfs) struct Parts {
    spools: SpoolDir,
    known: Arc<Mutex<Option<(Verdict, Instant)>>>,
}

/// A transfer of a large file, and the parts beside it.
struct ParallelDownload {
    parts: Parts,
    source: Arc<dyn ParallelSource>,
    version: Version,
    size: u64,
    position: u64,
    /// What fetches the bytes at the position, where they are in no part.
    own: Option<Box<dyn RangeDownload>>,
    plan: Option<Arc<PartQueue>>,
    judge: ThroughputProbe,
    began: Instant,
    sample: Sample,
}

impl Parts {
    /// Parts go to scratch files of `spools`, and count as they do.
    pub(in crate::vfs) fn new(spools: SpoolDir) -> Self {
        Self {
            spools,
            known: Arc::default(),
        }
    }

    /// `own`, a transfer of `source` from `position` on, which is of `version`; with parts beside
    /// it where that pays.
    pub(in crate::vfs) fn beside(
        &self,
        own: Box<dyn RangeDownload>,
        source: Arc<dyn ParallelSource>,
        version: Version,
        position: u64,
    ) -> Box<dyn RangeDownload> {
        let round_trip = own.round_trip().unwrap_or_default();
        let size = version.size.unwrap_or(0);
        if size.saturating_sub(position) < LARGE || round_trip < SHORTEST_ROUND_TRIP {
            return own;
        }
        let known = self.known();
        // Who begins at the start of a large file is likely to read on: the logins need not wait
        // until that is sure.
        if position == 0 && known != Some(Verdict::DoesNotPay) {
            source.prepare_beside();
        }
        Box::new(ParallelDownload {
            parts: self.clone(),
            source,
            version,
            size,
            position,
            own: Some(own),
            plan: None,
            judge: ThroughputProbe::new(round_trip, known),
            began: Instant::now(),
            sample: Sample::default(),
        })
    }

    /// Starts `threads` that fetch what `plan` says of `source`, which is to be `version`. Where it
    /// is `expected`, the server is asked after each part whether it still is.
    fn fetch(
        &self,
        plan: &Arc<PartQueue>,
        threads: usize,
        source: &Arc<dyn ParallelSource>,
        version: &Version,
        expected: Option<&Arc<PinnedVersion>>,
    ) {
        for _ in 0..threads {
            let fetcher = Fetcher {
                source: Arc::clone(source),
                version: *version,
                expected: expected.cloned(),
                plan: Arc::clone(plan),
                spools: self.spools.clone(),
            };
            if let Err(error) = guarded::spawn("ftpfs-part", move || fetcher.run()) {
                log::debug!("fewer transfers at once: no thread: {error}");
                break;
            }
        }
    }

    fn known(&self) -> Option<Verdict> {
        let known = *self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (verdict, at) = known?;
        (verdict == Verdict::Pays || at.elapsed() < REMEMBERED).then_some(verdict)
    }

    fn remember(&self, verdict: Verdict) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((verdict, Instant::now()));
    }
}

impl RangeDownload for ParallelDownload {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let asked = Instant::now();
        let count = self.next(buffer)?;
        self.position += count as u64;
        self.sample.waited += asked.elapsed();
        self.consider();
        Ok(count)
    }
}

impl ParallelDownload {
    /// The bytes at the position, from the part they are in or from a transfer of its own.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            let Some(plan) = self.plan.clone() else {
                return self.fetch(buffer, None);
            };
            let part = match plan.place(self.position) {
                ReaderPlace::Before(distance) => return self.fetch(buffer, distance),
                ReaderPlace::In(part) => part,
            };
            self.end_own();
            let found = part.read(self.position, buffer);
            match found.map_err(|error| self.error(&error))? {
                Found::Bytes(count) => return Ok(count),
                Found::Nothing(PartOutcome::Whole) if self.position >= self.size => return Ok(0),
                Found::Nothing(PartOutcome::Whole | PartOutcome::Cut) => plan.pass(&part),
                Found::Nothing(PartOutcome::Failed) => {
                    return Err(self.error(&"a transfer of a part of it failed"));
                }
            }
        }
    }

    /// Some bytes by a transfer of its own, which ends where the next part begins, in `distance`
    /// bytes.
    fn fetch(&mut self, buffer: &mut [u8], distance: Option<u64>) -> Result<usize, Error> {
        let length = distance.map_or(buffer.len(), |distance| {
            usize::try_from(distance).map_or(buffer.len(), |distance| distance.min(buffer.len()))
        });
        let mut own = match self.own.take() {
            Some(own) => own,
            None => self.open()?,
        };
        let count = own.read(buffer.get_mut(..length).unwrap_or_default())?;
        self.own = Some(own);
        self.sample.first += count as u64;
        Ok(count)
    }

    /// Begins a transfer of its own again, behind parts.
    fn open(&self) -> Result<Box<dyn RangeDownload>, Error> {
        if !self.source.version()?.agrees(&self.version) {
            return Err(self.error(&"it is another file by now"));
        }
        match self.source.open_at(self.position)? {
            (own, start) if start == self.position => Ok(own),
            _ => Err(self.error(&"the server does not begin there any more")),
        }
    }

    /// Its own transfer is not needed where a part begins. Ending it takes the server a round trip
    /// or more, for which the reader does not wait.
    fn end_own(&mut self) {
        if let Some(own) = self.own.take() {
            // Without a thread it ends here.
            drop(guarded::spawn("ftpfs-end", move || drop(own)));
        }
    }

    /// Begins parts, or ends with them, where that is what has been seen.
    fn consider(&mut self) {
        self.sample.elapsed = self.began.elapsed();
        self.sample.others = self.plan.as_ref().map_or(0, |plan| plan.brought());
        match self.judge.look(self.sample) {
            ProbeAction::GoOn => {}
            ProbeAction::Begin => self.begin(),
            ProbeAction::Found(verdict) => {
                log::debug!("several transfers of one file at once: {verdict:?}");
                self.parts.remember(verdict);
                if verdict == Verdict::DoesNotPay
                    && let Some(plan) = &self.plan
                {
                    plan.cut();
                }
            }
        }
    }

    fn begin(&mut self) {
        let most = self.source.most_beside();
        if most == 0 || self.size - self.position < LARGE / 2 {
            return;
        }
        let plan = Arc::new(PartQueue::new(self.position, self.size, most));
        self.parts
            .fetch(&plan, most, &self.source, &self.version, None);
        self.plan = Some(plan);
    }

    /// Of a transfer that cannot go on here: whoever reads it begins another one, once the file was
    /// looked at.
    fn error(&self, reason: &dyn std::fmt::Display) -> Error {
        Error {
            kind: ErrorKind::Truncated,
            operation: "read",
            path: self.source.path(),
            reason: reason.to_string(),
        }
    }
}

impl Drop for ParallelDownload {
    fn drop(&mut self) {
        if let Some(plan) = &self.plan {
            plan.give_up();
        }
    }
}
