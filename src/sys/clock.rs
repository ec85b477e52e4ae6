//! Time that goes on while the machine sleeps.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A clock that counts the time that the machine sleeps (CLOCK_BOOTTIME of clock_gettime(2)), which
/// [`Instant::now`] leaves out. What was learnt of a server before the sleep is old afterwards.
///
/// Its times can be compared with each other, and with those of another such clock unless the
/// machine slept between their starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootClock {
    start: Instant,
    /// Time since the machine was started, at `start`.
    boot: Duration,
}

impl BootClock {
    /// Starts a clock.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            boot: since_boot(),
        }
    }

    /// Returns the current time.
    pub(crate) fn now(self) -> Instant {
        self.at(since_boot())
    }

    /// Time since `moment`, a time of this clock.
    pub(crate) fn elapsed(self, moment: Instant) -> Duration {
        self.now().saturating_duration_since(moment)
    }

    /// Returns the time when the machine was started `boot` ago.
    fn at(self, boot: Duration) -> Instant {
        self.start + boot.saturating_sub(self.boot)
    }
}

/// Returns how long the machine has slept since it was started.
pub(crate) fn slept() -> Duration {
    since_boot().saturating_sub(reading(ClockId::Monotonic))
}

fn since_boot() -> Duration {
    reading(ClockId::Boottime)
}

fn reading(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_of_the_machine_counts() {
        let clock = BootClock::start();
        let before = clock.at(clock.boot);
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.at(clock.boot + hour), before + hour);
        let now = clock.now();
        assert!(now >= before && clock.now() >= now);
        assert!(clock.elapsed(now + hour).is_zero());
    }
}
