//! A limit of bytes per second that several transfers share.
//!
//! A token bucket with debt: a transfer moves a [quantum](RateLimit::quantum) of bytes, then waits
//! until they are paid for. The quanta of all transfers are paid in the order in which they were
//! moved, so transfers that run simultaneously get equal shares. No lock is held while a transfer
//! moves bytes.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Duration of a quantum at the limit. Short, so that transfers take turns often and a new limit
/// applies soon.
const QUANTUM: Duration = Duration::from_millis(50);
/// Maximum size of a quantum in bytes.
const MAX_QUANTUM: u64 = 1 << 20;
/// Unused time that a transfer can catch up on.
const BURST: Duration = Duration::from_millis(100);

/// A limit that can be changed while transfers run.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    schedule: Mutex<Schedule>,
    /// The limit was changed.
    changed: Condvar,
}

/// Who pays when. The current time is an argument.
#[derive(Debug, Default)]
struct Schedule {
    /// Bytes per second; `None` is unlimited.
    rate: Option<u64>,
    /// When all bytes that were moved so far are paid for.
    paid: Option<Instant>,
    /// Number of changes of the limit.
    changes: u64,
}

impl RateLimit {
    /// Returns the limit in bytes per second.
    pub(super) fn rate(&self) -> Option<u64> {
        self.lock().rate
    }

    /// Sets the limit in bytes per second; `None` or 0 lifts it. Waiting transfers continue
    /// immediately, and pay at the new rate from then on.
    pub(super) fn set_rate(&self, rate: Option<u64>) {
        self.lock().set_rate(rate);
        self.changed.notify_all();
    }

    /// Returns the maximum number of bytes to move before the next [`RateLimit::pay`]; `None` is
    /// unlimited.
    pub(super) fn quantum(&self) -> Option<u64> {
        self.lock().quantum()
    }

    /// Waits until `bytes` that were moved are paid for.
    pub(super) fn pay(&self, bytes: u64) {
        let mut schedule = self.lock();
        let Some(paid) = schedule.charge(bytes, Instant::now()) else {
            return;
        };
        let changes = schedule.changes;
        while schedule.changes == changes {
            let left = paid.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(schedule, left);
            schedule = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Charges `bytes` that were moved without a delay. Later transfers wait for them, for
    /// [`MAX_DEBT`] at most.
    pub(super) fn charge(&self, bytes: u64) {
        let now = Instant::now();
        let mut schedule = self.lock();
        schedule.charge(bytes, now);
        schedule.paid = schedule.paid.map(|paid| paid.min(now + MAX_DEBT));
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        // Each change is a plain assignment.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest wait of transfers for what was moved without a delay. Listings of large trees would stop
/// all downloads for minutes.
const MAX_DEBT: Duration = Duration::from_secs(1);

impl Schedule {
    fn set_rate(&mut self, rate: Option<u64>) {
        self.rate = rate.filter(|rate| *rate > 0);
        self.paid = None;
        self.changes += 1;
    }

    fn quantum(&self) -> Option<u64> {
        let bytes = u128::from(self.rate?) * QUANTUM.as_millis() / 1000;
        Some(u64::try_from(bytes).map_or(MAX_QUANTUM, |bytes| bytes.clamp(1, MAX_QUANTUM)))
    }

    /// Returns when `bytes` are paid for, after all that were charged before.
    fn charge(&mut self, bytes: u64, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let oldest = now.checked_sub(BURST).unwrap_or(now);
        let start = self.paid.map_or(oldest, |paid| paid.max(oldest));
        let price = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let paid = start.checked_add(price).unwrap_or(start);
        self.paid = Some(paid);
        Some(paid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(rate: u64) -> Schedule {
        let mut schedule = Schedule::default();
        schedule.set_rate(Some(rate));
        schedule
    }

    #[test]
    fn bytes_are_paid_at_the_rate_after_a_short_burst() {
        let now = Instant::now();
        let mut schedule = limited(1000);
        let first = schedule.charge(100, now).unwrap();
        assert_eq!(first, now, "the burst pays for it");
        let second = schedule.charge(500, now).unwrap();
        assert_eq!(second, now + Duration::from_millis(500));
        // After a pause, only the burst is caught up on.
        let later = now + Duration::from_secs(100);
        assert_eq!(
            schedule.charge(1000, later).unwrap(),
            later + Duration::from_millis(900)
        );
    }

    #[test]
    fn simultaneous_transfers_take_turns() {
        let now = Instant::now();
        let mut schedule = limited(1000);
        schedule.charge(100, now);
        let turns: Vec<_> = (0..4).map(|_| schedule.charge(50, now).unwrap()).collect();
        let expected = [50, 100, 150, 200].map(|it| now + Duration::from_millis(it));
        assert_eq!(turns, expected);
    }

    #[test]
    fn a_quantum_is_short_and_bounded() {
        assert_eq!(Schedule::default().quantum(), None);
        assert_eq!(limited(1).quantum(), Some(1));
        assert_eq!(limited(1000).quantum(), Some(50));
        assert_eq!(limited(u64::MAX).quantum(), Some(MAX_QUANTUM));
        assert_eq!(limited(0).quantum(), None);
    }

    #[test]
    fn what_was_moved_without_a_delay_stops_others_only_briefly() {
        let limit = RateLimit::default();
        limit.set_rate(Some(1000));
        for _ in 0..3 {
            // A listing of an hour at this rate.
            limit.charge(3_600_000);
            let paid = limit.lock().paid.unwrap();
            let debt = paid.saturating_duration_since(Instant::now());
            assert!(debt <= MAX_DEBT, "{debt:?}");
        }
    }

    #[test]
    fn a_lifted_limit_wakes_those_who_wait() {
        let limit = RateLimit::default();
        limit.set_rate(Some(1));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| limit.pay(1_000_000));
            while !waiting.is_finished() {
                limit.set_rate(None);
                std::thread::yield_now();
            }
        });
        assert_eq!(limit.rate(), None);
    }
}
