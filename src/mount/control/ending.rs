//! The end of a mount, for clients that wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::guarded::OnDrop;

/// How long the process waits until its clients have learned how the mount ended.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far the end of the mount is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EndPhase {
    /// It is mounted.
    Mounted,
    /// It is unmounted and stores the remaining files.
    Storing,
    /// It has ended, and either everything is stored, or this is why not.
    Ended(Result<(), String>),
}

/// Notifies clients of the end of the mount.
#[derive(Debug)]
pub(super) struct EndNotice {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    phase: EndPhase,
    /// Number of clients that wait for the end.
    waiting: usize,
}

impl EndNotice {
    /// Creates the notice of a mount that has not ended.
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                phase: EndPhase::Mounted,
                waiting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Whether the mount is unmounted.
    pub(super) fn is_ending(&self) -> bool {
        self.lock().phase != EndPhase::Mounted
    }

    /// Records that the mount is unmounted.
    pub(super) fn unmounted(&self) {
        self.set(EndPhase::Storing);
    }

    /// Records how the mount has ended, and waits a moment until all clients know.
    pub(super) fn ended(&self, outcome: Result<(), String>) {
        self.set(EndPhase::Ended(outcome));
        let is_awaited = |state: &mut State| state.waiting > 0;
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), FAREWELL, is_awaited);
        drop(waited);
    }

    /// Calls `tell` with each phase, and with an unchanged one after each `interval`, until the
    /// mount has ended or `tell` returns false.
    pub(super) fn follow(&self, interval: Duration, mut tell: impl FnMut(&EndPhase) -> bool) {
        self.lock().waiting += 1;
        let _done = OnDrop::new(|| {
            self.lock().waiting -= 1;
            self.changed.notify_all();
        });
        loop {
            let phase = self.lock().phase.clone();
            if !tell(&phase) || matches!(phase, EndPhase::Ended(_)) {
                return;
            }
            let deadline = Instant::now() + interval;
            let mut state = self.lock();
            while state.phase == phase {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let waited = self.changed.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn set(&self, phase: EndPhase) {
        self.lock().phase = phase;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a plain assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_client_learns_each_phase_before_the_process_ends() {
        let notice = EndNotice::new();
        let (sender, phases) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                notice.follow(Duration::from_secs(60), |phase| {
                    sender.send(phase.clone()).is_ok()
                });
            });
            assert_eq!(phases.recv(), Ok(EndPhase::Mounted));
            assert!(!notice.is_ending());
            notice.unmounted();
            assert_eq!(phases.recv(), Ok(EndPhase::Storing));
            assert!(notice.is_ending());
            notice.ended(Err("no space".to_owned()));
            // The client is not waited for in vain.
            assert_eq!(
                phases.recv(),
                Ok(EndPhase::Ended(Err("no space".to_owned())))
            );
        });
    }
}
