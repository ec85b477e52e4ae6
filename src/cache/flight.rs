//! One fetch for many askers: who comes while a listing is under way waits for its outcome.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::directory::KnownName;

/// What was changed while a fetch was under way, by name.
pub(super) type NameChanges = BTreeMap<Box<[u8]>, KnownName>;

/// A fetch under way.
#[derive(Debug)]
pub(super) struct Flight<T> {
    state: Mutex<State<T>>,
    landed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    outcome: FlightOutcome<T>,
    /// What was changed since the fetch began: the server may have listed before or after it.
    changes: NameChanges,
    /// The directory was forgotten or renamed meanwhile: the outcome serves who waits, nobody
    /// later.
    stale: bool,
}

#[derive(Debug, Clone)]
pub(super) enum FlightOutcome<T> {
    UnderWay,
    Completed(T),
    /// Who fetched is gone without an outcome.
    Abandoned,
}

impl<T: Clone> Flight<T> {
    pub(super) fn new() -> Self {
        let state = State {
            outcome: FlightOutcome::UnderWay,
            changes: NameChanges::new(),
            stale: false,
        };
        Self {
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }

    /// Waits for the outcome; none when there will be none.
    ///
    /// Whoever fetches has deadlines of its own, and its guard ends the flight whatever happens.
    pub(super) fn wait(&self) -> Option<T> {
        let under_way = |state: &mut State<T>| matches!(state.outcome, FlightOutcome::UnderWay);
        let state = self.landed.wait_while(self.state(), under_way);
        match &state.unwrap_or_else(PoisonError::into_inner).outcome {
            FlightOutcome::Completed(outcome) => Some(outcome.clone()),
            FlightOutcome::UnderWay | FlightOutcome::Abandoned => None,
        }
    }

    pub(super) fn complete(&self, outcome: FlightOutcome<T>) {
        self.state().outcome = outcome;
        self.landed.notify_all();
    }

    pub(super) fn record(&self, name: &[u8], known: KnownName) {
        self.state().changes.insert(Box::from(name), known);
    }

    pub(super) fn make_stale(&self) {
        self.state().stale = true;
    }

    /// The changes noted so far; none when the outcome must not be kept.
    pub(super) fn changes(&self) -> Option<NameChanges> {
        let mut state = self.state();
        (!state.stale).then(|| std::mem::take(&mut state.changes))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Only assignments happen under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
