//! `ftpfs warmup`: fetches the listings of a tree into the cache.
//!
//! A few threads take directories from a stack, list them, and add their subdirectories. A stack
//! keeps few of them, because it finishes one branch of the tree before the next.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::ftp::{Completeness, Kind, RemotePath};
use crate::guarded::{self, OnDrop};
use crate::remote::ErrorKind;
use crate::vfs::Vfs;

/// Maximum number of threads. One connection is left for programs.
const MAX_THREADS: usize = 4;
/// Maximum number of directories on the stack. Further ones are skipped.
const MAX_STACK: usize = 200_000;
/// How often the caller learns about the progress.
const REPORT: Duration = Duration::from_millis(500);

/// What a warm-up has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WarmupCounts {
    /// Number of directories whose listings are known.
    pub directories: u64,
    /// Number of names in these listings.
    pub names: u64,
    /// Number of directories that could not be listed, or were skipped because there were too many.
    pub failed: u64,
    /// The first failure.
    pub failure: Option<String>,
}

/// A warm-up in progress.
#[derive(Debug, Default)]
struct Warmup {
    state: Mutex<State>,
    /// There is a directory to list, or nothing is left to do.
    changed: Condvar,
    cancel: Cancel,
}

#[derive(Debug, Default)]
struct State {
    stack: Vec<RemotePath>,
    /// Number of directories that are being listed.
    running: usize,
    counts: WarmupCounts,
}

impl Vfs {
    /// Fetches the listings of `path` and of all directories below it that are not cached. `go_on`
    /// is called with the counts about twice a second; the warm-up ends early if it returns false.
    pub(crate) fn warm_up(
        self: &Arc<Self>,
        path: RemotePath,
        mut go_on: impl FnMut(&WarmupCounts) -> bool,
    ) -> WarmupCounts {
        let warmup = Arc::new(Warmup {
            cancel: Cancel::new(),
            ..Warmup::default()
        });
        warmup.lock().stack.push(path);
        let limit = self.remote.pool_stats().limit;
        for _ in 0..limit.saturating_sub(1).clamp(1, MAX_THREADS) {
            let (shared, vfs) = (Arc::clone(&warmup), Arc::clone(self));
            if let Err(error) = guarded::spawn("ftpfs-warmup", move || shared.work(&vfs)) {
                log::debug!("no thread for a warm-up: {error}");
                if Arc::strong_count(&warmup) == 1 {
                    warmup
                        .lock()
                        .fail(&format!("cannot start a thread: {error}"));
                    break;
                }
            }
        }
        loop {
            let state = warmup.lock();
            let is_busy = |state: &mut State| !state.is_done();
            let waited = warmup.changed.wait_timeout_while(state, REPORT, is_busy);
            let state = waited.unwrap_or_else(PoisonError::into_inner).0;
            let (counts, is_done) = (state.counts.clone(), state.is_done());
            drop(state);
            if is_done || Arc::strong_count(&warmup) == 1 {
                return counts;
            }
            if !go_on(&counts) {
                warmup.cancel.cancel();
                warmup.lock().stack.clear();
                warmup.changed.notify_all();
                return counts;
            }
        }
    }

    /// Returns how many directories the cache holds.
    pub(crate) fn cached_directories(&self) -> u64 {
        self.cache.stats().directories as u64
    }
}

impl Warmup {
    fn work(&self, vfs: &Vfs) {
        while let Some(directory) = self.next() {
            let done = OnDrop::new(|| {
                self.lock().running -= 1;
                self.changed.notify_all();
            });
            self.list(vfs, &directory);
            drop(done);
        }
    }

    /// Returns the next directory, or `None` when all are listed.
    fn next(&self) -> Option<RemotePath> {
        let mut state = self.lock();
        loop {
            if let Some(directory) = state.stack.pop() {
                state.running += 1;
                return Some(directory);
            }
            if state.running == 0 {
                return None;
            }
            let waited = self.changed.wait_timeout(state, REPORT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn list(&self, vfs: &Vfs, directory: &RemotePath) {
        let fetch = || vfs.remote.with(&self.cancel).list(directory);
        let listing = match vfs.cache.snapshot_or_fetch(directory, fetch) {
            Ok(listing) => listing,
            Err(error) => {
                if error.kind != ErrorKind::Interrupted {
                    self.lock().fail(&error.to_string());
                }
                return;
            }
        };
        let problem = match listing.completeness() {
            Completeness::Unlistable => Some("the server does not list it"),
            Completeness::Unreadable => Some("its listing cannot be parsed"),
            Completeness::Complete
            | Completeness::Visible
            | Completeness::Blank
            | Completeness::Incomplete => None,
        };
        if let Some(problem) = problem {
            let failure = format!("cannot list {directory}: {problem}");
            return self.lock().fail(&failure);
        }
        let entries = (0..listing.len()).filter_map(|index| listing.get(index));
        // A link may lead out of the tree or back into it.
        let below: Vec<_> = entries
            .filter(|(_, attributes)| attributes.kind == Kind::Directory)
            .filter_map(|(name, _)| directory.join(name).ok())
            .collect();
        let mut state = self.lock();
        state.counts.directories += 1;
        state.counts.names += listing.len() as u64;
        if self.cancel.is_cancelled() {
            return;
        }
        for path in below {
            if state.stack.len() < MAX_STACK {
                state.stack.push(path);
            } else {
                state.fail("there are too many directories");
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.stack.is_empty() && self.running == 0
    }

    fn fail(&mut self, reason: &str) {
        self.counts.failed += 1;
        self.counts.failure.get_or_insert_with(|| reason.to_owned());
    }
}
