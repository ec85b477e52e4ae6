//! Complete uploads that wait for their turn to get their names.
//!
//! They hold no connection. When it is the turn of one, its thread places those behind it that are
//! complete, too, in the same write, and sets attributes that were changed between them.

use std::collections::BTreeMap;
use std::sync::MutexGuard;

use super::dispatcher::commands;
use super::log::Step;
use super::{LOOK_UP, Names, NamesPhase, State};
use crate::ftp::RemotePath;
use crate::guarded;
use crate::journal::RecordedChange;
use crate::remote::{
    self, BatchAnswer, CheckedUpload, ErrorKind, PlacingResult, PlacingStep, Remote, StoredFacts,
};
use crate::vfs::table::ino::Ino;

/// Maximum number of uploads that are placed together.
const MOST_TOGETHER: usize = 64;

/// A store that waits for its turn.
pub(in crate::vfs) struct StoreTurn<'a> {
    /// The contents.
    pub(in crate::vfs) ino: Ino,
    /// Their name.
    pub(in crate::vfs) path: &'a RemotePath,
    /// Whether it overtakes what it does not depend on.
    pub(in crate::vfs) is_urgent: bool,
    /// Whether it is not wanted any more.
    pub(in crate::vfs) is_over: &'a dyn Fn() -> bool,
}

impl Names {
    /// Number of complete uploads that wait for their turn.
    pub(in crate::vfs) fn waiting_uploads(&self) -> usize {
        self.lock().ready.len()
    }

    /// Whether the upload of `ino` is complete and waits for its turn.
    pub(in crate::vfs) fn waits_for_turn(&self, ino: Ino) -> bool {
        if self.is_empty() {
            return false;
        }
        let state = self.lock();
        let place = state.log.store_at(ino.0);
        place.is_some_and(|place| state.ready.contains_key(&place))
    }

    /// Whether the store of `ino` may give the contents their name.
    pub(in crate::vfs) fn is_turn(&self, ino: Ino) -> bool {
        let state = self.lock();
        let place = state.log.store_at(ino.0);
        place.is_none_or(|it| state.may_store(it, false))
    }

    /// Returns the contents that may get their names, of the first change of each domain.
    pub(in crate::vfs) fn in_turn(&self) -> Vec<Ino> {
        if self.is_empty() {
            return Vec::new();
        }
        let contents = self.lock().log.first_stores();
        contents.into_iter().map(Ino).collect()
    }

    /// Begins the store of `ino` if it is its turn. Returns whether it is.
    pub(in crate::vfs) fn try_begin_store(&self, ino: Ino) -> bool {
        if self.is_empty() {
            return true;
        }
        let mut state = self.lock();
        let Some(place) = state.log.store_at(ino.0) else {
            return true;
        };
        let is_turn = state.may_store(place, false);
        if is_turn {
            state.begin_store(place);
        }
        is_turn
    }

    /// Whether the store of `ino` waits until a program asks, because a change that it depends on
    /// was refused.
    pub(in crate::vfs) fn is_behind(&self, ino: Ino) -> bool {
        let state = self.lock();
        let place = state.log.store_at(ino.0);
        place.is_some_and(|place| state.is_behind(place))
    }

    /// Gives `upload` its name when it is its turn. Returns `None` if it is not wanted any more.
    ///
    /// # Errors
    /// Those of the server, or changes before it cannot be made.
    pub(in crate::vfs) fn place_in_turn(
        &self,
        remote: &Remote,
        upload: CheckedUpload,
        turn: &StoreTurn<'_>,
    ) -> Result<Option<StoredFacts>, remote::Error> {
        let mut state = self.lock();
        let Some(place) = state.log.store_at(turn.ino.0) else {
            drop(state);
            return upload.place().map(Some);
        };
        state.ready.insert(place, upload);
        // Its connection is free for the next one.
        self.writeback.look_again();
        loop {
            if let Some(result) = state.placed.remove(&place) {
                return result.map(Some);
            }
            // Otherwise another thread is placing it.
            if state.ready.contains_key(&place) {
                if state.log.get(place).is_none() {
                    // It was closed again meanwhile.
                    return Ok(self.give_up(state, place));
                }
                if state.may_store(place, turn.is_urgent) {
                    return self.place_with_others(remote, state, place).map(Some);
                }
                if state.phase == NamesPhase::Stopped || state.is_behind(place) {
                    self.give_up(state, place);
                    return Err(behind(turn.path));
                }
                drop(state);
                let is_over = (turn.is_over)();
                state = self.lock();
                if is_over && state.ready.contains_key(&place) {
                    return Ok(self.give_up(state, place));
                }
            }
            state = self.wait(state, Some(LOOK_UP));
        }
    }

    /// Drops the upload of the store at `place`, which removes its remains on the server.
    fn give_up(&self, mut state: MutexGuard<'_, State>, place: u64) -> Option<StoredFacts> {
        let upload = state.ready.remove(&place);
        drop(state);
        drop(upload);
        self.changed.notify_all();
        None
    }

    fn place_with_others(
        &self,
        remote: &Remote,
        mut state: MutexGuard<'_, State>,
        place: u64,
    ) -> Result<StoredFacts, remote::Error> {
        let attributes = |it: u64| {
            let entry = state.log.get(it).filter(|it| !it.change.is_store())?;
            Some((commands(remote, &entry.change)?, entry.clone()))
        };
        // One that has failed may fail again, and what is sent with it would overtake it.
        let has_failed = |it: u64| state.troubles_at.contains_key(&it);
        let is_ready = |it: u64| {
            !has_failed(it) && (state.ready.contains_key(&it) || attributes(it).is_some())
        };
        let most = if has_failed(place) { 1 } else { MOST_TOGETHER };
        let places = state.log.stores_from(place, most, &is_ready);
        let mut changed: BTreeMap<_, _> = places
            .iter()
            .filter_map(|place| Some((*place, attributes(*place)?)))
            .collect();
        let mut steps = Vec::with_capacity(places.len());
        for place in &places {
            state.begin_store(*place);
            if let Some(upload) = state.ready.remove(place) {
                steps.push(PlacingStep::Upload(Box::new(upload)));
            } else if let Some((commands, entry)) = changed.get_mut(place) {
                RecordedChange::begin(&entry.records, &entry.change, &entry.domains);
                steps.push(PlacingStep::Change(std::mem::take(commands)));
            }
        }
        drop(state);
        let results = guarded::catch("placing uploads", || remote.place_together(steps));
        let mut results = results.unwrap_or_default().into_iter();
        let mut own = None;
        let mut others = Vec::with_capacity(places.len());
        let mut not_taken = Vec::new();
        for at in places {
            match results.next() {
                Some(PlacingResult::Changed(BatchAnswer::Done)) => drop(self.done(at)),
                Some(PlacingResult::Changed(BatchAnswer::None)) => self.undone(at, true),
                // The dispatcher finds out why.
                Some(PlacingResult::Changed(_) | PlacingResult::NotTaken(None)) => {
                    if let Some((_, entry)) = changed.get(&at) {
                        RecordedChange::undo(&entry.records);
                    }
                    self.undone(at, false);
                }
                Some(PlacingResult::NotTaken(Some(upload))) => not_taken.push((at, upload)),
                Some(PlacingResult::Placed(result)) if at == place => own = Some(result),
                Some(PlacingResult::Placed(result)) => others.push((at, result)),
                None if changed.contains_key(&at) => self.undone(at, true),
                None if at == place => {}
                None => others.push((at, Err(panicked()))),
            }
        }
        let mut state = self.lock();
        state.placed.extend(others);
        for (at, upload) in not_taken {
            // It waits for its turn again, behind the one that failed.
            state.leave_turn(at);
            state.ready.insert(at, *upload);
        }
        drop(state);
        self.changed.notify_all();
        own.unwrap_or_else(|| Err(panicked()))
    }
}

impl State {
    fn may_store(&self, place: u64, is_urgent: bool) -> bool {
        let overtakes = is_urgent || self.urgent.contains(place);
        self.log.may_store(place, overtakes)
    }

    fn is_behind(&self, place: u64) -> bool {
        let entry = self.log.get(place);
        entry.is_some_and(|it| it.step == Step::Behind)
    }

    /// Lets the store at `place`, which may begin, wait for its turn again.
    fn leave_turn(&mut self, place: u64) {
        if self.log.get(place).is_some_and(|it| it.step == Step::Begun) {
            self.log.set_step(place, Step::Waiting);
        }
    }

    fn begin_store(&mut self, place: u64) {
        if self.log.get(place).is_some_and(|it| !it.step.is_parked()) {
            self.log.set_step(place, Step::Begun);
        }
    }
}

fn behind(path: &RemotePath) -> remote::Error {
    remote::Error {
        kind: ErrorKind::Busy,
        operation: "store",
        path: path.clone(),
        reason: "changes before it were not made".to_owned(),
        reply: None,
    }
}

fn panicked() -> remote::Error {
    remote::Error {
        kind: ErrorKind::Other,
        operation: "store",
        path: RemotePath::root(),
        reason: "it panicked, which is a bug in ftpfs".to_owned(),
        reply: None,
    }
}
