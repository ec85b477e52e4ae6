//! The order in which things are fetched ahead. Pure bookkeeping: no thread, no network.

use std::time::Instant;

use super::relist::{PendingListing, RelistQueue};
use super::run::{FileRun, RunLimits, RunTask};
use super::time_looks::TimeLooks;
use super::walk::TreeWalk;
use crate::ftp::RemotePath;

/// Maximum number of files fetched one after the other while directories wait to be listed.
const MOST_FILES_IN_A_ROW: usize = 8;

/// What is known of the programs at work, and what there is to do.
#[derive(Debug)]
pub(super) struct PrefetchState {
    pub(super) walk: TreeWalk,
    pub(super) run: FileRun,
    pub(super) relist: RelistQueue,
    pub(super) time_looks: TimeLooks,
    pub(super) threads: usize,
    /// Threads on their way to a connection and a job.
    pub(super) coming: usize,
    /// Number of directories that the last job could list in one batch.
    pub(super) batch: usize,
    /// Number of files fetched while directories wait to be listed.
    pub(super) files_in_a_row: usize,
    pub(super) stopped: bool,
}

/// Something to do with a connection.
#[derive(Debug)]
pub(super) enum PrefetchJob {
    List(Vec<RemotePath>),
    Relist(Vec<PendingListing>),
    Read(RunTask),
}

impl PrefetchState {
    /// Creates the state of a mount with nothing to do. At most `most_ahead` bytes of listings are
    /// fetched ahead. With `always_writes`, all directories count as being written to.
    pub(super) fn new(
        limits: RunLimits,
        most_ahead: usize,
        always_writes: bool,
        now: Instant,
    ) -> Self {
        Self {
            walk: TreeWalk::new(most_ahead, now),
            run: FileRun::new(limits, now),
            relist: RelistQueue::new(always_writes),
            time_looks: TimeLooks::default(),
            threads: 0,
            coming: 0,
            batch: 1,
            files_in_a_row: 0,
            stopped: false,
        }
    }

    /// How many connections there is work for.
    pub(super) fn jobs(&mut self, now: Instant) -> usize {
        let listings = self.walk.wanted(now).div_ceil(self.batch);
        let again = self.relist.jobs(now).div_ceil(self.batch);
        listings + self.run.jobs(now) + again
    }

    /// Whether what is next takes a connection for a few round trips.
    pub(super) fn is_brief(&mut self, now: Instant) -> bool {
        !self.relist.is_awaited() && self.run.is_next_brief() && !self.are_listings_due(now)
    }

    /// Whether directories come before files. A look into a directory that is not listed costs a
    /// round trip, and a file that is read much later costs none.
    fn are_listings_due(&mut self, now: Instant) -> bool {
        let is_due = self.run.is_well_ahead() || self.files_in_a_row >= MOST_FILES_IN_A_ROW;
        is_due && self.walk.wanted(now) > 0
    }

    /// What to do with a connection that can list `batch` directories together, or, if it
    /// `is_brief`, may be used for a few round trips.
    pub(super) fn next(
        &mut self,
        batch: usize,
        is_brief: bool,
        now: Instant,
    ) -> Option<PrefetchJob> {
        if self.stopped || is_brief && !self.is_brief(now) {
            return None;
        }
        if is_brief {
            return self.read(now);
        }
        self.batch = batch;
        if self.relist.is_awaited()
            && let Some(again) = self.again(now)
        {
            return Some(again);
        }
        if self.are_listings_due(now)
            && let Some(listings) = self.listings(now)
        {
            return Some(listings);
        }
        let read = self.read(now);
        read.or_else(|| self.again(now))
            .or_else(|| self.listings(now))
    }

    fn read(&mut self, now: Instant) -> Option<PrefetchJob> {
        let task = self.run.task(now)?;
        if self.walk.wanted(now) == 0 {
            self.files_in_a_row = 0;
        } else if matches!(task, RunTask::Fetch(_)) {
            self.files_in_a_row += 1;
        }
        Some(PrefetchJob::Read(task))
    }

    /// There was no connection that lists directories. Files may come over another one.
    pub(super) fn cannot_list(&mut self) {
        self.files_in_a_row = 0;
    }

    fn again(&mut self, now: Instant) -> Option<PrefetchJob> {
        let again = self.relist.take(self.batch, now);
        (!again.is_empty()).then_some(PrefetchJob::Relist(again))
    }

    fn listings(&mut self, now: Instant) -> Option<PrefetchJob> {
        self.files_in_a_row = 0;
        let directories = self.walk.take(self.batch, now);
        (!directories.is_empty()).then_some(PrefetchJob::List(directories))
    }
}
