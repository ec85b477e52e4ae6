//! What waits for what.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::super::relation::domains_of_path;
use super::NamesLog;
use crate::ftp::RemotePath;
use crate::journal::{Domains, NameAction};

impl<R: Clone> NamesLog<R> {
    /// Returns the places of the changes at `path`, above it and below it, and of those before them
    /// that are related to them, and so on.
    pub(in crate::vfs::write::names) fn closure(&self, path: &RemotePath) -> BTreeSet<u64> {
        self.closure_of(path, false)
    }

    pub(super) fn closure_of(&self, path: &RemotePath, with_parked: bool) -> BTreeSet<u64> {
        let mut all = self.places_about(path);
        let mut todo: Vec<u64> = all.iter().copied().collect();
        while let Some(place) = todo.pop() {
            for before in self.all_related_before(place, with_parked) {
                if all.insert(before) {
                    todo.push(before);
                }
            }
        }
        all
    }

    /// Returns the places of all changes in the domains of `path`, and of those that they wait for.
    pub(in crate::vfs::write::names) fn in_domains_of(&self, path: &RemotePath) -> BTreeSet<u64> {
        self.in_order_before(&BTreeSet::new(), domains_of_path(&self.root, path))
    }

    /// Returns `places`, and the places of the changes that those wait for.
    pub(in crate::vfs::write::names) fn awaited_by(&self, places: &BTreeSet<u64>) -> BTreeSet<u64> {
        self.in_order_before(places, Domains::new())
    }

    fn in_order_before(&self, places: &BTreeSet<u64>, mut domains: Domains) -> BTreeSet<u64> {
        let mut all = places.clone();
        for (place, entry) in self.entries.iter().rev() {
            let is_open = !entry.step.is_parked();
            if places.contains(place) || is_open && !entry.domains.is_disjoint(&domains) {
                all.insert(*place);
                domains.extend(entry.domains.iter().cloned());
            }
        }
        all
    }

    /// Returns the contents of the stores that wait for the change at `place`, or for any without
    /// one.
    pub(in crate::vfs::write::names) fn stores_behind(&self, place: Option<u64>) -> BTreeSet<u64> {
        let first = place.and_then(|place| self.entries.get(&place));
        let mut domains = first.map(|it| it.domains.clone()).unwrap_or_default();
        let mut stores = BTreeSet::new();
        for (_, entry) in self.entries.range(place.map_or(0, |place| place + 1)..) {
            let waits = place.is_none() || !entry.domains.is_disjoint(&domains);
            if entry.step.is_parked() || !waits {
                continue;
            }
            domains.extend(entry.domains.iter().cloned());
            if let NameAction::Store { id } = entry.change.action {
                stores.insert(id);
            }
        }
        stores
    }

    /// Whether a change waits that is not parked.
    pub(in crate::vfs::write::names) fn has_open(&self) -> bool {
        !self.by_domain.is_empty()
    }

    /// Whether a change may be made although those that `have_failed` are not, because it does not
    /// stand behind one in the order.
    pub(in crate::vfs::write::names) fn goes_on(&self, have_failed: impl Fn(u64) -> bool) -> bool {
        let mut closed = Domains::new();
        for (place, entry) in &self.entries {
            if closed.len() >= self.by_domain.len() {
                break;
            }
            if entry.step.is_parked() {
                continue;
            }
            if entry.domains.is_disjoint(&closed) && !have_failed(*place) {
                return true;
            }
            closed.extend(entry.domains.iter().cloned());
        }
        false
    }

    /// Returns the places of the changes before `place` that are related to it, without those that
    /// are parked.
    pub(super) fn related_before(&self, place: u64) -> BTreeSet<u64> {
        self.all_related_before(place, false)
    }

    pub(super) fn all_related_before(&self, place: u64, with_parked: bool) -> BTreeSet<u64> {
        let Some(entry) = self.entries.get(&place) else {
            return BTreeSet::new();
        };
        let places = entry.change.paths().map(|path| self.places_about(path));
        let is_open = |it: &u64| {
            let entry = self.entries.get(it);
            *it < place && entry.is_some_and(|entry| with_parked || !entry.step.is_parked())
        };
        places.flatten().filter(is_open).collect()
    }

    /// Whether the contents of a file below `directory` are stored.
    pub(super) fn stores_below(&self, directory: &RemotePath) -> bool {
        let below = self.by_path.range::<[u8], _>(Below::new(directory).range());
        let mut below = below
            .flat_map(|it| it.1)
            .filter_map(|it| self.entries.get(it));
        below.any(|entry| entry.change.is_store() && !entry.step.is_parked())
    }

    /// Returns the places of the changes at `path`, above it and below it.
    pub(super) fn places_about(&self, path: &RemotePath) -> BTreeSet<u64> {
        let mut places = BTreeSet::new();
        let mut at = Some(path.clone());
        while let Some(path) = at {
            places.extend(self.by_path.get(path.as_bytes()).into_iter().flatten());
            at = path.parent();
        }
        let below = self.by_path.range::<[u8], _>(Below::new(path).range());
        places.extend(below.flat_map(|it| it.1));
        places
    }
}

/// What is below a path.
struct Below([Vec<u8>; 2]);

impl Below {
    fn new(path: &RemotePath) -> Self {
        // It follows on "path/", and '0' follows on '/'.
        let name = if path.is_root() { b"" } else { path.as_bytes() };
        Self([[name, b"/"].concat(), [name, b"0"].concat()])
    }

    fn range(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let [from, to] = &self.0;
        (Bound::Included(from), Bound::Excluded(to))
    }
}
