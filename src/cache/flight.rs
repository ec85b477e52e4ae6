//! Single flight: concurrent callers share one fetch of a listing and wait for its outcome.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::changes::KnownName;

/// Changes observed during a fetch, by name.
pub(super) type NameChanges = BTreeMap<Box<[u8]>, KnownName>;

/// A fetch in progress.
#[derive(Debug)]
pub(super) struct Flight<T> {
    /// When the fetch began.
    pub(super) began: Instant,
    state: Mutex<State<T>>,
    landed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    outcome: FlightOutcome<T>,
    /// Changes since the fetch began. The server may have listed the directory before or after
    /// them.
    changes: NameChanges,
    /// The directory was forgotten or renamed during the fetch: current waiters get the outcome,
    /// but it is not cached.
    stale: bool,
}

#[derive(Debug, Clone)]
pub(super) enum FlightOutcome<T> {
    UnderWay,
    Completed(T),
    /// The fetch ended without an outcome.
    Abandoned,
}

impl<T: Clone> Flight<T> {
    pub(super) fn new(began: Instant) -> Self {
        let state = State {
            outcome: FlightOutcome::UnderWay,
            changes: NameChanges::new(),
            stale: false,
        };
        Self {
            began,
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }

    /// Waits for the outcome. Returns `None` if there will be none.
    ///
    /// Has no deadline: the fetching thread has one, and its guard always ends the flight.
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

    /// Takes the changes recorded so far. Returns `None` if the outcome must not be cached.
    pub(super) fn changes(&self) -> Option<NameChanges> {
        let mut state = self.state();
        (!state.stale).then(|| std::mem::take(&mut state.changes))
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Only assignments happen under this lock, so a poisoned state is valid.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
