//! The threads that fetch parts, each over a connection that nobody else needs: a transfer for each
//! part, ended where the part ends.

use std::sync::Arc;
use std::time::Duration;

use super::ParallelSource;
use super::part::{Part, PartOutcome};
use super::part_queue::PartQueue;
use crate::guarded::OnDrop;
use crate::remote::{Error, Version};
use crate::vfs::local::quota::QuotaFile;
use crate::vfs::local::spool::SpoolDir;
use crate::vfs::read::{PinnedVersion, RangeDownload};

/// How long a connection is waited for before it is looked whether the part is still wanted.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes received at a time.
const BUFFER: usize = 256 << 10;

/// One of them.
pub(super) struct Fetcher {
    pub(super) source: Arc<dyn ParallelSource>,
    /// The version of the file that its reader expects.
    pub(super) version: Version,
    /// The same where parts are kept for readers in any order, none of which asks the server at the
    /// end of the file.
    pub(super) expected: Option<Arc<PinnedVersion>>,
    pub(super) plan: Arc<PartQueue>,
    pub(super) spools: SpoolDir,
}

impl Fetcher {
    /// Fetches parts as long as there are any. One that fails is the last: the reader goes on by
    /// itself.
    pub(super) fn run(&self) {
        while self.plan.wait_for_room() {
            let mut claimed = None;
            // A panic ends the part, or its reader would wait for the rest.
            let _ended = OnDrop::new(|| {
                if std::thread::panicking() {
                    self.plan.fail();
                }
            });
            let opened = self.source.open_beside(PATIENCE, &self.version, &mut || {
                claimed = self.plan.claim(|length| self.scratch(length));
                claimed.as_ref().map(|part| part.start()..part.end())
            });
            let Some(part) = claimed else {
                self.plan.pause(PATIENCE);
                continue;
            };
            let outcome = match opened {
                Some(Ok(incoming)) => self.fill(&part, incoming),
                Some(Err(error)) => Err(error),
                None => Ok(PartOutcome::Failed),
            };
            let outcome = outcome.unwrap_or_else(|error| {
                log::debug!("a part was not fetched: {error}");
                PartOutcome::Failed
            });
            // However it ended, what came may be of two files: no reader sees it before the server
            // says that it is not.
            if let Some(expected) = &self.expected {
                if let Err(error) = expected.confirm(&*self.source) {
                    log::debug!("what was fetched is not kept: {error}");
                    return self.plan.give_up();
                }
                part.confirm();
            }
            part.end_with(outcome);
            if outcome == PartOutcome::Cut {
                self.plan.leave(&part);
            }
            if outcome == PartOutcome::Failed {
                return self.plan.stop();
            }
        }
    }

    fn scratch(&self, length: u64) -> Option<QuotaFile> {
        match self.spools.scratch(length) {
            Ok(scratch) => Some(scratch),
            Err(error) => {
                log::debug!("a large file comes over one connection: {error}");
                None
            }
        }
    }

    fn fill(
        &self,
        part: &Arc<Part>,
        mut incoming: Box<dyn RangeDownload>,
    ) -> Result<PartOutcome, Error> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let missing = part.missing();
            // The file's last byte is followed by the server's word that it was the last.
            if missing == 0 && part.end() < self.plan.end() {
                return Ok(PartOutcome::Whole);
            }
            let length =
                usize::try_from(missing.max(1)).map_or(BUFFER, |missing| missing.min(BUFFER));
            let count = incoming.read(buffer.get_mut(..length).unwrap_or_default())?;
            match (count, missing) {
                (0, 0) => return Ok(PartOutcome::Whole),
                // The file ends before it should, or goes on after it: it is another one.
                (0, _) | (_, 0) => return Ok(PartOutcome::Failed),
                _ => {}
            }
            if let Err(error) = part.add(buffer.get(..count).unwrap_or_default()) {
                log::warn!("cannot keep what is read ahead: {error}");
                return Ok(PartOutcome::Failed);
            }
            self.plan.note(count as u64);
            if part.is_over() {
                return Ok(PartOutcome::Cut);
            }
            if !self.plan.has_time_within(PATIENCE) {
                self.plan.stop();
                return Ok(PartOutcome::Cut);
            }
            if self.source.is_needed_elsewhere() && !self.plan.is_next(part) {
                return Ok(PartOutcome::Cut);
            }
        }
    }
}
