//! Failures that may be temporary. While the server does not answer, all changes wait; one that it
//! refused for the moment keeps only those from being made that stand behind it in the order.

use std::time::{Duration, Instant};

use super::{Names, NamesPhase, State};
use crate::remote::{self, ErrorKind};
use crate::vfs::table::ino::Ino;
use crate::vfs::write::writeback::StoreFailure;

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Number of attempts when the mount ends.
const TRIES_AT_THE_END: u32 = 3;

/// The attempts to make a change that the server refused for the moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChangeRetry {
    /// Number of failures.
    tries: u32,
    /// When the next attempt follows.
    at: Instant,
}

/// A failure that may be temporary.
#[derive(Debug)]
pub(super) struct Trouble {
    /// Its number.
    pub(super) number: u64,
    /// What failed.
    pub(super) failure: StoreFailure,
}

/// Whether a change may be made later: `kind` says nothing about it, or passes by itself.
pub(super) fn may_be_made_later(kind: ErrorKind) -> bool {
    kind.is_unanswered() || kind.transience().passes_by_itself()
}

/// Whether there is no server.
fn is_gone(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unreachable | ErrorKind::ConnectionRefused | ErrorKind::Offline
    )
}

/// Returns the pause after this number of failures.
fn pause_after(tries: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(tries.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(MAX_PAUSE)
}

impl Names {
    /// Records that the change at `place` could not be made for the moment, because of `error`. It
    /// and what stands behind it wait for a while; all changes if the server did not answer.
    pub(super) fn pause_at(&self, place: u64, error: &remote::Error) {
        if error.kind.is_unanswered() {
            return self.pause(error);
        }
        let mut state = self.lock();
        let tries = state.retries.get(&place).map_or(0, |retry| retry.tries) + 1;
        let pause = match state.phase {
            NamesPhase::Running => Some(pause_after(tries)),
            NamesPhase::Draining if tries < TRIES_AT_THE_END => Some(FIRST_PAUSE),
            // The rest is left to the next mount.
            NamesPhase::Draining | NamesPhase::Stopped => None,
        };
        if let Some(pause) = pause {
            let at = Instant::now() + pause;
            state.retries.insert(place, ChangeRetry { tries, at });
            state.log.pause(place);
        } else {
            state.phase = NamesPhase::Stopped;
        }
        let failure = StoreFailure {
            errno: error.kind.into(),
            reason: error.to_string(),
        };
        self.note_trouble_at(&mut state, place, &failure);
        let behind = state.log.stores_behind(Some(place));
        drop(state);
        self.block(behind, &failure);
    }

    /// Records that the server did not answer, or cannot be asked. All changes wait for a while.
    pub(super) fn pause(&self, error: &remote::Error) {
        let mut state = self.lock();
        state.tries += 1;
        match state.phase {
            NamesPhase::Running => {
                state.retry_at = Some(Instant::now() + pause_after(state.tries));
            }
            // The rest is left to the next mount.
            NamesPhase::Draining if state.tries < TRIES_AT_THE_END && !is_gone(error.kind) => {
                state.retry_at = Some(Instant::now() + FIRST_PAUSE);
            }
            NamesPhase::Draining | NamesPhase::Stopped => state.phase = NamesPhase::Stopped,
        }
        if state.phase == NamesPhase::Stopped {
            state.has_lost_server = is_gone(error.kind);
        }
        drop(state);
        self.note_outage(&StoreFailure {
            errno: error.kind.into(),
            reason: error.to_string(),
        });
    }

    /// Records that no change can be made at the moment, so that programs stop waiting.
    pub(in crate::vfs) fn note_outage(&self, failure: &StoreFailure) {
        let mut state = self.lock();
        state.troubles += 1;
        state.outage = Some(Trouble {
            number: state.troubles,
            failure: failure.clone(),
        });
        let stores = state.log.stores_behind(None);
        self.changed.notify_all();
        drop(state);
        self.block(stores, failure);
    }

    /// Records a failure of the store of `ino` that may be temporary.
    pub(in crate::vfs) fn note_trouble(&self, ino: Ino, failure: &StoreFailure) {
        let mut state = self.lock();
        let Some(place) = state.log.store_at(ino.0) else {
            return;
        };
        self.note_trouble_at(&mut state, place, failure);
        let mut behind = state.log.stores_behind(Some(place));
        behind.remove(&ino.0);
        drop(state);
        self.block(behind, failure);
    }

    pub(super) fn note_trouble_at(&self, state: &mut State, place: u64, failure: &StoreFailure) {
        state.troubles += 1;
        let number = state.troubles;
        let (log, troubles_at) = (&state.log, &mut state.troubles_at);
        troubles_at.retain(|place, _| log.get(*place).is_some());
        let failure = failure.clone();
        troubles_at.insert(place, Trouble { number, failure });
        self.changed.notify_all();
    }

    /// Ends waits for these `stores`, which wait for a change that could not be made.
    fn block(&self, stores: impl IntoIterator<Item = u64>, failure: &StoreFailure) {
        let stores: Vec<_> = stores.into_iter().map(Ino).collect();
        let failure = StoreFailure {
            errno: failure.errno,
            reason: format!("it waits for an earlier change: {}", failure.reason),
        };
        self.writeback.block(&stores, &failure);
    }

    /// Lets changes be sent now that waited for the server.
    pub(in crate::vfs) fn retry_now(&self) {
        let mut state = self.lock();
        state.retry_at = None;
        state.forget_retries();
        self.changed.notify_all();
    }
}

impl State {
    /// Lets the change at `place` be tried now, if the server refused it for the moment.
    pub(super) fn retry_soon(&mut self, place: u64) {
        if let Some(retry) = self.retries.get_mut(&place) {
            retry.at = Instant::now();
            self.log.resume(place);
        }
    }

    /// Lets all changes be tried as if none had been refused.
    pub(super) fn forget_retries(&mut self) {
        for place in std::mem::take(&mut self.retries).into_keys() {
            self.log.resume(place);
        }
    }

    /// Whether a change waits because the server refused it for the moment.
    pub(super) fn is_pausing(&self) -> bool {
        let mut places = self.retries.keys();
        places.any(|place| self.log.is_paused(*place))
    }

    /// Lets the changes be sent whose pause has ended at `now`. Returns when the next one ends.
    pub(super) fn end_pauses(&mut self, now: Instant) -> Option<Instant> {
        let log = &mut self.log;
        self.retries.retain(|place, _| log.get(*place).is_some());
        for (place, _) in self.retries.iter().filter(|(_, retry)| retry.at <= now) {
            log.resume(*place);
        }
        let next = self.retries.values().map(|retry| retry.at);
        next.filter(|at| *at > now).min()
    }
}
