//! One change of a whole file at a time: fetching it, storing it, removing or renaming it.
//!
//! Not a lock around data: the holder works on the network meanwhile. Who waits gives up when the
//! program that asked no longer waits for the answer, and when the holder has made no progress for
//! long.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::vfs::errno::Errno;

/// How often a wait looks whether it is still wanted, and whether the holder gets on.
const LOOK_UP: Duration = Duration::from_millis(200);

/// Lets one through; the others wait.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Gate {
    taken: Mutex<bool>,
    freed: Condvar,
}

/// Holds the gate; dropping it lets the next one through.
#[derive(Debug)]
pub(in crate::vfs) struct Pass<'a> {
    gate: &'a Gate,
}

/// How a wait for the gate ends without it.
pub(in crate::vfs) struct Patience<'a> {
    /// Longest wait while the holder makes no progress.
    pub(in crate::vfs) stuck: Duration,
    /// A number that changes as the holder gets on.
    pub(in crate::vfs) progress: &'a dyn Fn() -> u64,
    /// Whether the answer is still waited for.
    pub(in crate::vfs) wanted: &'a dyn Fn() -> bool,
}

impl Gate {
    /// Waits for the gate.
    ///
    /// # Errors
    /// `INTR` once nobody waits for the answer, `TIMEDOUT` where the holder is stuck.
    pub(in crate::vfs) fn enter(&self, patience: &Patience<'_>) -> Result<Pass<'_>, Errno> {
        let mut since = Instant::now();
        let mut reached = None;
        loop {
            let is_taken = |taken: &mut bool| *taken;
            let waited = self
                .freed
                .wait_timeout_while(self.lock(), LOOK_UP, is_taken);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
            // Also of a gate that is open: what an interrupted program asked for is not done later.
            if !(patience.wanted)() {
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const FOR_EVER: Duration = Duration::from_secs(3600);

    fn enter(
        gate: &Gate,
        stuck: Duration,
        progress: &dyn Fn() -> u64,
        wanted: &dyn Fn() -> bool,
    ) -> Result<(), Errno> {
        let patience = Patience {
            stuck,
            progress,
            wanted,
        };
        gate.enter(&patience).map(drop)
    }

    #[test]
    fn the_gate_opens_when_its_holder_goes() {
        let gate = Gate::default();
        let first = gate.enter(&Patience {
            stuck: FOR_EVER,
            progress: &|| 0,
            wanted: &|| true,
        });
        std::thread::scope(|scope| {
            let second = scope.spawn(|| enter(&gate, FOR_EVER, &|| 0, &|| true));
            drop(first);
            assert_eq!(second.join().unwrap(), Ok(()));
        });
    }

    #[test]
    fn who_is_interrupted_waits_no_longer() {
        let gate = Gate::default();
        let _first = enter(&gate, FOR_EVER, &|| 0, &|| true);
        *gate.lock() = true;
        let waited = enter(&gate, FOR_EVER, &|| 0, &|| false);
        assert_eq!(waited, Err(Errno::INTR));
    }

    #[test]
    fn a_holder_that_is_stuck_is_not_waited_for() {
        let gate = Gate::default();
        *gate.lock() = true;
        let waited = enter(&gate, LOOK_UP, &|| 7, &|| true);
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
        assert_eq!(enter(&gate, Duration::ZERO, &progress, &|| true), Ok(()));
        assert_eq!(looks.get(), 4);
    }
}
