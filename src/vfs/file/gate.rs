//! The gate of a file, which allows one change of the whole file at a time: fetching it, storing
//! it, removing or renaming it.
//!
//! It does not lock data: its holder uses the network. A waiting thread gives up when the calling
//! program no longer waits for the reply, and when the holder has made no progress for a long time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::vfs::errno::Errno;

/// How often a waiting thread checks whether it was cancelled and whether the holder makes
/// progress.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Admits one thread at a time.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Gate {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// The right to change the whole file. Dropping it admits the next thread.
#[derive(Debug)]
pub(in crate::vfs) struct Pass<'a> {
    gate: &'a Gate,
}

/// The conditions under which a wait for the gate fails.
pub(in crate::vfs) struct Patience<'a> {
    /// Maximum wait without progress of the holder.
    pub(in crate::vfs) stuck: Duration,
    /// A number that changes when the holder makes progress.
    pub(in crate::vfs) progress: &'a dyn Fn() -> u64,
    /// Cancelled when the calling program no longer waits.
    pub(in crate::vfs) cancel: &'a Cancel,
}

impl Gate {
    /// Waits for the gate.
    ///
    /// # Errors
    /// `INTR` when the program no longer waits, `TIMEDOUT` if the holder is stuck.
    pub(in crate::vfs) fn enter(&self, patience: &Patience<'_>) -> Result<Pass<'_>, Errno> {
        let mut since = Instant::now();
        let mut reached = None;
        loop {
            let is_taken = |taken: &mut bool| *taken;
            let waited = self
                .freed
                .wait_timeout_while(self.lock(), LOOK_UP, is_taken);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            // Even if the gate is free: an interrupted operation must not be performed later.
            if patience.cancel.is_cancelled() {
                self.freed.notify_one();
                return Err(Errno::INTR);
            }
            {
                let mut taken = self.lock();
                if !*taken {
                    *taken = true;
                    return Ok(Pass { gate: self });
                }
            }
            let now = Some((patience.progress)());
            if now != reached {
                reached = now;
                since = Instant::now();
            } else if since.elapsed() >= patience.stuck {
                return Err(Errno::TIMEDOUT);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A bool cannot be inconsistent after a panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        *self.gate.lock() = false;
        self.gate.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn enter(
        gate: &Gate,
        stuck: Duration,
        progress: &dyn Fn() -> u64,
        cancel: &Cancel,
    ) -> Result<(), Errno> {
        let patience = Patience {
            stuck,
            progress,
            cancel,
        };
        gate.enter(&patience).map(drop)
    }

    #[test]
    fn the_gate_opens_when_its_holder_goes() {
        let gate = Gate::default();
        let first = gate.enter(&Patience {
            stuck: FOR_EVER,
            progress: &|| 0,
            cancel: &Cancel::never(),
        });
        std::thread::scope(|scope| {
            let second = scope.spawn(|| enter(&gate, FOR_EVER, &|| 0, &Cancel::never()));
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn who_is_interrupted_waits_no_longer() {
        let gate = Gate::default();
        let _first = enter(&gate, FOR_EVER, &|| 0, &Cancel::never());
        *gate.lock() = true;
        let cancelled = Cancel::new();
        cancelled.cancel();
        let waited = enter(&gate, FOR_EVER, &|| 0, &cancelled);
        assert_eq!(waited, Err(Errno::INTR));
    }

    #[test]
    fn a_holder_that_is_stuck_is_not_waited_for() {
        let gate = Gate::default();
        *gate.lock() = true;
        let waited = enter(&gate, LOOK_UP, &|| 7, &Cancel::never());
        assert_eq!(waited, Err(Errno::TIMEDOUT));
    }

    #[test]
    fn a_holder_that_gets_on_is_waited_for() {
        let gate = Gate::default();
        *gate.lock() = true;
        let looks = Cell::new(0);
        let progress = || {
            looks.set(looks.get() + 1);
            if looks.get() == 4 {
                *gate.lock() = false;
            }
            looks.get()
        };
        assert_eq!(
            enter(&gate, Duration::ZERO, &progress, &Cancel::never()),
            Ok(())
        );
        assert_eq!(looks.get(), 4);
    }
}
