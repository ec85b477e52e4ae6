//! Exact times for programs that compare them, on servers whose listings show coarse ones.

use super::walk::is_spread;
use super::{PrefetchShared, Prefetcher};
use crate::ftp::{DirectoryListing, RemotePath};
use crate::remote::BackgroundSession;

impl Prefetcher {
    /// Whether the program that looks names up in `directory`, to which a walk
    /// [leads](Self::looks_up), most likely compares the times of its files.
    pub(in crate::vfs) fn compares_times(&self, directory: &RemotePath) -> bool {
        self.shared.compares_times(directory)
    }

    /// A program looks up a file in `directory` whose coarse time is in memory. Returns whether it
    /// most likely compares times: it looks up one after the other, and opens no directory.
    pub(in crate::vfs) fn looks_at_time(&self, directory: &RemotePath) -> bool {
        let shared = &self.shared;
        if is_spread(directory) || !shared.remote.uncancelled().can_complete_times() {
            return false;
        }
        let now = shared.cache.now();
        shared.lock().time_looks.looks(directory, now)
    }

    /// Records that the exact times in `directory` are requested.
    pub(in crate::vfs) fn requests_times(&self, directory: &RemotePath) {
        let now = self.shared.cache.now();
        self.shared.lock().time_looks.requested(directory, now);
    }
}

impl PrefetchShared {
    /// Whether the program that looks names up in `directory` most likely compares times, which
    /// its listing may not show exactly. Where names are digests, they say what a file is.
    fn compares_times(&self, directory: &RemotePath) -> bool {
        if !self.remote.uncancelled().can_complete_times() || is_spread(directory) {
            return false;
        }
        let (state, now) = (self.lock(), self.cache.now());
        let compares = state.walk.is_by_names() && !state.time_looks.is_read(directory, now);
        drop(state);
        // The cache keeps the exact times of files that have not changed.
        compares
            && self.cache.snapshot(directory).is_none_or(|listing| {
                let mut files = (0..listing.len()).filter_map(|index| listing.get(index));
                files.any(|(_, attributes)| attributes.has_coarse_time())
            })
    }

    /// Lists `paths`, with exact times where the program that walks there most likely compares
    /// them.
    pub(super) fn list_with_times(
        &self,
        paths: &[RemotePath],
        spare: &mut BackgroundSession,
        listed: &mut dyn FnMut(usize, DirectoryListing),
    ) {
        let mut coarse = Vec::new();
        spare.list(paths, &mut |number, listing| match paths.get(number) {
            Some(path) if self.compares_times(path) => {
                coarse.push((number, path.clone(), listing));
            }
            _ => listed(number, listing),
        });
        let listings = coarse.iter_mut();
        spare.complete_times(listings.map(|(_, path, listing)| (&*path, listing)));
        for (number, _, listing) in coarse {
            listed(number, listing);
        }
    }
}
