//! What is asked of the server before a program asks for it: listings ahead of a walk through a
//! tree, small files ahead of a program that reads a directory's in order, new listings of
//! directories that this mount writes to.
//!
//! A few threads do it over spare connections; they end when there is nothing to do, and with the
//! mount. A program waits for what they do only where it is already under way: that takes less time
//! than a question of its own. What fails is left to the program that asks.
//!
//! Only the locks of the cache and of files that are fetched are taken under its lock, which is not
//! held across the network.

mod again;
mod exact;
mod path;
pub(super) mod relist;
mod run;
mod slot;
mod state;
mod stored;
#[cfg(test)]
mod tests;
mod time_looks;
mod walk;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cache::{Cache, Snapshot};
use crate::disk_cache::{CachedShare, DiskCache};
use crate::ftp::{Kind, RemotePath, Version};
use crate::guarded;
use crate::remote::{self, BackgroundSession, RemoteHandle};

use super::VfsOptions;
use run::{RunLimits, RunTask, WantedFile};
use slot::PrefetchSlot;
use state::{PrefetchJob, PrefetchState};
use walk::{FEW_BESIDE, MOST_BESIDE, WalkStep, is_spread};

/// Most threads: more connections than that are not kept busy by one program.
const MOST_THREADS: usize = 16;
/// A thread with nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(10);
/// Connections to have when a program looks up one name after the other: it may do the same in the
/// directories below, and a connection takes several round trips.
const COMBING_CONNECTIONS: usize = 4;
/// How long a connection to spare is waited for before a look whether there is still something to
/// do.
const PATIENCE: Duration = Duration::from_millis(500);
/// Most names of a listing that are looked at for directories.
const MOST_NAMES: usize = 65_536;
/// Most names in a directory below which the directories are listed ahead by a look-up in the first
/// of them.
const FEW_NAMES: usize = 1000;
/// Most files between a directory and the one before it.
const MOST_BETWEEN: usize = 256;
/// Listings that no program has opened yet take at most this part of the memory for all.
const PART_OF_CACHE: usize = 4;

/// Works ahead; shared by handle.
#[derive(Debug, Clone)]
pub(super) struct Prefetcher {
    shared: Arc<PrefetchShared>,
}

#[derive(Debug)]
struct PrefetchShared {
    remote: RemoteHandle,
    cache: Arc<Cache<remote::Error>>,
    disk: Option<Arc<DiskCache>>,
    /// Longest wait for a file that is being fetched.
    timeout: Duration,
    dir_ttl: Duration,
    state: Mutex<PrefetchState>,
    /// Whether a walk may be under way. Lookups that memory answers take the lock only then.
    is_walking: AtomicBool,
    /// There is something to do, or the mount ends.
    work: Condvar,
}

impl Prefetcher {
    pub(super) fn new(
        remote: RemoteHandle,
        cache: Arc<Cache<remote::Error>>,
        disk: Option<Arc<DiskCache>>,
        options: &VfsOptions,
    ) -> Self {
        let now = cache.now();
        let rules = RunLimits {
            most_bytes: options.read_ahead as u64,
            open_ttl: options.open_ttl,
        };
        let most_ahead = options.cache_bytes / PART_OF_CACHE;
        let state = PrefetchState::new(rules, most_ahead, options.writeback, now);
        Self {
            shared: Arc::new(PrefetchShared {
                remote,
                cache,
                disk,
                timeout: options.timeout,
                dir_ttl: options.dir_ttl,
                state: Mutex::new(state),
                is_walking: AtomicBool::new(false),
                work: Condvar::new(),
            }),
        }
    }

    /// A program opened `directory`, which is listed so.
    pub(super) fn opened_directory(&self, directory: &RemotePath, listing: &Snapshot) {
        let shared = &self.shared;
        // Nothing listed ahead would be kept.
        if shared.dir_ttl.is_zero() {
            return;
        }
        let mut state = shared.lock();
        state.time_looks.opened(directory);
        let step = state.walk.opened(directory, shared.cache.now());
        drop(state);
        self.go_on(step, directory, Some(listing));
    }

    /// A program looks up a name in `directory`, and must wait for the server. Returns whether the
    /// directory is listed ahead: then its listing is the fastest answer.
    pub(super) fn looks_up(&self, directory: &RemotePath) -> bool {
        let shared = &self.shared;
        if shared.dir_ttl.is_zero() {
            return false;
        }
        let now = shared.cache.now();
        let before = shared.directory_before(directory);
        let follows = before.is_some_and(|before| shared.lock().walk.has_looked(&before, now))
            || shared.lock().walk.is_parent_combed(directory, now)
                && shared.has_few_beside(directory, MOST_BESIDE)
            || shared.lock().walk.has_looked_beside(directory, now)
                && shared.has_few_beside(directory, FEW_BESIDE);
        let step = shared.lock().walk.looked_up(directory, follows, now);
        self.go_on(step, directory, None);
        if step == WalkStep::Unexpected && shared.lock().run.is_under_way(now) {
            // It compares what it finds with a list that it has read, and reads what differs.
            shared.remote.expect_all();
        }
        !matches!(step, WalkStep::Stray | WalkStep::Scattered)
    }

    /// `directory` is being listed because a program looks up one name there after the other. It
    /// may do the same below.
    pub(super) fn combed(&self, directory: &RemotePath) {
        let shared = &self.shared;
        let is_new = shared.lock().walk.combed(directory, shared.cache.now());
        if is_new {
            self.anticipate(COMBING_CONNECTIONS);
        }
    }

    /// Opens connections until there are as many, because they will be needed in a moment.
    pub(super) fn anticipate(&self, connections: usize) {
        self.shared.remote.expect(connections);
    }

    /// A directory that a walk [leads to](Self::looks_up) was listed for the program.
    pub(super) fn listed(&self, directory: &RemotePath, listing: &Snapshot) {
        self.go_on(WalkStep::Expected, directory, Some(listing));
    }

    /// A name in `directory` was found in memory.
    pub(super) fn found(&self, directory: &RemotePath) {
        if self.shared.is_walking.load(Relaxed) {
            let now = self.shared.cache.now();
            // A lookup that memory answers does not wait for a thread that reads listings.
            let Ok(mut state) = self.shared.state.try_lock() else {
                return;
            };
            let is_step = state.walk.reaches(directory, now);
            self.shared.note_walk(&state);
            if is_step {
                self.call_threads(state);
            }
        }
    }

    /// Lists ahead what follows after this step of a walk.
    fn go_on(&self, step: WalkStep, directory: &RemotePath, listing: Option<&Snapshot>) {
        let shared = &self.shared;
        if step == WalkStep::Stray {
            return;
        }
        if step == WalkStep::Scattered {
            self.list_scattered(directory);
            return;
        }
        let mut next = listing.map_or_else(Vec::new, |it| directories(directory, it));
        let mut beside = Vec::new();
        if step == WalkStep::Unexpected {
            if let Some(parent) = directory.parent()
                && let Some(siblings) = shared.cache.snapshot(&parent)
            {
                beside = directories(&parent, &siblings);
            }
            let are_few = beside.len() <= FEW_BESIDE;
            next.extend_from_slice(&beside);
            next = stored::with_known_below(next, |path| shared.known_directories(path));
            beside.retain(|path| are_few && shared.cache.snapshot(path).is_none());
        }
        let mut state = shared.lock();
        state.walk.add(next);
        state.walk.add_beside(beside);
        shared.note_walk(&state);
        self.call_threads(state);
    }

    /// Lists ahead the siblings of `directory` with names as long as its own, and itself.
    fn list_scattered(&self, directory: &RemotePath) {
        let shared = &self.shared;
        let Some(parent) = directory.parent() else {
            return;
        };
        let Some(siblings) = shared.cache.snapshot(&parent) else {
            return;
        };
        let mut alike = directories(&parent, &siblings);
        alike.retain(|path| {
            let is_known = path != directory && shared.cache.snapshot(path).is_some();
            is_spread(path) && !is_known
        });
        let mut state = shared.lock();
        state.walk.add_scattered(alike);
        shared.note_walk(&state);
        self.call_threads(state);
    }

    /// A program begins to read `path`. Takes the bytes of the whole file, where they were fetched
    /// ahead and are of `version`; waits for them where they are under way.
    pub(super) fn begin_file(&self, path: &RemotePath, version: &Version) -> Option<Vec<u8>> {
        let slot = self.reads(path, version);
        slot?.take(self.shared.timeout)
    }

    /// A program begins to read `path` in `version`, from the persistent cache. What it reads next
    /// may be asked for ahead.
    pub(super) fn begin_cached_file(&self, path: &RemotePath, version: &Version) {
        drop(self.reads(path, version));
    }

    fn reads(&self, path: &RemotePath, version: &Version) -> Option<Arc<PrefetchSlot>> {
        let shared = &self.shared;
        let now = self.shared.cache.now();
        let listing = |directory: &RemotePath| {
            if shared.cache.has_pins(directory) {
                // The server may have other files under the names that programs see.
                return None;
            }
            let listing = shared.cache.snapshot(directory)?;
            let age = shared
                .dir_ttl
                .saturating_sub(shared.cache.fresh_for(&listing));
            Some((listing, now.checked_sub(age)?))
        };
        let mut state = shared.lock();
        let slot = state.run.take(path, version, now);
        let is_walked = path.parent().is_some_and(|it| {
            state.time_looks.reads(&it, now);
            state.walk.leads_on_from(&it, now)
        });
        state.run.reads(path, is_walked, now, listing);
        state.walk.touch(now);
        self.call_threads(state);
        if is_walked {
            shared.remote.expect_all();
        }
        slot
    }

    /// What the server said of `path` since it was `listed` so, if it was the same, and how long
    /// ago.
    pub(super) fn said(&self, path: &RemotePath, listed: &Version) -> Option<(Version, Duration)> {
        let state = self.shared.lock();
        let (version, at) = state.run.said(path, listed)?;
        let now = self.shared.cache.now();
        Some((version, now.saturating_duration_since(at)))
    }

    /// `path` was changed through the mount, or what is below it: what was fetched of it is of no
    /// more use.
    pub(super) fn forget(&self, path: &RemotePath) {
        self.shared.lock().run.forget(path);
    }

    /// Records that this mount changed something in `directory`.
    pub(super) fn changed_in(&self, directory: &RemotePath) {
        let mut state = self.shared.lock();
        state.relist.changed(directory, self.shared.cache.now());
    }

    /// Records that the server did not answer a question about an absent name or a followed file.
    pub(super) fn unanswered(&self) {
        self.shared
            .lock()
            .relist
            .unanswered(self.shared.cache.now());
    }

    /// Whether the server did not answer such a question a short while ago.
    pub(super) fn is_away(&self) -> bool {
        self.shared.lock().relist.is_away(self.shared.cache.now())
    }

    /// Nothing is begun from now on.
    pub(super) fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.work.notify_all();
    }

    /// Sees to it that there are threads for what there is to do.
    fn call_threads(&self, mut state: MutexGuard<'_, PrefetchState>) {
        let jobs = state.jobs(self.shared.cache.now());
        if jobs == 0 || state.stopped {
            return;
        }
        let limit = self.shared.remote.pool_stats().limit;
        let is_brief = state.is_brief(self.shared.cache.now());
        let reserve = usize::from(limit == 1 || !is_brief);
        let most = limit.saturating_sub(reserve).min(MOST_THREADS);
        let missing = jobs.min(most).saturating_sub(state.threads);
        for _ in 0..missing {
            let shared = Arc::clone(&self.shared);
            match guarded::spawn("ftpfs-ahead", move || shared.work()) {
                Ok(_) => state.threads += 1,
                Err(error) => {
                    log::debug!("nothing is fetched ahead: no thread: {error}");
                    break;
                }
            }
        }
        drop(state);
        self.shared.work.notify_all();
    }
}

impl PrefetchShared {
    fn work(&self) {
        while self.wait_for_work() {
            let is_brief = self.lock().is_brief(self.cache.now());
            let spare = guarded::catch("a wait for a spare connection", || {
                let remote = self.remote.uncancelled();
                if is_brief {
                    remote.spare_briefly(PATIENCE)
                } else {
                    remote.spare(PATIENCE)
                }
            });
            let spare = spare.flatten();
            let is_away = spare.is_none() && self.remote.is_offline();
            let mut state = self.lock();
            state.coming -= 1;
            if spare.is_none() && !is_brief {
                state.cannot_list();
            }
            let batch = spare.as_ref().map(BackgroundSession::most_to_list);
            let job = batch.and_then(|batch| state.next(batch, is_brief, self.cache.now()));
            drop(state);
            if let Some((job, mut spare)) = job.zip(spare) {
                self.run(job, &mut spare);
            } else if is_away {
                // There is none for a while, and the answer took no time.
                let pause = self
                    .work
                    .wait_timeout_while(self.lock(), PATIENCE, |state| !state.stopped);
                drop(pause);
            }
        }
    }

    /// Waits for something to do that no other thread is on its way to; false when this thread is
    /// to end.
    fn wait_for_work(&self) -> bool {
        let mut state = self.lock();
        loop {
            if !state.stopped && state.jobs(self.cache.now()) > state.coming {
                state.coming += 1;
                return true;
            }
            let (woken, timeout) = self
                .work
                .wait_timeout(state, IDLE)
                .unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if state.stopped || timeout.timed_out() {
                state.threads -= 1;
                return false;
            }
        }
    }

    fn run(&self, job: PrefetchJob, spare: &mut BackgroundSession) {
        match job {
            PrefetchJob::List(directories) => self.list(&directories, spare),
            PrefetchJob::Relist(pending) => self.relist(&pending, spare),
            PrefetchJob::Read(RunTask::Confirm(paths)) => {
                let told = guarded::catch("a look ahead", || spare.versions(&paths));
                let told = told.unwrap_or_default();
                let told = paths.into_iter().zip(told).collect();
                self.lock().run.confirmed(told, self.cache.now());
            }
            PrefetchJob::Read(RunTask::Fetch(wanted)) if self.is_cached(&wanted) => {
                wanted.slot.end(None);
                self.lock().run.fetched(&wanted);
            }
            PrefetchJob::Read(RunTask::Fetch(wanted)) => {
                let size = usize::try_from(wanted.size).unwrap_or(usize::MAX);
                let mut is_here = false;
                let mut whole = |bytes| {
                    wanted.slot.end(Some(bytes));
                    is_here = true;
                };
                let fetched = guarded::catch("a fetch ahead", || {
                    spare.fetch(&wanted.path, size, &mut whole)
                });
                if let Some(Err(error)) = &fetched {
                    log::debug!("not fetched ahead: {error}");
                }
                if !is_here {
                    wanted.slot.end(None);
                }
                self.lock().run.fetched(&wanted);
            }
        }
        self.work.notify_all();
    }

    /// Whether the persistent cache has the file.
    fn is_cached(&self, wanted: &WantedFile) -> bool {
        self.disk.as_ref().is_some_and(|disk| {
            disk.share_of(&wanted.path, wanted.slot.version()) == CachedShare::Whole
        })
    }

    /// Lists those of `directories` that have not been listed in the meantime.
    fn list(&self, directories: &[RemotePath], spare: &mut BackgroundSession) {
        let mut begun: Vec<_> = directories
            .iter()
            .map(|directory| self.cache.begin(directory))
            .collect();
        let paths: Vec<_> = begun
            .iter()
            .flatten()
            .map(|it| it.directory().clone())
            .collect();
        begun.retain(Option::is_some);
        let mut listed = |number: usize, listing, at| {
            let Some(begun) = begun.get_mut(number).and_then(Option::take) else {
                return;
            };
            let directory = begun.directory().clone();
            let listing = begun.complete_at(listing, at);
            let next = self::directories(&directory, &listing);
            self.lock().walk.listed(directory, listing.bytes(), next);
            self.work.notify_all();
        };
        guarded::catch("a listing ahead", || {
            self.list_with_times(&paths, spare, &mut listed);
        });
        drop(begun);
        let mut state = self.lock();
        for directory in directories {
            state.walk.given_up(directory);
        }
        self.note_walk(&state);
    }

    /// Returns the directory before `directory` in their parent, by the order of names.
    fn directory_before(&self, directory: &RemotePath) -> Option<RemotePath> {
        let parent = directory.parent()?;
        let siblings = self.cache.snapshot(&parent)?;
        let place = siblings.position(directory.name())?;
        let before = (place.saturating_sub(MOST_BETWEEN)..place).rev();
        let mut before = before.filter_map(|index| siblings.get(index));
        let (name, _) = before.find(|(_, attributes)| attributes.kind == Kind::Directory)?;
        parent.join(name).ok()
    }

    /// Whether at most `few` directories are beside `directory`, and few other names: then the
    /// listing of each costs little more than the single questions that it saves.
    fn has_few_beside(&self, directory: &RemotePath, few: usize) -> bool {
        directory.parent().is_some_and(|parent| {
            let listing = self.cache.snapshot(&parent);
            listing.is_some_and(|listing| {
                listing.len() <= FEW_NAMES && directories(&parent, &listing).len() <= few
            })
        })
    }

    fn note_walk(&self, state: &PrefetchState) {
        self.is_walking.store(!state.walk.is_idle(), Relaxed);
    }

    /// Returns the directories in `directory` according to its last listing, or the stored one,
    /// which may be old.
    fn known_directories(&self, directory: &RemotePath) -> Vec<RemotePath> {
        if let Some(listing) = self.cache.snapshot(directory) {
            let mut below = directories(directory, &listing);
            below.retain(|path| !is_spread(path));
            return below;
        }
        let stored = self.disk.as_ref().and_then(|disk| {
            let stored = disk.directory().read_listing(directory).ok()??;
            Snapshot::decode(&stored.bytes)
        });
        stored.map_or_else(Vec::new, |listing| directories(directory, &listing))
    }

    fn lock(&self) -> MutexGuard<'_, PrefetchState> {
        // A panic under this lock leaves counts, at worst a few jobs that are not done: they are
        // extras.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The directories in `directory`.
fn directories(directory: &RemotePath, listing: &Snapshot) -> Vec<RemotePath> {
    let names = (0..listing.len().min(MOST_NAMES)).filter_map(|index| listing.get(index));
    names
        .filter(|(_, attributes)| attributes.kind == Kind::Directory)
        .filter_map(|(name, _)| directory.join(name).ok())
        .collect()
}
