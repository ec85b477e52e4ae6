//! The ordered log of changes that the server does not have yet.
//!
//! - *Hard order*: two changes are related if a path of one equals or lies above a path of the
//!   other. They are made in the order of the program.
//! - *Soft order*: so are all changes below one top-level directory of the mount, a domain, so that
//!   others see effects in the order in which the program made them. Only what a program waits for
//!   overtakes.
//! - *Cancellation*: a new change is combined with the last one that is related to it, unless that
//!   may have been sent. The result stands at the later place and keeps the older base and both
//!   domains.
//!
//! `R` identifies the records of the changes in the journal.

mod flight;
mod order;
mod parking;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::fold::{Fold, fold};
use super::relation::{domains_of_path, related, share_a_flight};
use super::rules::LogRules;
use crate::ftp::RemotePath;
use crate::journal::{Domain, Domains, NameAction, NameChange};
pub(super) use parking::TakenBack;

/// All changes that are not made yet, by their place in the order.
#[derive(Debug)]
pub(super) struct NamesLog<R> {
    root: RemotePath,
    entries: BTreeMap<u64, LogEntry<R>>,
    /// Places of the entries by each of their paths.
    by_path: BTreeMap<Box<[u8]>, BTreeSet<u64>>,
    /// Places of the stores by the contents.
    by_contents: BTreeMap<u64, BTreeSet<u64>>,
    /// Places of the entries that are not parked, by domain.
    by_domain: BTreeMap<Domain, BTreeSet<u64>>,
    /// Places of the entries that create directories.
    new_directories: BTreeSet<u64>,
    /// Places of the entries that are not sent for a while, because the server refused them for the
    /// moment.
    paused: BTreeSet<u64>,
    last: u64,
    rules: LogRules,
}

/// A change that is not made yet.
#[derive(Debug, Clone)]
pub(super) struct LogEntry<R> {
    /// The change.
    pub(super) change: NameChange,
    /// The records of all changes that it stands for.
    pub(super) records: Vec<R>,
    /// The domains in whose order it stands.
    pub(super) domains: Domains,
    /// How far it is.
    pub(super) step: Step,
    /// Whether it must be compared with the server before it is sent.
    pub(super) needs_look: bool,
    /// When it was added.
    since: Instant,
    /// Whether a program waits for it, so that it is combined with nothing.
    is_awaited: bool,
    /// Whether it may have been made, so that it is combined with nothing.
    may_be_made: bool,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// It waits for its turn.
    Waiting,
    /// It may have been sent.
    Begun,
    /// The server refused it, and it exists nowhere else. It waits until a program asks.
    Parked,
    /// It exists nowhere else, and a change that it depends on was refused. It waits until a
    /// program asks, and is compared with the server then.
    Behind,
}

impl Step {
    /// Whether it waits until a program asks.
    pub(super) fn is_parked(self) -> bool {
        matches!(self, Self::Parked | Self::Behind)
    }
}

/// What else a new change had for an effect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect<R> {
    /// These changes are not needed any more.
    Ended(Vec<R>),
    /// It is not known what is at this path: no change is about it any more.
    Unknown(RemotePath),
}

/// A new change, and what it stands for.
#[derive(Debug)]
pub(super) struct NewChange<R> {
    /// The change.
    pub(super) change: NameChange,
    /// Its records.
    pub(super) records: Vec<R>,
    /// Domains of what it replaces.
    pub(super) domains: Domains,
    /// Whether it must be compared with the server before it is sent.
    pub(super) needs_look: bool,
}

impl<R: Clone> NamesLog<R> {
    /// Creates an empty log of the mount of `root`.
    pub(super) fn new(root: RemotePath, rules: LogRules) -> Self {
        Self {
            root,
            entries: BTreeMap::new(),
            by_path: BTreeMap::new(),
            by_contents: BTreeMap::new(),
            by_domain: BTreeMap::new(),
            new_directories: BTreeSet::new(),
            paused: BTreeSet::new(),
            last: 0,
            rules,
        }
    }

    /// Sets the root of the mount, which was not known yet. There are no changes yet.
    pub(super) fn set_root(&mut self, root: &RemotePath) {
        if self.entries.is_empty() {
            self.root = root.clone();
        }
    }

    /// Number of changes.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the change at `place`.
    pub(super) fn get(&self, place: u64) -> Option<&LogEntry<R>> {
        self.entries.get(&place)
    }

    /// Returns all changes, in their order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &LogEntry<R>)> {
        self.entries.iter().map(|(place, entry)| (*place, entry))
    }

    /// Adds a change at the end, combined with the last one that is related to it.
    pub(super) fn append(&mut self, mut new: NewChange<R>) -> Vec<Effect<R>> {
        let mut effects = Vec::new();
        new.domains.extend(self.domains_of(&new.change));
        while let Some(place) = self.to_combine_with(&new.change) {
            let folded = match self.entries.get(&place) {
                Some(old) => fold(&old.change, &new.change, &|path| {
                    !self.rules.between || !self.is_touched_after(place, path)
                }),
                None => Fold::Keep,
            };
            let Some(old) = (folded != Fold::Keep).then(|| self.remove(place)).flatten() else {
                break;
            };
            let freed = old.change.paths().chain(new.change.paths()).cloned();
            let freed: BTreeSet<_> = freed.collect();
            let mut records = old.records;
            records.append(&mut new.records);
            new.needs_look |= old.needs_look;
            new.domains.extend(old.domains);
            match folded {
                Fold::Into(change) => {
                    let is_free = |path: &RemotePath| !change.paths().any(|it| it == path);
                    effects.extend(freed.into_iter().filter(is_free).map(Effect::Unknown));
                    new.change = change;
                    new.records = records;
                }
                Fold::Vanish | Fold::Keep => {
                    effects.push(Effect::Ended(records));
                    effects.extend(freed.into_iter().map(Effect::Unknown));
                    return effects;
                }
            }
        }
        self.push(new, Step::Waiting);
        effects
    }

    /// Adds a change of an earlier mount that may have been sent. It is combined with nothing.
    pub(super) fn append_begun(&mut self, mut new: NewChange<R>) {
        new.domains.extend(self.domains_of(&new.change));
        self.push(new, Step::Begun);
    }

    /// Returns the last store of the contents `id`, unless it may have been sent.
    pub(super) fn unsent_store(&self, id: u64) -> Option<&LogEntry<R>> {
        let last = self.by_contents.get(&id)?.last()?;
        let entry = self.entries.get(last);
        entry.filter(|entry| entry.step != Step::Begun)
    }

    /// Removes the last store of the contents `id`, unless it may have been sent.
    pub(super) fn take_store(&mut self, id: u64) -> Option<LogEntry<R>> {
        self.unsent_store(id)?;
        let last = self.by_contents.get(&id)?.last().copied()?;
        self.remove(last)
    }

    /// Returns the place of the first store of the contents `id`.
    pub(super) fn store_at(&self, id: u64) -> Option<u64> {
        self.by_contents.get(&id)?.first().copied()
    }

    /// Lets the last store of the contents `id` stand for the earlier ones, which were not made.
    pub(super) fn merge_stores(&mut self, id: u64) {
        while let Some(first) = self.store_at(id).filter(|_| self.count_stores(id) > 1)
            && let Some(mut old) = self.remove(first)
            && let Some(last) = self.last_store(id)
            && let Some(entry) = self.entries.get_mut(&last)
        {
            old.records.append(&mut entry.records);
            entry.records = old.records;
            entry.domains.extend(old.domains);
            entry.needs_look |= old.needs_look;
            let step = entry.step;
            self.set_step(last, step);
        }
    }

    /// Returns the place of the last store of the contents `id`.
    pub(super) fn last_store(&self, id: u64) -> Option<u64> {
        self.by_contents.get(&id)?.last().copied()
    }

    /// Whether a change, other than a store, may have been sent.
    pub(super) fn is_sending(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|it| it.step == Step::Begun && !it.change.is_store())
    }

    /// Whether a store waits that was not refused.
    pub(super) fn has_waiting_store(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|it| it.step == Step::Waiting && it.change.is_store())
    }

    /// Number of stores of the contents `id`.
    pub(super) fn count_stores(&self, id: u64) -> usize {
        self.by_contents.get(&id).map_or(0, BTreeSet::len)
    }

    /// Returns the places of the changes to send together, in order. Stores are not among them: see
    /// [`Self::may_store`].
    ///
    /// With `only`, the soft order does not count, and no other changes are returned. Otherwise new
    /// directories that an upload waits for come before what they do not depend on: their files
    /// can be uploaded meanwhile, and get their names in order.
    pub(super) fn next_flight(&self, most: usize, only: Option<&BTreeSet<u64>>) -> Vec<u64> {
        let mut flight: Vec<u64> = Vec::new();
        let mut closed: BTreeSet<&[u8]> = BTreeSet::new();
        let mut adds: BTreeSet<&[u8]> = BTreeSet::new();
        let all = self.by_domain.len();
        let candidates: Box<dyn Iterator<Item = (u64, &LogEntry<R>)>> = match only {
            Some(only) => Box::new(only.iter().filter_map(|it| Some((*it, self.get(*it)?)))),
            None => Box::new(self.iter()),
        };
        for (place, entry) in candidates {
            if flight.len() >= most || (closed.len() >= all && only.is_none()) {
                break;
            }
            if entry.step.is_parked() {
                continue;
            }
            let is_in = |domains: &BTreeSet<&[u8]>| {
                let mut own = entry.domains.iter();
                own.any(|it| domains.contains(&**it))
            };
            let is_out_of_order = self.rules.order && only.is_none() && is_in(&closed);
            let is_behind_an_add = self.rules.tail && entry.change.destroys() && is_in(&adds);
            let must_wait = entry.change.is_store()
                || entry.step == Step::Begun
                || self.is_paused(place)
                || is_out_of_order
                || is_behind_an_add;
            if !must_wait && self.fits(place, entry, &flight) {
                flight.push(place);
                if entry.change.is_add() {
                    adds.extend(entry.domains.iter().map(|it| &**it));
                }
            } else {
                closed.extend(entry.domains.iter().map(|it| &**it));
            }
        }
        if only.is_none() {
            self.add_directories(&mut flight, most);
        }
        flight
    }

    /// Whether the store at `place` may give the contents their name now. With `is_urgent`, the
    /// soft order does not count.
    pub(super) fn may_store(&self, place: u64, is_urgent: bool) -> bool {
        let Some(entry) = self.entries.get(&place) else {
            return true;
        };
        match entry.step {
            Step::Parked => return true,
            Step::Behind => return !self.rules.asks,
            Step::Waiting | Step::Begun => {}
        }
        let is_first = |domain| {
            let places = self.by_domain.get(domain);
            places
                .and_then(BTreeSet::first)
                .is_none_or(|first| *first >= place)
        };
        let is_soft = self.rules.order && !is_urgent;
        (!is_soft || entry.domains.iter().all(is_first)) && self.related_before(place).is_empty()
    }

    /// Returns the contents of the stores whose turn it is, and that are the first of their
    /// domains.
    pub(super) fn first_stores(&self) -> BTreeSet<u64> {
        let places = self.by_domain.values().filter_map(BTreeSet::first);
        let stores = places.filter_map(|place| match self.get(*place)?.change.action {
            NameAction::Store { id } if self.may_store(*place, false) => Some(id),
            _ => None,
        });
        stores.collect()
    }

    /// Whether a directory above `path` is not as the program sees it, so that nothing can be
    /// uploaded there.
    pub(super) fn is_held(&self, path: &RemotePath) -> bool {
        let mut above = path.parent();
        while let Some(directory) = above {
            if self.by_path.contains_key(directory.as_bytes()) {
                let places = self.by_path.get(directory.as_bytes());
                let is_in_the_way = |place: &u64| {
                    self.entries.get(place).is_some_and(|entry| {
                        !entry.step.is_parked()
                            && !matches!(entry.change.action, NameAction::SetAttributes { .. })
                    })
                };
                if places.is_some_and(|places| places.iter().any(is_in_the_way)) {
                    return true;
                }
            }
            above = directory.parent();
        }
        false
    }

    /// Sets how far the change at `place` is.
    pub(super) fn set_step(&mut self, place: u64, step: Step) {
        let Some(entry) = self.entries.get_mut(&place) else {
            return;
        };
        entry.step = step;
        for domain in entry.domains.clone() {
            if step.is_parked() {
                self.leave_domain(&domain, place);
            } else {
                self.by_domain.entry(domain).or_default().insert(place);
            }
        }
    }

    /// Records that the change at `place` was compared with the server and can be sent.
    pub(super) fn has_looked(&mut self, place: u64) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.needs_look = false;
            entry.may_be_made = false;
        }
    }

    /// Records that the change at `place`, which was sent, may have been made. It is compared with
    /// the server before it is sent again.
    pub(super) fn is_unsure(&mut self, place: u64) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.needs_look = true;
            entry.may_be_made = true;
        }
        self.set_step(place, Step::Waiting);
    }

    /// Lets the change at `place` be compared with the server before it is sent if it is older than
    /// `age`.
    pub(super) fn look_if_older(&mut self, place: u64, age: Duration) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.needs_look |= entry.since.elapsed() >= age;
        }
    }

    /// Sends the change at `place` and what stands behind it in the order only after
    /// [`Self::resume`].
    pub(super) fn pause(&mut self, place: u64) {
        if self.entries.contains_key(&place) {
            self.paused.insert(place);
        }
    }

    /// Lets the change at `place` be sent again.
    pub(super) fn resume(&mut self, place: u64) {
        self.paused.remove(&place);
    }

    /// Whether the change at `place` is not sent for a while.
    pub(super) fn is_paused(&self, place: u64) -> bool {
        self.paused.contains(&place)
    }

    /// Records that a program waits for the change at `place`.
    pub(super) fn await_change(&mut self, place: u64) {
        if let Some(entry) = self.entries.get_mut(&place) {
            entry.is_awaited = true;
        }
    }

    /// Removes the change at `place`, which was made or given up.
    pub(super) fn remove(&mut self, place: u64) -> Option<LogEntry<R>> {
        let entry = self.entries.remove(&place)?;
        self.new_directories.remove(&place);
        self.paused.remove(&place);
        for path in entry.change.paths() {
            if let Some(places) = self.by_path.get_mut(path.as_bytes()) {
                places.remove(&place);
                if places.is_empty() {
                    self.by_path.remove(path.as_bytes());
                }
            }
        }
        if let NameAction::Store { id } = entry.change.action
            && let Some(places) = self.by_contents.get_mut(&id)
        {
            places.remove(&place);
            if places.is_empty() {
                self.by_contents.remove(&id);
            }
        }
        for domain in &entry.domains {
            self.leave_domain(domain, place);
        }
        Some(entry)
    }

    /// Whether a change creates a directory at `path`.
    pub(super) fn makes(&self, path: &RemotePath) -> bool {
        let places = self.by_path.get(path.as_bytes()).into_iter().flatten();
        let mut entries = places.filter_map(|it| self.entries.get(it));
        entries.any(|it| matches!(it.change.action, NameAction::MakeDirectory { .. }))
    }

    /// Returns the last change of exactly this name.
    pub(super) fn last_at(&self, path: &RemotePath) -> Option<&LogEntry<R>> {
        let places = self.by_path.get(path.as_bytes())?;
        let is_name = |entry: &&LogEntry<R>| !entry.change.is_store();
        let mut entries = places.iter().rev().filter_map(|it| self.entries.get(it));
        entries.find(is_name)
    }

    fn push(&mut self, new: NewChange<R>, step: Step) {
        self.last += 1;
        let place = self.last;
        for path in new.change.paths() {
            let path = Box::from(path.as_bytes());
            self.by_path.entry(path).or_default().insert(place);
        }
        if let NameAction::Store { id } = new.change.action {
            self.by_contents.entry(id).or_default().insert(place);
        }
        if let NameAction::MakeDirectory { .. } = new.change.action {
            self.new_directories.insert(place);
        }
        let NewChange {
            change,
            records,
            domains,
            needs_look,
        } = new;
        let entry = LogEntry {
            change,
            records,
            domains,
            step,
            needs_look,
            since: Instant::now(),
            is_awaited: false,
            may_be_made: false,
        };
        self.entries.insert(place, entry);
        self.set_step(place, step);
    }

    fn leave_domain(&mut self, domain: &Domain, place: u64) {
        if let Some(places) = self.by_domain.get_mut(domain) {
            places.remove(&place);
            if places.is_empty() {
                self.by_domain.remove(domain);
            }
        }
    }

    /// Returns the place of the change that `new` may be combined with: the last one that is
    /// related to it, unless it may have been sent.
    fn to_combine_with(&self, new: &NameChange) -> Option<u64> {
        let places = new.paths().map(|path| self.places_about(path));
        let place = places.filter_map(|it| it.last().copied()).max()?;
        let entry = self.entries.get(&place)?;
        let is_sent = entry.step == Step::Begun || entry.may_be_made;
        let is_frozen = is_sent && self.rules.frozen;
        (!is_frozen && !entry.is_awaited).then_some(place)
    }

    /// Whether a change after the one at `place` is related to `path`.
    fn is_touched_after(&self, place: u64, path: &RemotePath) -> bool {
        let places = self.places_about(path);
        places.last().is_some_and(|last| *last > place)
    }

    /// Whether the change at `place` may be sent behind those of `flight`: each one before it that
    /// is related to it is among them, and servers make it even if that one fails without harm.
    fn fits(&self, place: u64, entry: &LogEntry<R>, flight: &[u64]) -> bool {
        let before = self.related_before(place);
        before.iter().all(|place| {
            let earlier = self.entries.get(place);
            let is_in = flight.contains(place);
            earlier.is_none_or(|earlier| {
                is_in && (!self.rules.flight || share_a_flight(&earlier.change, &entry.change))
            })
        })
    }

    /// Returns the domains of `path`.
    pub(super) fn domains_at(&self, path: &RemotePath) -> Domains {
        domains_of_path(&self.root, path)
    }

    /// Returns the domains in whose order `change` stands by its paths.
    pub(super) fn domains_of(&self, change: &NameChange) -> Domains {
        let paths = change.paths();
        paths
            .flat_map(|path| domains_of_path(&self.root, path))
            .collect()
    }
}
