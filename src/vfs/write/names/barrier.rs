//! Programs that wait until the server has changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::retries::Trouble;
use super::{LOOK_UP, Names, NamesPhase, State};
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::journal::NameAction;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;

/// Changes that a program waits for and lets be sent without a delay.
#[derive(Debug)]
pub(in crate::vfs) struct HurriedChanges {
    places: BTreeSet<u64>,
    /// Those, and what they wait for.
    awaited: BTreeSet<u64>,
    /// Number of failures that may be temporary before.
    troubles: u64,
}

/// The changes that programs wait for and that may overtake others.
#[derive(Debug, Default)]
pub(super) struct UrgentChanges {
    /// Number of programs that wait for each, by their places.
    waiting: BTreeMap<u64, usize>,
    places: BTreeSet<u64>,
}

impl UrgentChanges {
    /// Lets the changes at `places` overtake others until [`Self::remove`].
    fn add(&mut self, places: &BTreeSet<u64>) {
        for place in places {
            *self.waiting.entry(*place).or_default() += 1;
        }
        self.places.extend(places);
    }

    /// Ends the wait of a program. Another one may wait for the same changes.
    fn remove(&mut self, places: &BTreeSet<u64>) {
        for place in places {
            let Some(waiting) = self.waiting.get_mut(place) else {
                continue;
            };
            *waiting = waiting.saturating_sub(1);
            if *waiting == 0 {
                self.waiting.remove(place);
                self.places.remove(place);
            }
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether the change at `place` is among them.
    pub(super) fn contains(&self, place: u64) -> bool {
        self.places.contains(&place)
    }

    /// Returns their places.
    pub(super) fn places(&self) -> &BTreeSet<u64> {
        &self.places
    }
}

impl Names {
    /// Returns the places of the changes that concern `path`, and the inodes whose stores are among
    /// them. With `in_order`, these are all changes in the domains of `path`, and those that they
    /// wait for.
    pub(in crate::vfs) fn places(
        &self,
        path: &RemotePath,
        in_order: bool,
    ) -> (BTreeSet<u64>, Vec<Ino>) {
        if self.is_empty() {
            return (BTreeSet::new(), Vec::new());
        }
        let state = self.lock();
        let mut places = state.log.closure(path);
        if in_order {
            places.extend(state.log.in_domains_of(path));
        }
        let stores = places
            .iter()
            .filter_map(|place| match state.log.get(*place)?.change.action {
                NameAction::Store { id } => Some(Ino(id)),
                _ => None,
            });
        let stores = stores.collect();
        (places, stores)
    }

    /// Number of failures that may be temporary so far.
    pub(in crate::vfs) fn troubles(&self) -> u64 {
        self.lock().troubles
    }

    /// Waits until the changes at `places` were made, refused or parked. With `overtake`, they
    /// overtake what they do not depend on. There were `troubles` before they were hurried.
    ///
    /// # Errors
    /// `INTR`, or the errno of what keeps them from being made.
    pub(in crate::vfs) fn settle(
        &self,
        places: &BTreeSet<u64>,
        (overtake, troubles): (bool, u64),
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        if places.is_empty() {
            return Ok(());
        }
        {
            let mut state = self.lock();
            if overtake {
                state.urgent.add(places);
            }
            self.send_soon(&mut state, places, places);
        }
        let settled = self.wait_until(cancel, |state| {
            let is_open = |place: &u64| {
                let entry = state.log.get(*place);
                entry.is_some_and(|it| !it.step.is_parked())
            };
            if !places.iter().any(is_open) {
                return Some(Ok(()));
            }
            let trouble = state.trouble_since(troubles, Some(places))?;
            Some(Err(trouble.failure.errno))
        });
        if overtake {
            self.lock().urgent.remove(places);
        }
        settled
    }

    /// Lets the changes at `places` be sent without a delay.
    pub(in crate::vfs) fn hurry(&self, places: BTreeSet<u64>) -> HurriedChanges {
        let mut state = self.lock();
        let awaited = state.log.awaited_by(&places);
        self.send_soon(&mut state, &places, &awaited);
        HurriedChanges {
            places,
            awaited,
            troubles: state.troubles,
        }
    }

    /// Lets the changes at `places` be sent without a delay, for which programs wait, and try those
    /// that they wait for (`awaited`) again.
    fn send_soon(&self, state: &mut State, places: &BTreeSet<u64>, awaited: &BTreeSet<u64>) {
        for place in places {
            state.log.await_change(*place);
        }
        for place in awaited {
            state.retry_soon(*place);
        }
        state.due = state.due.map(|_| Instant::now());
        state.retry_at = None;
        self.changed.notify_all();
    }

    /// Waits for `patience` at most until none of the `hurried` changes waits, other than stores,
    /// or there was a failure of what they wait for. Returns how many wait; none after a failure.
    pub(in crate::vfs) fn open_among(&self, hurried: &HurriedChanges, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        let HurriedChanges {
            places,
            awaited,
            troubles,
        } = hurried;
        loop {
            if state.trouble_since(*troubles, Some(awaited)).is_some()
                || state.phase == NamesPhase::Stopped
            {
                return 0;
            }
            let is_open = |place: &&u64| {
                state
                    .log
                    .get(**place)
                    .is_some_and(|entry| !entry.step.is_parked() && !entry.change.is_store())
            };
            let left = places.iter().filter(is_open).count();
            let patience = deadline.saturating_duration_since(Instant::now());
            if left == 0 || patience.is_zero() {
                return left;
            }
            state = self.wait(state, Some(patience));
        }
    }

    /// Returns the path of the first of the `hurried` changes, other than stores, that still waits
    /// because of a failure that may be temporary, and the reason.
    pub(in crate::vfs) fn held_up(&self, hurried: &HurriedChanges) -> Option<(RemotePath, String)> {
        let state = self.lock();
        let trouble = state.trouble_since(hurried.troubles, Some(&hurried.awaited))?;
        let mut open = hurried.places.iter().filter_map(|at| state.log.get(*at));
        let first = open.find(|it| !it.step.is_parked() && !it.change.is_store())?;
        Some((first.change.path.clone(), trouble.failure.reason.clone()))
    }

    /// Lets the changes that `path` depends on be tried again that were not made and exist nowhere
    /// else. Returns the inodes whose stores are among them, and whether the server's file must be
    /// compared with what programs saw.
    pub(super) fn unpark(&self, path: &RemotePath) -> Vec<(Ino, bool)> {
        if self.is_empty() {
            return Vec::new();
        }
        let stores = self.lock().log.unpark(path);
        self.changed.notify_all();
        stores
            .into_iter()
            .map(|(id, must)| (Ino(id), must))
            .collect()
    }

    /// Waits until `decide` returns a result.
    ///
    /// # Errors
    /// `INTR`, `IO` if nothing is sent any more, or those of `decide`.
    pub(super) fn wait_until(
        &self,
        cancel: &Cancel,
        decide: impl Fn(&State) -> Option<Result<(), Errno>>,
    ) -> Result<(), Errno> {
        let mut state = self.lock();
        loop {
            if let Some(decided) = decide(&state) {
                return decided;
            }
            if cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
            if state.phase == NamesPhase::Stopped {
                return Err(Errno::IO);
            }
            // A cancelled program is noticed soon.
            state = self.wait(state, Some(LOOK_UP));
        }
    }
}

impl State {
    /// Returns a failure that may be temporary, of the changes at `places` or of all, since there
    /// were `before` failures.
    pub(super) fn trouble_since(
        &self,
        before: u64,
        places: Option<&BTreeSet<u64>>,
    ) -> Option<&Trouble> {
        let is_newer = |of: &&Trouble| of.number > before;
        let mut single = self.troubles_at.iter();
        let of_one =
            single.find(|(place, of)| places.is_none_or(|it| it.contains(place)) && is_newer(of));
        let outage = self.outage.as_ref().filter(is_newer);
        outage.or(of_one.map(|it| it.1))
    }
}

impl Vfs {
    /// Number of failures of changes of names that may be temporary.
    #[cfg(test)]
    pub(crate) fn name_troubles(&self) -> u64 {
        self.names.lock().troubles
    }

    /// Lets `most` closed files wait at most.
    #[cfg(test)]
    pub(crate) fn set_most_waiting(&self, most: usize) {
        self.writeback.set_most(most);
    }

    /// Lets the changes that `path` depends on be tried again that were not made and exist nowhere
    /// else.
    pub(in crate::vfs) fn unpark(&self, path: &RemotePath) {
        let stores = self.names.unpark(path);
        if stores.is_empty() {
            return;
        }
        for (ino, must_compare) in &stores {
            if *must_compare && let Some(file) = self.inodes.open_file(*ino) {
                file.set_offline();
            }
        }
        let inos: Vec<_> = stores.into_iter().map(|(ino, _)| ino).collect();
        self.writeback.expedite(&inos);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::write::names::testing::{absent, failure, names, record};

    #[test]
    fn a_failure_between_the_request_and_the_wait_ends_the_wait() {
        let (_directory, names) = names();
        let place = record(&names, absent("/d/x"));
        let before = names.troubles();
        let mut state = names.lock();
        names.note_trouble_at(&mut state, place, &failure(Errno::BUSY));
        drop(state);
        let places = BTreeSet::from([place]);
        let settled = names.settle(&places, (true, before), &Cancel::never());
        assert_eq!(settled, Err(Errno::BUSY));
        assert!(names.lock().urgent.is_empty());
    }

    #[test]
    fn a_change_stays_urgent_until_the_last_wait_for_it_ends() {
        let mut urgent = UrgentChanges::default();
        let [one, both] = [BTreeSet::from([1]), BTreeSet::from([1, 2])];
        urgent.add(&one);
        urgent.add(&both);
        urgent.remove(&both);
        assert_eq!(urgent.places(), &one);
        urgent.remove(&one);
        assert!(urgent.is_empty());
    }
}
