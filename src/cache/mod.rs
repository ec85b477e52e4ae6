//! Directory listings with their attributes: an LRU bounded by memory, with an age.
//!
//! It answers from memory and never waits, except for another caller's fetch of the same directory.
//! It knows paths and names; nothing of inodes, nothing of the network. Its one lock is held for
//! moments, never while something is fetched.

mod directory;
mod flight;
mod listing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::ftp::listing::unique_hash;
use crate::ftp::{Entry, Kind, Precision, RemotePath};

pub use listing::Snapshot;

use directory::Directory;
use flight::{Flight, Outcome};

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
    /// A complete fresh listing does not have it, or it was removed through the mount.
    Absent(Duration),
    /// Ask the server.
    Unknown,
}

/// What was heard of one name apart from a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Present(Attributes),
    Absent,
    /// Something changed there, and what it is now is not known.
    Doubtful,
}

/// The cache; shared by reference. `E` is what a fetch fails with.
#[derive(Debug)]
pub struct Cache<E> {
    options: CacheOptions,
    state: Mutex<State<E>>,
}

type Landing<E> = Result<Arc<Snapshot>, E>;

#[derive(Debug)]
struct State<E> {
    directories: LruCache<RemotePath, Directory>,
    bytes: usize,
    flights: HashMap<RemotePath, Arc<Flight<Landing<E>>>>,
}

impl<E: Clone> Cache<E> {
    /// An empty one.
    pub fn new(options: CacheOptions) -> Self {
        let directories = LruCache::unbounded();
        let state = State {
            directories,
            bytes: 0,
            flights: HashMap::new(),
        };
        Self {
            options,
            state: Mutex::new(state),
        }
    }

    /// What is known of `name` in `directory`, without waiting.
    pub fn lookup(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        self.lookup_at(directory, name, Instant::now())
    }

    /// The complete fresh listing of `directory`, without waiting.
    pub fn snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        self.snapshot_at(directory, Instant::now())
    }

    /// The listing of `directory`: the one in memory, or what `fetch` brings.
    ///
    /// Of many concurrent askers one fetches, and the others wait for its outcome; an error goes to
    /// all of them. Changes noted while the fetch is under way are made to its result.
    pub fn snapshot_or_fetch(
        &self,
        directory: &RemotePath,
        fetch: impl FnOnce() -> Result<Vec<Entry>, E>,
    ) -> Result<Arc<Snapshot>, E> {
        let flight = loop {
            match self.join_or_begin(directory) {
                Joined::Known(snapshot) => return Ok(snapshot),
                Joined::Mine(flight) => break flight,
                Joined::Others(flight) => {
                    if let Some(outcome) = flight.wait() {
                        return outcome;
                    }
                }
            }
        };
        let guard = Landed {
            cache: self,
            directory,
            flight: &flight,
        };
        let outcome = fetch().map(|entries| self.keep(directory, &flight, entries));
        flight.land(Outcome::Landed(outcome.clone()));
        drop(guard);
        outcome
    }

    /// How many lookups in `directory` went unanswered since it was last listed: after a few, a
    /// listing is the cheaper way to know.
    pub fn misses(&self, directory: &RemotePath) -> u32 {
        self.state()
            .directories
            .peek(directory)
            .map_or(0, Directory::misses)
    }

    /// `name` is there with these attributes: the server said so, or it was made through the mount.
    pub fn insert(&self, directory: &RemotePath, name: &[u8], attributes: Attributes) {
        self.note(directory, name, Known::Present(attributes));
    }

    /// `name` is not there: it was removed through the mount, or the server said so.
    pub fn remove(&self, directory: &RemotePath, name: &[u8]) {
        if let Ok(path) = directory.join(name) {
            self.forget_tree(&path);
        }
        self.note(directory, name, Known::Absent);
    }

    /// `from` is now `to`, and what is known below it moved along; what was at `to` is gone.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) {
        let (Some(old), Some(new)) = (from.parent(), to.parent()) else {
            return;
        };
        self.forget_tree(to);
        let known = {
            let mut state = self.state();
            let known = state
                .directories
                .peek(&old)
                .and_then(|at| at.last_known(from.name()));
            let below: Vec<_> = state.paths_below(from);
            for path in below {
                let Some(moved) = path.rebased(from, to) else {
                    continue;
                };
                if let Some(directory) = state.take(&path) {
                    state.put(moved, directory);
                }
            }
            state.make_flights_stale(from);
            known
        };
        self.note(&old, from.name(), Known::Absent);
        self.note(
            &new,
            to.name(),
            known.map_or(Known::Doubtful, Known::Present),
        );
    }

    /// A directory made through the mount: it is known to be empty.
    pub fn insert_empty_directory(&self, directory: &RemotePath) {
        let empty = Arc::new(Snapshot::new(Vec::new(), Instant::now() + self.options.ttl));
        self.state()
            .put(directory.clone(), Directory::listed(empty));
        self.evict();
    }

    /// Forgets what is known of the names in `directory` (not of what is below them).
    pub fn forget(&self, directory: &RemotePath) {
        let mut state = self.state();
        state.take(directory);
        if let Some(flight) = state.flights.get(directory) {
            flight.make_stale();
        }
    }

    /// Forgets `directory` and all below it.
    pub fn forget_tree(&self, directory: &RemotePath) {
        let mut state = self.state();
        for path in state.paths_below(directory) {
            state.take(&path);
        }
        state.make_flights_stale(directory);
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn lookup_at(&self, directory: &RemotePath, name: &[u8], now: Instant) -> Answer {
        let ttl = self.options.ttl;
        let mut state = self.state();
        if let Some(known) = state.directories.get_mut(directory) {
            return known.lookup(name, ttl, now);
        }
        // The miss is counted, too.
        let mut directory_known = Directory::default();
        let answer = directory_known.lookup(name, ttl, now);
        state.put(directory.clone(), directory_known);
        drop(state);
        self.evict();
        answer
    }

    fn snapshot_at(&self, directory: &RemotePath, now: Instant) -> Option<Arc<Snapshot>> {
        self.state().snapshot(directory, now)
    }

    fn note(&self, directory: &RemotePath, name: &[u8], known: Known) {
        {
            let mut state = self.state();
            if let Some(flight) = state.flights.get(directory) {
                flight.note(name, known.clone());
            }
            let mut at = state.take(directory).unwrap_or_default();
            at.note(name, known, Instant::now());
            state.put(directory.clone(), at);
        }
        self.evict();
    }

    fn join_or_begin(&self, directory: &RemotePath) -> Joined<E> {
        let mut state = self.state();
        if let Some(flight) = state.flights.get(directory) {
            return Joined::Others(Arc::clone(flight));
        }
        // Under the same lock: a flight that has just ended has left its listing.
        if let Some(snapshot) = state.snapshot(directory, Instant::now()) {
            return Joined::Known(snapshot);
        }
        let flight = Arc::new(Flight::new());
        state.flights.insert(directory.clone(), Arc::clone(&flight));
        Joined::Mine(flight)
    }

    /// Keeps a fetched listing, with the changes made since the fetch began.
    fn keep(
        &self,
        directory: &RemotePath,
        flight: &Flight<Landing<E>>,
        entries: Vec<Entry>,
    ) -> Arc<Snapshot> {
        let now = Instant::now();
        let mut listed: Vec<_> = entries
            .into_iter()
            .map(|entry| {
                let attributes = Attributes::from(&entry);
                (entry.name, attributes)
            })
            .collect();
        let snapshot = {
            let mut state = self.state();
            let before = state.take(directory);
            if let Some(before) = &before {
                before.keep_exact_times(&mut listed);
            }
            let snapshot = Arc::new(Snapshot::new(listed, now + self.options.ttl));
            let Some(changes) = flight.changes() else {
                return snapshot;
            };
            let mut at = Directory::listed(Arc::clone(&snapshot));
            for (name, known) in changes {
                at.note(&name, known, now);
            }
            let merged = at.snapshot(now);
            state.put(directory.clone(), at);
            merged.unwrap_or(snapshot)
        };
        self.evict();
        snapshot
    }

    /// Lets go of the directories that were not used for longest, until the rest fits.
    fn evict(&self) {
        let mut state = self.state();
        while state.bytes > self.options.max_bytes {
            let Some((path, directory)) = state.directories.pop_lru() else {
                return;
            };
            state.bytes = state.bytes.saturating_sub(cost(&path, &directory));
        }
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        // A panic under this lock can at worst leave a directory out, which is then asked for anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Joined<E> {
    Known(Arc<Snapshot>),
    Mine(Arc<Flight<Landing<E>>>),
    Others(Arc<Flight<Landing<E>>>),
}

/// Ends a flight however its fetch ends.
struct Landed<'a, E: Clone> {
    cache: &'a Cache<E>,
    directory: &'a RemotePath,
    flight: &'a Arc<Flight<Landing<E>>>,
}

impl<E: Clone> Drop for Landed<'_, E> {
    fn drop(&mut self) {
        let mut state = self.cache.state();
        state.flights.remove(self.directory);
        drop(state);
        if std::thread::panicking() {
            self.flight.land(Outcome::Lost);
        }
    }
}

impl<E> State<E> {
    fn take(&mut self, path: &RemotePath) -> Option<Directory> {
        let (path, directory) = self.directories.pop_entry(path)?;
        self.bytes = self.bytes.saturating_sub(cost(&path, &directory));
        Some(directory)
    }

    fn put(&mut self, path: RemotePath, directory: Directory) {
        self.take(&path);
        self.bytes += cost(&path, &directory);
        self.directories.put(path, directory);
    }

    fn snapshot(&mut self, path: &RemotePath, now: Instant) -> Option<Arc<Snapshot>> {
        let mut known = self.take(path)?;
        let snapshot = known.snapshot(now);
        self.put(path.clone(), known);
        snapshot
    }

    fn paths_below(&self, ancestor: &RemotePath) -> Vec<RemotePath> {
        let below = |path: &&RemotePath| path.below(ancestor).is_some();
        self.directories
            .iter()
            .map(|(path, _)| path)
            .filter(below)
            .cloned()
            .collect()
    }

    fn make_flights_stale(&self, ancestor: &RemotePath)
    where
        E: Clone,
    {
        for (path, flight) in &self.flights {
            if path.below(ancestor).is_some() {
                flight.make_stale();
            }
        }
    }
}

fn cost(path: &RemotePath, directory: &Directory) -> usize {
    // The path, its count, and the LRU's node and hash slot.
    path.as_bytes().len() + 96 + directory.bytes()
}

#[cfg(test)]
mod tests;
