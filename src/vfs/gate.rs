//! One change of a whole file at a time: fetching it, storing it, removing or renaming it.
//!
//! Not a lock around data: the holder works on the network meanwhile, and every wait of its work
//! has a deadline, so the gate opens again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets one through; the others wait.
#[derive(Debug, Default)]
pub(super) struct Gate {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// Holds the gate; dropping it lets the next one through.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    gate: &'a Gate,
}

impl Gate {
    /// Waits for the gate.
    pub(super) fn enter(&self) -> Pass<'_> {
        let mut taken = self.lock();
        while *taken {
            taken = self
                .freed
                .wait(taken)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *taken = true;
        Pass { gate: self }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool has no half-changed state.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.lock() = false;
        self.gate.freed.notify_one();
    }
}
