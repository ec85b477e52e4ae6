//! Exact times for programs that compare them, on servers whose listings show coarse ones.

use std::time::Instant;

use super::walk::is_spread;
use super::{PrefetchShared, Prefetcher};
use crate::ftp::{DirectoryListing, RemotePath};
use crate::remote::BackgroundSession;
use crate::remote::exact_times::{MOST_EXACT_TIMES, coarse_times};

impl Prefetcher {
    /// Whether the program that looks names up in `directory`, to which a walk
    /// [leads](Self::looks_up), most likely compares the times of its files.
    pub(in crate::vfs) fn compares_times(&self, directory: &RemotePath) -> bool {
        self.shared.compares_times(directory)
    }

    /// A program looks up the file `name` in `directory`, whose coarse time is in memory. Returns
    /// whether it most likely compares times: it looks up one after the other, and opens no
    /// directory.
    pub(in crate::vfs) fn looks_at_time(&self, directory: &RemotePath, name: &[u8]) -> bool {
        let shared = &self.shared;
        if is_spread(directory) || !shared.remote.uncancelled().can_complete_times() {
            return false;
        }
        let now = shared.cache.now();
        shared.lock().time_looks.looks(directory, name, now)
    }

    /// Records that the exact times in `directory` are requested.
    pub(in crate::vfs) fn requests_times(&self, directory: &RemotePath) {
        let now = self.shared.cache.now();
        self.shared.lock().time_looks.requested(directory, now);
    }

    /// Records that the server reported no exact time in `directory` that is the listed one.
    pub(in crate::vfs) fn found_no_times(&self, directory: &RemotePath) {
        let now = self.shared.cache.now();
        self.shared.lock().time_looks.found_none(directory, now);
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
    /// them. Passes each listing to `listed` with its index and the time of its arrival.
    pub(super) fn list_with_times(
        &self,
        paths: &[RemotePath],
        spare: &mut BackgroundSession,
        listed: &mut dyn FnMut(usize, DirectoryListing, Instant),
    ) {
        let (mut coarse, mut room) = (Vec::new(), MOST_EXACT_TIMES);
        spare.list(paths, &mut |number, listing| {
            let at = self.cache.now();
            let files = coarse_times(&listing);
            match paths.get(number) {
                Some(path) if (1..=room).contains(&files) && self.compares_times(path) => {
                    room -= files;
                    coarse.push((number, path.clone(), listing, at));
                }
                _ => listed(number, listing, at),
            }
        });
        let listings = coarse.iter_mut();
        spare.complete_times(listings.map(|(_, path, listing, _)| (&*path, listing)));
        for (number, _, listing, at) in coarse {
            listed(number, listing, at);
        }
    }
}
