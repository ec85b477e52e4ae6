//! New listings in place of old ones, fetched in the background.

use std::time::Duration;

use super::relist::{OldAbsence, PendingListing, relist_interval};
use super::{PrefetchShared, Prefetcher};
use crate::cache::ListingAge;
use crate::ftp::RemotePath;
use crate::guarded;
use crate::remote::BackgroundSession;

impl Prefetcher {
    /// Decides about a name that an old listing of `directory` lacks. If this mount writes there,
    /// the directory is listed again in the background, at most once per `interval`.
    pub(in crate::vfs) fn old_absence(
        &self,
        directory: &RemotePath,
        listed: Option<ListingAge>,
        interval: Duration,
    ) -> OldAbsence {
        let mut state = self.shared.lock();
        let now = self.shared.cache.now();
        let answer = state.relist.absent(directory, listed, interval, now);
        if state.relist.jobs(now) > 0 {
            self.call_threads(state);
        }
        answer
    }

    /// A program waits for a new listing of `directory`, because the known one has got old. Those
    /// of the directories below that it looked into before, and will again, and those that it reads
    /// next are replaced at the same time, if they will soon be old, too.
    pub(in crate::vfs) fn looks_again(&self, directory: &RemotePath, open_ttl: Duration) {
        let shared = &self.shared;
        let (now, soon) = (shared.cache.now(), open_ttl / 2);
        let mut next = {
            let state = shared.lock();
            let below = state.walk.looked_below(directory, now);
            let beside = state.run.directories_behind(directory);
            below.into_iter().chain(beside).collect::<Vec<_>>()
        };
        next.retain(|path| {
            let listed = shared.cache.listing_age(path);
            listed.is_some_and(|it| it.age >= relist_interval(soon, Some(it)))
        });
        if next.is_empty() {
            return;
        }
        let mut state = shared.lock();
        state.relist.again(next, soon, now);
        self.call_threads(state);
    }
}

impl PrefetchShared {
    /// Replaces old listings, which answer lookups in the meantime.
    pub(super) fn relist(&self, pending: &[PendingListing], spare: &mut BackgroundSession) {
        let fetch = |it: &PendingListing| self.cache.begin_again(&it.directory, it.max_age);
        let mut begun: Vec<_> = pending.iter().filter_map(fetch).map(Some).collect();
        let paths: Vec<_> = begun.iter().flatten().collect();
        let paths: Vec<_> = paths.iter().map(|it| it.directory().clone()).collect();
        let mut listed = |number: usize, listing| {
            if let Some(begun) = begun.get_mut(number).and_then(Option::take) {
                begun.complete(listing);
            }
        };
        guarded::catch("a listing in the background", || {
            spare.list(&paths, &mut listed);
        });
    }
}
