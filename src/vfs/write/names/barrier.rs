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

/// A change that was given up while a program waited for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs) struct RefusedChange {
    /// The reason.
    pub(in crate::vfs) errno: Errno,
    /// Whether the server refused to add a name, so that nothing is removed or replaced behind it.
    pub(in crate::vfs) is_add: bool,
}

/// The changes that were given up while programs waited for changes, by their places.
#[derive(Debug, Default)]
pub(super) struct RefusedMeanwhile {
    /// Number of programs that wait.
    waiting: usize,
    changes: BTreeMap<u64, RefusedChange>,
}

impl RefusedMeanwhile {
    /// Records that the changes at `places` were given up.
    pub(super) fn add(&mut self, places: &[u64], refused: RefusedChange) {
        if self.waiting > 0 {
            self.changes.extend(places.iter().map(|at| (*at, refused)));
        }
    }

    /// Ends the wait of a program for the changes at `places`. Returns those that were given up.
    fn end_wait(&mut self, places: &BTreeSet<u64>) -> BTreeMap<u64, RefusedChange> {
        let of_places = self.changes.iter().filter(|(at, _)| places.contains(at));
        let given_up = of_places.map(|(at, it)| (*at, *it)).collect();
        self.waiting = self.waiting.saturating_sub(1);
        if self.waiting == 0 {
            self.changes.clear();
        }
        given_up
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

    /// Waits until the changes at `places` were made, refused or parked. With `overtake`, they
    /// overtake what they do not depend on. Returns those that were given up meanwhile.
    ///
    /// # Errors
    /// `INTR`, or the errno of what keeps them from being made.
    pub(in crate::vfs) fn settle(
        &self,
        places: &BTreeSet<u64>,
        overtake: bool,
        cancel: &Cancel,
    ) -> Result<BTreeMap<u64, RefusedChange>, Errno> {
        if places.is_empty() {
            return Ok(BTreeMap::new());
        }
        let troubles = {
            let mut state = self.lock();
            state.refused.waiting += 1;
            if overtake {
                state.urgent.extend(places);
            }
            self.send_soon(&mut state, places, places);
            state.troubles
        };
        let settled = self.wait_until((Some(places), troubles), cancel, |state| {
            let is_open = |place: &u64| {
                let entry = state.log.get(*place);
                entry.is_some_and(|it| !it.step.is_parked())
            };
            !places.iter().any(is_open)
        });
        let mut state = self.lock();
        if overtake {
            state.urgent.retain(|place| !places.contains(place));
        }
        let given_up = state.refused.end_wait(places);
        settled.map(|()| given_up)
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

    /// Waits until `is_done`, which is about the changes at `places`, or about all. There were
    /// `troubles` when the wait began.
    ///
    /// # Errors
    /// `INTR`, or the errno of what keeps them from being made.
    pub(super) fn wait_until(
        &self,
        (places, troubles): (Option<&BTreeSet<u64>>, u64),
        cancel: &Cancel,
        is_done: impl Fn(&State) -> bool,
    ) -> Result<(), Errno> {
        let mut state = self.lock();
        loop {
            if is_done(&state) {
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
            if let Some(trouble) = state.trouble_since(troubles, places) {
                return Err(trouble.failure.errno);
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
    fn trouble_since(&self, before: u64, places: Option<&BTreeSet<u64>>) -> Option<&Trouble> {
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
