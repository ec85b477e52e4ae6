//! Directory listings with attributes: an LRU cache with a memory limit and a TTL.
//!
//! It answers from memory and blocks only for another caller's fetch of the same directory. It
//! knows paths and names, but neither inodes nor the network. Its single lock is held briefly and
//! never during a fetch.

mod changes;
mod directory;
mod flight;
mod listing;
mod pins;
mod state;
mod stored;
mod table;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::listing::unique_hash;
use crate::ftp::{
    Completeness, DirectoryListing, Entry, Kind, Perm, Precision, RemotePath, Version,
};
use crate::sys::BootClock;

pub(crate) use listing::{Snapshot, is_same_but_case};

use directory::{Current, Directory, keep_exact_time};
use flight::{Flight, FlightOutcome};
use state::State;

/// Limits of the cache.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// Time for which a listing or an observation is fresh.
    pub ttl: Duration,
    /// Memory limit in bytes.
    pub max_bytes: usize,
}

/// Cached attributes of an entry, from a listing, another reply or a change made through the mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Type of the entry.
    pub kind: Kind,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Modification time in seconds since the epoch (UTC), and its precision.
    pub modified: Option<(i64, Precision)>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Symlink target, if the listing has it.
    pub target: Option<Box<[u8]>>,
    /// Short hash of the `unique` fact (RFC 3659 §7.5.2); 0 if there is none.
    pub unique: u64,
    /// The `perm` fact (RFC 3659 §7.5.5), if the server reports it.
    pub perm: Option<Perm>,
}

/// Size of the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Number of cached directories.
    pub directories: usize,
    /// Number of names in their listings.
    pub names: usize,
    /// Bytes held.
    pub bytes: usize,
}

impl Attributes {
    /// Whether this is a file whose time is only known to the minute or the day.
    pub fn has_coarse_time(&self) -> bool {
        self.kind == Kind::File
            && self
                .modified
                .is_some_and(|(_, precision)| precision > Precision::Second)
    }
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
            perm: entry.perm,
        }
    }
}

impl From<&Attributes> for Version {
    fn from(attributes: &Attributes) -> Self {
        Self {
            size: attributes.size,
            modified: attributes.modified,
            unique: attributes.unique,
        }
    }
}

/// The last listing of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListingAge {
    /// Time since the server listed the directory.
    pub age: Duration,
    /// How long the fetch took, with the wait for a connection.
    pub took: Duration,
}

/// What the cache knows about a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The name exists. Valid for the given time.
    Present(Attributes, Duration),
    /// The name does not exist: a fresh listing that answers for it lacks it, or it was removed.
    /// Valid for the given time.
    Absent(Duration),
    /// Only the server can tell.
    Unknown,
}

/// The cache. All methods take `&self`. `E` is the error of a fetch.
#[derive(Debug)]
pub struct Cache<E> {
    ttl: Duration,
    clock: CacheClock,
    state: Mutex<State<FetchResult<E>>>,
}

type FetchResult<E> = Result<Arc<Snapshot>, E>;

/// Returns the current time.
struct CacheClock(Box<dyn Fn() -> Instant + Send + Sync>);

impl fmt::Debug for CacheClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl<E: Clone> Cache<E> {
    /// Creates an empty cache. What it knows grows old also while the machine sleeps.
    pub fn new(options: CacheOptions) -> Self {
        let clock = BootClock::start();
        Self::with_clock(options, move || clock.now())
    }

    /// Creates an empty cache with its own clock, for tests of expiry.
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

    /// Looks up `name` in `directory` without waiting. Does not count as a
    /// [miss](Self::count_miss).
    pub fn lookup(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        let now = self.now();
        self.state().lookup(directory, name, now)
    }

    /// Returns how complete the listing of `directory` is, if there is a fresh one.
    pub fn completeness(&self, directory: &RemotePath) -> Option<Completeness> {
        let now = self.now();
        self.state().completeness(directory, now)
    }

    /// Returns how old the last listing of `directory` is, fresh or not, and how long it took.
    pub fn listing_age(&self, directory: &RemotePath) -> Option<ListingAge> {
        let now = self.now();
        let state = self.state();
        let listing = state.listing(directory)?;
        Some(ListingAge {
            age: listing.age_at(now),
            took: listing.took(),
        })
    }

    /// Returns the number of names in the last listing of `directory`, fresh or not.
    pub fn listed_names(&self, directory: &RemotePath) -> Option<usize> {
        Some(self.state().listing(directory)?.len())
    }

    /// Returns the current size of the cache.
    pub fn stats(&self) -> CacheStats {
        self.state().stats()
    }

    /// Returns the fresh listing of `directory`, if there is one, without waiting.
    pub fn snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        let now = self.now();
        let current = self.state().current(directory, now)?;
        Some(self.merge(directory, &current))
    }

    /// Returns what was last known of `name` in `directory`, however old, for when the server
    /// cannot be asked. Valid for no time.
    pub fn last_answer(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        self.state().last_answer(directory, name)
    }

    /// Returns the last listing of `directory` with the changes since, however old, for when the
    /// server cannot be asked.
    pub fn last_snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        let current = self.state().current_or_stale(directory)?;
        Some(current.merged())
    }

    /// Remaining time for which `listing` is fresh.
    pub fn fresh_for(&self, listing: &Snapshot) -> Duration {
        listing.fresh_at(self.now())
    }

    /// Adds an old listing of `directory`, which answers only while the server cannot be asked.
    pub(crate) fn restore(&self, directory: &RemotePath, listing: Snapshot) {
        let now = self.now();
        self.state().restore(directory, Arc::new(listing), now);
    }

    /// Calls `observer` with each directory that has a new listing or changes of its last one. It
    /// must not call the cache.
    pub(crate) fn observe(&self, observer: impl Fn(&RemotePath) + Send + 'static) {
        self.state().observer = Some(Box::new(observer));
    }

    /// Returns the listing of `directory` from memory or from `fetch`.
    ///
    /// Of concurrent callers one fetches, and the others wait for its outcome; an error goes to all
    /// of them. Changes recorded during the fetch are applied to its result.
    pub fn snapshot_or_fetch(
        &self,
        directory: &RemotePath,
        fetch: impl FnOnce() -> Result<DirectoryListing, E>,
    ) -> Result<Arc<Snapshot>, E> {
        self.recent_or_fetch(directory, Duration::MAX, fetch)
    }

    /// Like [`Self::snapshot_or_fetch`], but the cached listing is used only if it is younger than
    /// `max_age`. An older one remains in the cache until the new one arrives.
    pub fn recent_or_fetch(
        &self,
        directory: &RemotePath,
        max_age: Duration,
        fetch: impl FnOnce() -> Result<DirectoryListing, E>,
    ) -> Result<Arc<Snapshot>, E> {
        let flight = loop {
            match self.join_or_begin(directory, max_age) {
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

    /// Starts a fetch of `directory` ahead of its first use. Returns `None` if the listing is
    /// cached or being fetched. Concurrent callers wait for [`Fetch::complete`]; if the `Fetch` is
    /// dropped, they fetch it themselves.
    pub fn begin(&self, directory: &RemotePath) -> Option<Fetch<'_, E>> {
        self.begin_again(directory, Duration::MAX)
    }

    /// Like [`Self::begin`], but also replaces a cached listing that is not younger than `max_age`.
    /// It remains in the cache until the new one arrives.
    pub fn begin_again(&self, directory: &RemotePath, max_age: Duration) -> Option<Fetch<'_, E>> {
        match self.join_or_begin(directory, max_age) {
            Joined::Mine(flight) => Some(Fetch::new(self, directory, flight)),
            Joined::Cached(_) | Joined::Others(_) => None,
        }
    }

    /// Waits for a fetch of `directory` that is under way and began at most `max_age` ago. Returns
    /// whether there was one.
    pub fn wait_for_fetch(&self, directory: &RemotePath, max_age: Duration) -> bool {
        let now = self.now();
        let flight = self.state().flight(directory);
        let age = |flight: &Flight<_>| now.saturating_duration_since(flight.began);
        let recent = flight.filter(|it| age(it) < max_age);
        recent.map(|flight| flight.wait()).is_some()
    }

    /// Counts a lookup in `directory` that goes to the server. Returns the number since the last
    /// listing: after a few, listing the directory is the cheaper way to answer the next one.
    pub fn count_miss(&self, directory: &RemotePath) -> u32 {
        self.state().count_miss(directory)
    }

    /// Records that `name` exists with these attributes, according to the server or a change made
    /// through the mount.
    pub fn insert(&self, directory: &RemotePath, name: &[u8], attributes: Attributes) {
        self.change(|state, now| state.insert(directory, name, attributes, now));
    }

    /// Records the exact time of `name`, of which `before` is known, if `exact` is the same
    /// version. Returns whether it is.
    pub fn refine(
        &self,
        directory: &RemotePath,
        name: &[u8],
        before: &Attributes,
        exact: &Version,
    ) -> bool {
        self.change(|state, now| state.refine(directory, name, before, exact, now))
    }

    /// Records that `name` does not exist, according to the server or a change made through the
    /// mount.
    pub fn remove(&self, directory: &RemotePath, name: &[u8]) {
        self.change(|state, now| state.remove(directory, name, now));
    }

    /// Marks the state of `name`, and of everything below it, as unknown.
    pub fn invalidate(&self, directory: &RemotePath, name: &[u8]) {
        self.change(|state, now| state.invalidate(directory, name, now));
    }

    /// Records what this mount will make of `name`: attributes, or nothing. It hides what the
    /// server says until [`Self::unpin`].
    pub(crate) fn pin(&self, directory: &RemotePath, name: &[u8], known: Option<Attributes>) {
        self.change(|state, now| state.pin(directory, name, known, now));
    }

    /// Records what is pinned of `name` as an observation: the server has it now.
    pub(crate) fn confirm_pin(&self, directory: &RemotePath, name: &[u8]) {
        self.change(|state, now| state.confirm_pin(directory, name, now));
    }

    /// Lets the server say what `name` is from now on.
    pub(crate) fn unpin(&self, directory: &RemotePath, name: &[u8]) {
        self.state().pins.unpin(directory, name);
    }

    /// Whether a name in `directory` is [pinned](Self::pin).
    pub(crate) fn has_pins(&self, directory: &RemotePath) -> bool {
        self.state().pins.in_directory(directory).next().is_some()
    }

    /// Whether `name` is [pinned](Self::pin).
    pub(crate) fn is_pinned(&self, directory: &RemotePath, name: &[u8]) -> bool {
        self.state().pins.get(directory, name).is_some()
    }

    /// Records that this mount has made `directory`, and no other client can know it yet.
    pub(crate) fn set_private(&self, directory: &RemotePath) {
        self.state().pins.set_private(directory);
    }

    /// Whether this mount has made `directory`, and no listing has shown a name there that this
    /// mount did not know.
    pub(crate) fn is_private(&self, directory: &RemotePath) -> bool {
        self.state().pins.is_private(directory)
    }

    /// Moves `from`, and everything known below it, to `to`. Forgets what was at `to`.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) {
        self.change(|state, now| state.rename(from, to, now));
    }

    /// Records a new directory, made through the mount and known to be empty.
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

    /// Forgets the names in `directory`, but not what is below them. A fetch in progress serves its
    /// current waiters only.
    pub fn forget(&self, directory: &RemotePath) {
        self.state().forget(directory);
    }

    /// Forgets `directory` and everything below it.
    pub fn forget_tree(&self, directory: &RemotePath) {
        self.state().forget_tree(directory);
    }

    /// Bytes held; the count is slightly too high.
    pub fn bytes(&self) -> usize {
        self.state().bytes()
    }

    fn join_or_begin(&self, directory: &RemotePath, max_age: Duration) -> Joined<E> {
        let now = self.now();
        let mut state = self.state();
        // A fetch that replaces a listing while it is fresh enough holds up no caller.
        if let Some(current) = state.current(directory, now)
            && current.listing.age_at(now) < max_age
        {
            return Joined::Cached(current);
        }
        match state.flight(directory) {
            Some(flight) => Joined::Others(flight),
            None => Joined::Mine(state.begin_flight(directory, now)),
        }
    }

    /// Caches a fetched listing together with the changes made since the fetch began.
    fn cache_listing(
        &self,
        directory: &RemotePath,
        flight: &Flight<FetchResult<E>>,
        listing: DirectoryListing,
        listed: Instant,
    ) -> Arc<Snapshot> {
        let now = self.now();
        let perm = listing.perm;
        let snapshot = Snapshot::new(
            self.with_exact_times(directory, listing.entries),
            listing.completeness,
            listed,
            self.ttl,
        );
        let took = listed.saturating_duration_since(flight.began);
        let snapshot = Arc::new(snapshot.with_perm(perm).fetched_in(took));
        let mut known = Directory::listed(Arc::clone(&snapshot));
        let mut state = self.state();
        let Some(changes) = flight.changes() else {
            state.add_pins(directory, &mut known, now);
            drop(state);
            let current = known.current_or_stale();
            return current.map_or(snapshot, |current| current.merged());
        };
        for (name, change) in changes {
            // The merge below includes all of them.
            let _due = known.record(&name, change, self.ttl, now);
        }
        state.check_private(directory, &snapshot);
        state.add_pins(directory, &mut known, now);
        let current = known.current_or_stale();
        let before = state.replace(directory, known);
        drop(state);
        drop(before);
        current.map_or(snapshot, |current| self.merge(directory, &current))
    }

    /// Returns the listed entries, with known exact times in place of coarse ones.
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

    /// Merges the listing with its changes outside the lock, and caches the result.
    fn merge(&self, directory: &RemotePath, current: &Current) -> Arc<Snapshot> {
        let merged = current.merged();
        if !current.is_merged() {
            self.state()
                .change_existing(directory, |known| known.finish_merge(current, &merged));
        }
        merged
    }

    /// Applies a change under the lock, then runs the merges that it made due.
    fn change<T>(&self, change: impl FnOnce(&mut State<FetchResult<E>>, Instant) -> T) -> T {
        let now = self.now();
        let (outcome, due) = {
            let mut state = self.state();
            (change(&mut state, now), state.take_pending_merges())
        };
        for (directory, current) in due {
            self.merge(&directory, &current);
        }
        outcome
    }

    /// Returns the current time, which counts the sleep of the machine.
    pub(crate) fn now(&self) -> Instant {
        (self.clock.0)()
    }

    fn state(&self) -> MutexGuard<'_, State<FetchResult<E>>> {
        // At worst, a panic under this lock loses a directory, which is then listed again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined<E> {
    Cached(Current),
    Mine(Arc<Flight<FetchResult<E>>>),
    Others(Arc<Flight<FetchResult<E>>>),
}

/// A fetch in progress. Dropping it releases all waiters.
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

    /// The directory being fetched.
    pub fn directory(&self) -> &RemotePath {
        &self.directory
    }

    /// Caches the listing, which has just arrived, and hands it to the waiters.
    pub fn complete(self, listing: DirectoryListing) -> Arc<Snapshot> {
        let now = self.cache.now();
        self.complete_at(listing, now)
    }

    /// Caches the listing, which arrived at the time `listed`, and hands it to the waiters.
    pub fn complete_at(mut self, listing: DirectoryListing, listed: Instant) -> Arc<Snapshot> {
        let snapshot = self
            .cache
            .cache_listing(&self.directory, &self.flight, listing, listed);
        self.publish(Ok(Arc::clone(&snapshot)));
        snapshot
    }

    fn end(mut self, outcome: Result<DirectoryListing, E>) -> FetchResult<E> {
        let outcome = outcome.map(|listing| {
            self.cache
                .cache_listing(&self.directory, &self.flight, listing, self.cache.now())
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
mod exact_time_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod pin_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod trust_tests;
