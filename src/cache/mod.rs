//! Directory listings with their attributes: an LRU bounded by memory, with an age.
//!
//! It answers from memory and never waits, except for another caller's fetch of the same directory.
//! It knows paths and names; nothing of inodes, nothing of the network. Its one lock is held for
//! moments, never while something is fetched.

mod directory;
mod flight;
mod listing;
mod state;
mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::listing::unique_hash;
use crate::ftp::{Completeness, DirectoryListing, Entry, Kind, Precision, RemotePath};

pub use listing::{Snapshot, is_same_but_case};

use directory::{Current, Directory, keep_exact_time};
use flight::{Flight, FlightOutcome};
use state::State;

/// How much and for how long.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// A listing older than this is fetched anew.
    pub ttl: Duration,
    /// Most bytes held.
    pub max_bytes: usize,
}

/// A cached entry's attributes: what a listing said, or what was done through the mount since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Size in octets.
    pub size: Option<u64>,
    /// Seconds since the epoch (UTC), and how exact.
    pub modified: Option<(i64, Precision)>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// A symlink's target, where listed.
    pub target: Option<Box<[u8]>>,
    /// A short hash of the `unique` fact; 0 where there is none.
    pub unique: u64,
}

/// How much is in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Directories of which something is known.
    pub directories: usize,
    /// Names in their listings.
    pub names: usize,
    /// Bytes that all of it takes.
    pub bytes: usize,
}

impl From<&Entry> for Attributes {
    fn from(entry: &Entry) -> Self {
        Self {
            kind: entry.kind,
            size: entry.size,
            modified: entry
                .modified
                .map(|modified| (modified.seconds, modified.precision)),
            mode: entry.mode,
            target: entry.target.as_deref().map(Box::from),
            unique: entry.unique.as_deref().map_or(0, unique_hash),
        }
    }
}

/// What the cache knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there; fresh for so long.
    Present(Attributes, Duration),
    /// A fresh listing that answers for it does not have it, or it was removed through the mount.
    Absent(Duration),
    /// Ask the server.
    Unknown,
}

/// The cache; shared by reference. `E` is what a fetch fails with.
#[derive(Debug)]
pub struct Cache<E> {
    ttl: Duration,
    clock: CacheClock,
    state: Mutex<State<FetchResult<E>>>,
}

type FetchResult<E> = Result<Arc<Snapshot>, E>;

/// Says what time it is.
struct CacheClock(Box<dyn Fn() -> Instant + Send + Sync>);

impl fmt::Debug for CacheClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<E: Clone> Cache<E> {
    /// An empty one.
    pub fn new(options: CacheOptions) -> Self {
        Self::with_clock(options, Instant::now)
    }

    /// An empty one that is told the time: for tests of what grows old.
    pub fn with_clock(
        options: CacheOptions,
        clock: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Self {
        Self {
            ttl: options.ttl,
            clock: CacheClock(Box::new(clock)),
            state: Mutex::new(State::new(options)),
        }
    }

    /// What is known of `name` in `directory`, without waiting. Asking counts as no
    /// [miss](Self::count_miss).
    pub fn lookup(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        let now = self.now();
        self.state().lookup(directory, name, now)
    }

    /// How far the fresh listing of `directory` can be trusted; none where there is no such
    /// listing.
    pub fn completeness(&self, directory: &RemotePath) -> Option<Completeness> {
        let now = self.now();
        self.state().completeness(directory, now)
    }

    /// How much is remembered now.
    pub fn stats(&self) -> CacheStats {
        self.state().stats()
    }

    /// The fresh listing of `directory`, without waiting.
    pub fn snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        let now = self.now();
        let current = self.state().current(directory, now)?;
        Some(self.merge(directory, &current))
    }

    /// The listing of `directory`: the one in memory, or what `fetch` brings.
    ///
    /// Of many concurrent askers one fetches, and the others wait for its outcome; an error goes to
    /// all of them. Changes noted while the fetch is under way are made to its result.
    pub fn snapshot_or_fetch(
        &self,
        directory: &RemotePath,
        fetch: impl FnOnce() -> Result<DirectoryListing, E>,
    ) -> Result<Arc<Snapshot>, E> {
        let flight = loop {
            match self.join_or_begin(directory) {
                Joined::Cached(current) => return Ok(self.merge(directory, &current)),
                Joined::Mine(flight) => break flight,
                Joined::Others(flight) => {
                    if let Some(outcome) = flight.wait() {
                        return outcome;
                    }
                }
            }
        };
        let begun = Fetch::new(self, directory, flight);
        let outcome = fetch();
        begun.end(outcome)
    }

    /// Begins to fetch the listing of `directory` before anybody asked for it; none where it is
    /// known or being fetched. Who asks for it meanwhile waits for [`Fetch::complete`]; a `Fetch`
    /// dropped lets them fetch it themselves.
    pub fn begin(&self, directory: &RemotePath) -> Option<Fetch<'_, E>> {
        match self.join_or_begin(directory) {
            Joined::Mine(flight) => Some(Fetch::new(self, directory, flight)),
            Joined::Cached(_) | Joined::Others(_) => None,
        }
    }

    /// Counts a lookup in `directory` that the server has to answer. Returns how many there were
    /// since the directory was last listed: after a few, a listing is the cheaper way to answer the
    /// next.
    pub fn count_miss(&self, directory: &RemotePath) -> u32 {
        self.state().count_miss(directory)
    }

    /// `name` is there with these attributes: the server said so, or it was made through the mount.
    pub fn insert(&self, directory: &RemotePath, name: &[u8], attributes: Attributes) {
        self.change(|state, now| state.insert(directory, name, attributes, now));
    }

    /// `name` is not there: it was removed through the mount, or the server said so.
    pub fn remove(&self, directory: &RemotePath, name: &[u8]) {
        self.change(|state, now| state.remove(directory, name, now));
    }

    /// Something may have become of `name`: what it is, and what is below it, is not known any
    /// more.
    pub fn invalidate(&self, directory: &RemotePath, name: &[u8]) {
        self.change(|state, now| state.invalidate(directory, name, now));
    }

    /// `from` is now `to`, and what is known below it moved along; what was at `to` is gone.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) {
        self.change(|state, now| state.rename(from, to, now));
    }

    /// A directory made through the mount: it is known to be empty.
    pub fn insert_empty_directory(&self, directory: &RemotePath) {
        let empty = Arc::new(Snapshot::new(
            Vec::new(),
            Completeness::Complete,
            self.now(),
            self.ttl,
        ));
        let mut state = self.state();
        state.forget_tree(directory);
        let before = state.replace(directory, Directory::listed(empty));
        drop(state);
        drop(before);
    }

    /// Forgets what is known of the names in `directory` (not of what is below them). A fetch that
    /// is under way serves only who waits for it already.
    pub fn forget(&self, directory: &RemotePath) {
        self.state().forget(directory);
    }

    /// Forgets `directory` and all below it.
    pub fn forget_tree(&self, directory: &RemotePath) {
        self.state().forget_tree(directory);
    }

    /// Bytes held now, by a count that comes out a little high.
    pub fn bytes(&self) -> usize {
        self.state().bytes()
    }

    fn join_or_begin(&self, directory: &RemotePath) -> Joined<E> {
        let now = self.now();
        let mut state = self.state();
        if let Some(flight) = state.flight(directory) {
            return Joined::Others(flight);
        }
        // Under the same lock: a flight that has just ended has left its listing.
        match state.current(directory, now) {
            Some(current) => Joined::Cached(current),
            None => Joined::Mine(state.begin_flight(directory)),
        }
    }

    /// Keeps a fetched listing, with the changes made since the fetch began.
    fn cache_listing(
        &self,
        directory: &RemotePath,
        flight: &Flight<FetchResult<E>>,
        listing: DirectoryListing,
    ) -> Arc<Snapshot> {
        let now = self.now();
        let snapshot = Arc::new(Snapshot::new(
            self.with_exact_times(directory, listing.entries),
            listing.completeness,
            now,
            self.ttl,
        ));
        let mut known = Directory::listed(Arc::clone(&snapshot));
        let mut state = self.state();
        let Some(changes) = flight.changes() else {
            return snapshot;
        };
        for (name, change) in changes {
            // All of them are merged below.
            let _due = known.record(&name, change, self.ttl, now);
        }
        let current = known.current_or_stale();
        let before = state.replace(directory, known);
        drop(state);
        drop(before);
        current.map_or(snapshot, |current| self.merge(directory, &current))
    }

    /// What was listed, with the exact times known before in the place of rough ones.
    fn with_exact_times(
        &self,
        directory: &RemotePath,
        entries: Vec<Entry>,
    ) -> Vec<(Vec<u8>, Attributes)> {
        let memory = self.state().memory(directory);
        let exact = |entry: Entry| {
            let mut attributes = Attributes::from(&entry);
            let is_rough = attributes
                .modified
                .is_some_and(|(_, precision)| precision > Precision::Second);
            if is_rough
                && let Some(before) = memory.as_ref().and_then(|m| m.last_known(&entry.name))
            {
                keep_exact_time(&before, &mut attributes);
            }
            (entry.name, attributes)
        };
        entries.into_iter().map(exact).collect()
    }

    /// The listing with its changes, put together without the lock and left for the next asker.
    fn merge(&self, directory: &RemotePath, current: &Current) -> Arc<Snapshot> {
        let merged = current.merged();
        if !current.is_merged() {
            self.state()
                .change_existing(directory, |known| known.finish_merge(current, &merged));
        }
        merged
    }

    /// Makes a change under the lock, and the merges that became due by it after that.
    fn change(&self, change: impl FnOnce(&mut State<FetchResult<E>>, Instant)) {
        let now = self.now();
        let due = {
            let mut state = self.state();
            change(&mut state, now);
            state.take_pending_merges()
        };
        for (directory, current) in due {
            self.merge(&directory, &current);
        }
    }

    fn now(&self) -> Instant {
        (self.clock.0)()
    }

    fn state(&self) -> MutexGuard<'_, State<FetchResult<E>>> {
        // A panic under this lock can at worst leave a directory out, which is then asked for anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined<E> {
    Cached(Current),
    Mine(Arc<Flight<FetchResult<E>>>),
    Others(Arc<Flight<FetchResult<E>>>),
}

/// A fetch under way. However it ends, nobody waits for it in vain.
#[derive(Debug)]
pub struct Fetch<'a, E: Clone> {
    cache: &'a Cache<E>,
    directory: RemotePath,
    flight: Arc<Flight<FetchResult<E>>>,
    completed: bool,
}

impl<'a, E: Clone> Fetch<'a, E> {
    fn new(
        cache: &'a Cache<E>,
        directory: &RemotePath,
        flight: Arc<Flight<FetchResult<E>>>,
    ) -> Self {
        Self {
            cache,
            directory: directory.clone(),
            flight,
            completed: false,
        }
    }

    /// Which directory is fetched.
    pub fn directory(&self) -> &RemotePath {
        &self.directory
    }

    /// The listing has come: it is kept, and given to who waits.
    pub fn complete(mut self, listing: DirectoryListing) -> Arc<Snapshot> {
        let snapshot = self
            .cache
            .cache_listing(&self.directory, &self.flight, listing);
        self.publish(Ok(Arc::clone(&snapshot)));
        snapshot
    }

    fn end(mut self, outcome: Result<DirectoryListing, E>) -> FetchResult<E> {
        let outcome = outcome.map(|listing| {
            self.cache
                .cache_listing(&self.directory, &self.flight, listing)
        });
        self.publish(outcome.clone());
        outcome
    }

    fn publish(&mut self, outcome: FetchResult<E>) {
        self.completed = true;
        self.flight.complete(FlightOutcome::Completed(outcome));
    }
}

impl<E: Clone> Drop for Fetch<'_, E> {
    fn drop(&mut self) {
        self.cache.state().end_flight(&self.directory, &self.flight);
        if !self.completed {
            self.flight.complete(FlightOutcome::Abandoned);
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
