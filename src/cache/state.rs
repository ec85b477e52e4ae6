//! The cached directories and the fetches in progress.
//!
//! All methods run under the cache's lock. None takes longer than in proportion to what it changes.

use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::{Completeness, Kind, RemotePath, Version};

use super::changes::KnownName;
use super::directory::{Current, Directory, Layers, keep_exact_time};
use super::flight::Flight;
use super::pins::Pins;
use super::table::DirectoryTable;
use super::{Answer, Attributes, CacheOptions, CacheStats, Snapshot};

pub(super) struct State<T> {
    options: CacheOptions,
    directories: DirectoryTable,
    due: Vec<(RemotePath, Current)>,
    flights: HashMap<RemotePath, Arc<Flight<T>>>,
    pub(super) pins: Pins,
    /// Learns which directories have a new listing, or changes of the last one.
    pub(super) observer: Option<Observer>,
}

/// Is called under the lock, with the path of a directory.
pub(super) type Observer = Box<dyn Fn(&RemotePath) + Send>;

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("directories", &self.directories)
            .finish_non_exhaustive()
    }
}

impl<T: Clone> State<T> {
    pub(super) fn new(options: CacheOptions) -> Self {
        Self {
            options,
            directories: DirectoryTable::new(),
            due: Vec::new(),
            flights: HashMap::new(),
            pins: Pins::default(),
            observer: None,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.directories.bytes()
    }

    pub(super) fn stats(&self) -> CacheStats {
        let directories = self.directories.iter();
        CacheStats {
            directories: self.directories.len(),
            names: directories.map(|(_, directory)| directory.names()).sum(),
            bytes: self.directories.bytes(),
        }
    }

    pub(super) fn count_miss(&mut self, path: &RemotePath) -> u32 {
        self.change(path, Directory::count_miss)
    }

    pub(super) fn memory(&mut self, path: &RemotePath) -> Option<Layers> {
        self.directories.get_mut(path).map(Directory::memory)
    }

    pub(super) fn lookup(&mut self, path: &RemotePath, name: &[u8], now: Instant) -> Answer {
        if let Some(pinned) = self.pinned_answer(path, name, self.options.ttl) {
            return pinned;
        }
        self.directories.get(path).map_or(Answer::Unknown, |known| {
            known.lookup(name, self.options.ttl, now)
        })
    }

    pub(super) fn last_answer(&self, path: &RemotePath, name: &[u8]) -> Answer {
        if let Some(pinned) = self.pinned_answer(path, name, Duration::ZERO) {
            return pinned;
        }
        self.directories
            .peek(path)
            .map_or(Answer::Unknown, |known| known.last_answer(name))
    }

    fn pinned_answer(&self, path: &RemotePath, name: &[u8], ttl: Duration) -> Option<Answer> {
        match self.pins.get(path, name)? {
            KnownName::Present(attributes) => Some(Answer::Present(attributes.clone(), ttl)),
            KnownName::Absent => Some(Answer::Absent(ttl)),
            KnownName::Invalidated(_) => None,
        }
    }

    /// Records what this mount will make of `name`. Until then, it hides what the server says.
    pub(super) fn pin(
        &mut self,
        path: &RemotePath,
        name: &[u8],
        attributes: Option<Attributes>,
        now: Instant,
    ) {
        if let Some(attributes) = attributes {
            let known = KnownName::Present(attributes.clone());
            self.pins.pin(path, name, known);
            self.insert(path, name, attributes, now);
        } else {
            self.pins.pin(path, name, KnownName::Absent);
            self.remove(path, name, now);
        }
    }

    /// Records what is pinned of `name` as an observation.
    pub(super) fn confirm_pin(&mut self, path: &RemotePath, name: &[u8], now: Instant) {
        if let Some(known) = self.pins.get(path, name).cloned() {
            self.record(path, name, known, now);
        }
    }

    /// Adds the pinned names to what is known of a directory.
    pub(super) fn add_pins(&self, path: &RemotePath, known: &mut Directory, now: Instant) {
        for (name, pinned) in self.pins.in_directory(path) {
            // The caller merges all changes.
            let _due = known.record(name, pinned.clone(), self.options.ttl, now);
        }
    }

    /// Makes a directory shared in which a new listing shows a name that this mount does not know.
    pub(super) fn check_private(&mut self, path: &RemotePath, listing: &Snapshot) {
        if !self.pins.is_private(path) {
            return;
        }
        let is_known = |name: &[u8]| self.last_known(path, name).is_some();
        let names = (0..listing.len()).filter_map(|index| listing.get(index));
        if names.into_iter().any(|(name, _)| !is_known(name)) {
            self.pins.set_shared(path);
        }
    }

    pub(super) fn current_or_stale(&self, path: &RemotePath) -> Option<Current> {
        self.directories.peek(path)?.current_or_stale()
    }

    pub(super) fn completeness(&self, path: &RemotePath, now: Instant) -> Option<Completeness> {
        self.directories.peek(path)?.completeness(now)
    }

    pub(super) fn listing(&self, path: &RemotePath) -> Option<&Snapshot> {
        self.directories.peek(path)?.listing()
    }

    pub(super) fn current(&mut self, path: &RemotePath, now: Instant) -> Option<Current> {
        self.directories.get_mut(path)?.current(now)
    }

    pub(super) fn change_existing(
        &mut self,
        path: &RemotePath,
        change: impl FnOnce(&mut Directory),
    ) {
        if self.directories.contains(path) {
            self.change(path, change);
        }
    }

    pub(super) fn insert(
        &mut self,
        path: &RemotePath,
        name: &[u8],
        mut attributes: Attributes,
        now: Instant,
    ) {
        if let Some(before) = self.last_known(path, name) {
            keep_exact_time(&before, &mut attributes);
        }
        if matches!(attributes.kind, Kind::File | Kind::Special)
            && let Ok(listed_before) = path.join(name)
        {
            self.forget(&listed_before);
        }
        self.record(path, name, KnownName::Present(attributes), now);
    }

    pub(super) fn refine(
        &mut self,
        path: &RemotePath,
        name: &[u8],
        before: &Attributes,
        exact: &Version,
        now: Instant,
    ) -> bool {
        // The mount may have changed it since, or given it up.
        let known = self.lookup(path, name, now);
        let is_same = matches!(&known, Answer::Present(known, _) if known == before)
            && exact.is_proven_by(&Version::from(before))
            && exact.refines(&Version::from(before));
        if is_same {
            let mut attributes = before.clone();
            attributes.modified = exact.modified;
            self.record(path, name, KnownName::Present(attributes), now);
        }
        is_same
    }

    pub(super) fn remove(&mut self, path: &RemotePath, name: &[u8], now: Instant) {
        let before = self.last_known(path, name).map(|before| before.kind);
        // Nothing is cached below a file, and there may be many files to remove.
        if !matches!(before, Some(Kind::File | Kind::Special))
            && let Ok(below) = path.join(name)
        {
            self.forget_tree(&below);
            self.pins.set_tree_shared(&below);
        }
        self.record(path, name, KnownName::Absent, now);
    }

    pub(super) fn invalidate(&mut self, path: &RemotePath, name: &[u8], now: Instant) {
        if let Ok(below) = path.join(name) {
            self.forget_tree(&below);
        }
        let before = self.last_known(path, name);
        self.record(path, name, KnownName::Invalidated(before), now);
    }

    pub(super) fn rename(&mut self, from: &RemotePath, to: &RemotePath, now: Instant) {
        if from == to {
            return;
        }
        let (Some(old), Some(new)) = (from.parent(), to.parent()) else {
            return self.forget_tree(&RemotePath::root());
        };
        let known = match self.directories.peek(&old) {
            Some(directory) => directory.known(from.name(), self.options.ttl, now),
            None => KnownName::Invalidated(None),
        };
        self.forget_tree(to);
        self.pins.set_tree_shared(from);
        self.pins.set_tree_shared(to);
        if to.below(from).is_some() || from.below(to).is_some() {
            // No server moves a directory into itself, so the result of this rename is unknown.
            self.forget_tree(from);
            self.record(&old, from.name(), KnownName::Invalidated(None), now);
            return self.record(&new, to.name(), KnownName::Invalidated(None), now);
        }
        self.move_tree(from, to);
        self.record(&old, from.name(), KnownName::Absent, now);
        self.record(&new, to.name(), known, now);
    }

    /// Replaces everything known about a directory. Returns the old state, which the caller drops
    /// after the lock because freeing it can take long.
    pub(super) fn replace(&mut self, path: &RemotePath, new: Directory) -> Directory {
        let before = self.change(path, |directory| mem::replace(directory, new));
        self.observe(path);
        before
    }

    /// Adds an old listing to what is known of a directory, unless it has one.
    pub(super) fn restore(&mut self, path: &RemotePath, listing: Arc<Snapshot>, now: Instant) {
        self.change(path, |directory| directory.restore(listing));
        let pinned = self.pins.in_directory(path);
        let pinned: Vec<_> = pinned
            .map(|(name, known)| (name.to_vec(), known.clone()))
            .collect();
        for (name, known) in pinned {
            self.record(path, &name, known, now);
        }
    }

    fn observe(&self, path: &RemotePath) {
        if let Some(observer) = &self.observer
            && self.listing(path).is_some()
        {
            observer(path);
        }
    }

    /// Takes the merges that are due. The caller runs them without the lock.
    pub(super) fn take_pending_merges(&mut self) -> Vec<(RemotePath, Current)> {
        mem::take(&mut self.due)
    }

    pub(super) fn forget(&mut self, path: &RemotePath) {
        self.directories.remove(path);
        if let Some(flight) = self.flights.remove(path) {
            flight.make_stale();
        }
    }

    pub(super) fn forget_tree(&mut self, ancestor: &RemotePath) {
        for path in self.directories.paths_below(ancestor) {
            self.directories.remove(&path);
        }
        self.end_flights_below(ancestor);
    }

    /// Returns the fetch in progress of this directory.
    pub(super) fn flight(&self, path: &RemotePath) -> Option<Arc<Flight<T>>> {
        self.flights.get(path).cloned()
    }

    pub(super) fn begin_flight(&mut self, path: &RemotePath, now: Instant) -> Arc<Flight<T>> {
        let flight = Arc::new(Flight::new(now));
        self.flights.insert(path.clone(), Arc::clone(&flight));
        flight
    }

    /// Removes this flight, so that no other caller joins it. A newer flight in its place remains.
    pub(super) fn end_flight(&mut self, path: &RemotePath, flight: &Arc<Flight<T>>) {
        if self
            .flights
            .get(path)
            .is_some_and(|newest| Arc::ptr_eq(newest, flight))
        {
            self.flights.remove(path);
        }
    }

    fn last_known(&self, path: &RemotePath, name: &[u8]) -> Option<Attributes> {
        self.directories.peek(path)?.last_known(name)
    }

    fn record(&mut self, path: &RemotePath, name: &[u8], known: KnownName, now: Instant) {
        let known = self.pins.get(path, name).cloned().unwrap_or(known);
        if let Some(flight) = self.flights.get(path) {
            flight.record(name, known.clone());
        }
        let ttl = self.options.ttl;
        let due = self.change(path, |directory| directory.record(name, known, ttl, now));
        self.due.extend(due.map(|current| (path.clone(), current)));
        self.observe(path);
    }

    fn move_tree(&mut self, from: &RemotePath, to: &RemotePath) {
        for path in self.directories.paths_below(from) {
            if let Some(moved) = path.rebased(from, to)
                && let Some(directory) = self.directories.remove(&path)
            {
                self.replace(&moved, directory);
            }
        }
        self.end_flights_below(from);
    }

    /// Marks fetches in progress as stale: they may return an old state, so only their current
    /// waiters use it.
    fn end_flights_below(&mut self, ancestor: &RemotePath) {
        self.flights.retain(|path, flight| {
            let stays = path.below(ancestor).is_none();
            if !stays {
                flight.make_stale();
            }
            stays
        });
    }

    fn change<R>(&mut self, path: &RemotePath, change: impl FnOnce(&mut Directory) -> R) -> R {
        self.directories
            .change(path, self.options.max_bytes, change)
    }

    #[cfg(test)]
    pub(super) fn recounted_bytes(&self) -> usize {
        self.directories.recounted_bytes()
    }

    #[cfg(test)]
    pub(super) fn visited(&self) -> usize {
        self.directories.visited
    }
}
