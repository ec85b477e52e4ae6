//! `ftpfs warmup`: fetches the listings of a tree into the cache, and with a persistent cache also
//! the contents of its files.
//!
//! A few threads take directories from a stack, list them, and add their subdirectories. A stack
//! keeps few of them, because it finishes one branch of the tree before the next. When all are
//! listed, the threads fetch the files, so that the amount is known from the start.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::disk_cache::CachedShare;
use crate::ftp::{Completeness, Kind, RemotePath};
use crate::guarded::{self, OnDrop};
use crate::remote::ErrorKind;
use crate::vfs::Vfs;
use crate::vfs::file::remote_file::KeepOutcome;

/// Maximum number of threads. One connection is left for programs.
const MAX_THREADS: usize = 4;
/// Maximum number of directories on the stack. Further ones are skipped.
const MAX_STACK: usize = 200_000;
/// Maximum number of files whose contents are fetched. Further ones are skipped.
const MAX_FILES: usize = 1_000_000;
/// How often the caller learns about the progress.
const REPORT: Duration = Duration::from_millis(500);

/// What a warm-up has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WarmupCounts {
    /// Number of directories whose listings are known.
    pub directories: u64,
    /// Number of names in these listings.
    pub names: u64,
    /// Number of directories and files that could not be fetched, or were skipped because there
    /// were too many.
    pub failed: u64,
    /// The first failure.
    pub failure: Option<String>,
    /// The contents of files; `None` without a persistent cache.
    pub contents: Option<ContentCounts>,
}

/// How far the contents of files have been fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ContentCounts {
    /// Number of files, and of their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Those that are in the cache, or were tried.
    pub done_files: u64,
    pub done_bytes: u64,
    /// Number of files that were fetched or were there, but cannot be kept: they changed a moment
    /// ago, or are too large.
    pub unkept: u64,
}

/// A warm-up in progress.
#[derive(Debug, Default)]
struct Warmup {
    state: Mutex<State>,
    /// There is a directory to list, or nothing is left to do.
    changed: Condvar,
    cancel: Cancel,
}

/// Work for a thread.
#[derive(Debug)]
enum WarmupTask {
    List(RemotePath),
    Fetch(RemotePath, Attributes),
}

#[derive(Debug, Default)]
struct State {
    stack: Vec<RemotePath>,
    files: VecDeque<(RemotePath, Attributes)>,
    /// Number of tasks that are being done, and of directories among them.
    running: usize,
    listing: usize,
    counts: WarmupCounts,
}

impl Vfs {
    /// Fetches the listings of `path` and of all directories below it that are not cached, and with
    /// a persistent cache the contents of their files. `go_on`
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
        let mut state = warmup.lock();
        state.stack.push(path);
        state.counts.contents = self
            .services
            .disk
            .as_ref()
            .map(|_| ContentCounts::default());
        drop(state);
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
                let mut state = warmup.lock();
                state.stack.clear();
                state.files.clear();
                drop(state);
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
        while let Some(task) = self.next() {
            let is_listing = matches!(task, WarmupTask::List(_));
            let done = OnDrop::new(|| {
                let mut state = self.lock();
                state.running -= 1;
                state.listing -= usize::from(is_listing);
                drop(state);
                self.changed.notify_all();
            });
            match task {
                WarmupTask::List(directory) => self.list(vfs, &directory),
                WarmupTask::Fetch(path, attributes) => self.fetch(vfs, &path, &attributes),
            }
            drop(done);
        }
    }

    /// Returns the next task, or `None` when all are done.
    fn next(&self) -> Option<WarmupTask> {
        let mut state = self.lock();
        loop {
            if let Some(directory) = state.stack.pop() {
                state.running += 1;
                state.listing += 1;
                return Some(WarmupTask::List(directory));
            }
            if !state.is_listing()
                && let Some((path, attributes)) = state.files.pop_front()
            {
                state.running += 1;
                return Some(WarmupTask::Fetch(path, attributes));
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
        if let Some(mut contents) = state.counts.contents {
            let files = (0..listing.len()).filter_map(|index| listing.get(index));
            for (name, attributes) in files.filter(|(_, it)| it.kind == Kind::File) {
                let Ok(path) = directory.join(name) else {
                    continue;
                };
                if state.files.len() >= MAX_FILES {
                    state.fail("there are too many files");
                    break;
                }
                contents.files += 1;
                contents.bytes += attributes.size.unwrap_or(0);
                state.files.push_back((path, attributes));
            }
            state.counts.contents = Some(contents);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Fetches the contents of the file `path`, unless they are in the cache.
    fn fetch(&self, vfs: &Vfs, path: &RemotePath, attributes: &Attributes) {
        let size = attributes.size.unwrap_or(0);
        let mut counted = 0;
        let mut count = |bytes: u64| {
            let bytes = bytes.min(size - counted);
            counted += bytes;
            self.count(|contents| contents.done_bytes += bytes);
            self.cancel.is_cancelled()
        };
        if size == 0 || vfs.cached_share(path, attributes) == CachedShare::Whole {
            count(size);
            return self.count(|contents| contents.done_files += 1);
        }
        match vfs
            .services
            .keep(path, attributes, &self.cancel, &mut count)
        {
            Ok(KeepOutcome::Kept) => self.count(|contents| contents.done_files += 1),
            Ok(KeepOutcome::Unsettled) => self.count(|contents| {
                contents.done_files += 1;
                contents.unkept += 1;
            }),
            Err(error) if error.kind == ErrorKind::Interrupted => {}
            Err(error) => self.lock().fail(&error.to_string()),
        }
    }

    fn count(&self, change: impl FnOnce(&mut ContentCounts)) {
        if let Some(contents) = &mut self.lock().counts.contents {
            change(contents);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_done(&self) -> bool {
        self.stack.is_empty() && self.files.is_empty() && self.running == 0
    }

    /// Whether directories are listed or wait for that.
    fn is_listing(&self) -> bool {
        !self.stack.is_empty() || self.listing > 0
    }

    fn fail(&mut self, reason: &str) {
        self.counts.failed += 1;
        self.counts.failure.get_or_insert_with(|| reason.to_owned());
    }
}
