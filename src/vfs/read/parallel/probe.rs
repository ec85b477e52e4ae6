//! Whether parallel transfers of one file are faster than one. Pure arithmetic: no clock, no
//! thread.
//!
//! One TCP stream transfers at most one window per round trip. If that is less than the capacity of
//! the line, each further transfer adds as much again. If the line is full, they only share it. A
//! trial shows which is the case: whether all transfers together are faster than the first one
//! alone.

use std::time::Duration;

/// Number of bytes that the first transfer receives before others are tried. They show that its
/// reader reads on.
const FIRST: u64 = 1 << 20;
/// Minimum round-trip time for a trial. Below it, one stream fills the line.
pub(in crate::vfs::read) const SHORTEST_ROUND_TRIP: Duration = Duration::from_millis(5);
/// Number of round trips over which a rate is measured: TCP sends in bursts.
const ROUND_TRIPS_A_RATE: u32 = 2;
/// Number of round trips from the first bytes of the others until they are judged: TCP starts
/// slowly.
const ROUND_TRIPS_TO_SETTLE: u32 = 10;
/// Minimum rate of all transfers together for the others to pay off, in percent of the rate of the
/// first one alone.
const GAIN: u64 = 150;

/// The result of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs::read) enum Verdict {
    /// The first stream did not fill the line.
    Pays,
    /// The line was full, or the server is the bottleneck.
    DoesNotPay,
}

/// The next action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs::read) enum ProbeAction {
    /// Continue as before.
    GoOn,
    /// Start other transfers in parallel to the first one.
    Begin,
    /// The trial has ended with this verdict.
    Found(Verdict),
}

/// The progress of a file so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Time since the first transfer started.
    pub(super) elapsed: Duration,
    /// The part of that time in which its reader waited for the network.
    pub(super) waited: Duration,
    /// Number of bytes that the first transfer received.
    pub(super) first: u64,
    /// Number of bytes that the others received.
    pub(super) others: u64,
}

#[derive(Debug)]
enum ProbeState {
    /// Only the first transfer is running.
    Alone,
    /// Others were started. Their first bytes arrived at this time, if they have.
    Trying(Option<Duration>),
    Settled,
}

/// A measurement of one file being read.
#[derive(Debug)]
pub(super) struct ThroughputProbe {
    round_trip: Duration,
    state: ProbeState,
    /// The sample at which the last rate was measured.
    last: Sample,
    /// Highest rate of the first transfer while it was alone, in bytes per second.
    best: u64,
}

impl ThroughputProbe {
    /// Creates the probe of a file on a server with this `round_trip`. `known` is an earlier
    /// verdict of another file.
    pub(super) fn new(round_trip: Duration, known: Option<Verdict>) -> Self {
        let is_far = round_trip >= SHORTEST_ROUND_TRIP;
        let state = if is_far && known != Some(Verdict::DoesNotPay) {
            ProbeState::Alone
        } else {
            ProbeState::Settled
        };
        Self {
            round_trip,
            state,
            last: Sample::default(),
            best: 0,
        }
    }

    /// Returns what to do next according to the progress so far.
    pub(super) fn look(&mut self, now: Sample) -> ProbeAction {
        if matches!(self.state, ProbeState::Settled) {
            return ProbeAction::GoOn;
        }
        let rate = self.rate(now);
        match (&mut self.state, rate) {
            (ProbeState::Alone, rate) => {
                self.best = self.best.max(rate.map_or(0, |rate| rate.first));
                if now.first < FIRST || !is_mostly(now.waited, now.elapsed) {
                    return ProbeAction::GoOn;
                }
                self.state = ProbeState::Trying(None);
                ProbeAction::Begin
            }
            (ProbeState::Trying(there @ None), rate) => {
                if now.others > 0 {
                    *there = Some(now.elapsed);
                } else {
                    self.best = self.best.max(rate.map_or(0, |rate| rate.first));
                }
                ProbeAction::GoOn
            }
            (ProbeState::Trying(Some(there)), Some(rate)) => {
                let settled = *there + self.round_trip * ROUND_TRIPS_TO_SETTLE;
                // A reader that is slower than the network proves nothing.
                if now.elapsed < settled || !rate.is_awaited {
                    return ProbeAction::GoOn;
                }
                self.state = ProbeState::Settled;
                let pays = (rate.first + rate.others) * 100 >= self.best * GAIN;
                ProbeAction::Found(if pays {
                    Verdict::Pays
                } else {
                    Verdict::DoesNotPay
                })
            }
            (ProbeState::Trying(Some(_)) | ProbeState::Settled, _) => ProbeAction::GoOn,
        }
    }

    /// Returns the rate since the last measurement, if that is long enough ago.
    fn rate(&mut self, now: Sample) -> Option<Rate> {
        let span = now.elapsed.saturating_sub(self.last.elapsed);
        if span < self.round_trip * ROUND_TRIPS_A_RATE {
            return None;
        }
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).max(1);
        let a_second = |bytes: u64| bytes.saturating_mul(1_000_000) / micros;
        let rate = Rate {
            first: a_second(now.first.saturating_sub(self.last.first)),
            others: a_second(now.others.saturating_sub(self.last.others)),
            is_awaited: is_mostly(now.waited.saturating_sub(self.last.waited), span),
        };
        self.last = now;
        Some(rate)
    }
}

/// Rates in bytes per second.
struct Rate {
    first: u64,
    others: u64,
    /// Whether the reader waited for the bytes.
    is_awaited: bool,
}

/// Whether `part` is most of `whole`.
fn is_mostly(part: Duration, whole: Duration) -> bool {
    part * 3 >= whole * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(100);
    const M: u64 = 1 << 20;

    /// Passes `judge` one sample per second, in which the first and the other transfers received
    /// these MiB. Returns its first advice.
    fn seconds(
        judge: &mut ThroughputProbe,
        at: &mut Sample,
        rates: &[(u64, u64)],
    ) -> Option<ProbeAction> {
        rates.iter().find_map(|(first, others)| {
            at.elapsed += Duration::from_secs(1);
            at.waited += Duration::from_secs(1);
            at.first += first * M;
            at.others += others * M;
            let advice = judge.look(*at);
            (advice != ProbeAction::GoOn).then_some(advice)
        })
    }

    #[test]
    fn where_the_first_left_room_others_pay() {
        let (mut judge, mut at) = (ThroughputProbe::new(ROUND_TRIP, None), Sample::default());
        assert_eq!(
            seconds(&mut judge, &mut at, &[(25, 0)]),
            Some(ProbeAction::Begin)
        );
        let found = seconds(
            &mut judge,
            &mut at,
            &[(25, 0), (25, 10), (25, 75), (25, 150)],
        );
        assert_eq!(found, Some(ProbeAction::Found(Verdict::Pays)));
        assert_eq!(seconds(&mut judge, &mut at, &[(25, 0), (25, 0)]), None);
    }

    #[test]
    fn where_the_line_is_full_they_do_not() {
        let (mut judge, mut at) = (ThroughputProbe::new(ROUND_TRIP, None), Sample::default());
        assert_eq!(
            seconds(&mut judge, &mut at, &[(12, 0)]),
            Some(ProbeAction::Begin)
        );
        let found = seconds(&mut judge, &mut at, &[(12, 0), (8, 4), (2, 10), (2, 10)]);
        assert_eq!(found, Some(ProbeAction::Found(Verdict::DoesNotPay)));
    }

    #[test]
    fn they_are_not_judged_before_they_have_come_up_to_speed() {
        let (mut judge, mut at) = (ThroughputProbe::new(ROUND_TRIP, None), Sample::default());
        seconds(&mut judge, &mut at, &[(12, 0)]);
        assert_eq!(seconds(&mut judge, &mut at, &[(12, 1)]), None);
    }

    #[test]
    fn a_reader_that_makes_the_network_wait_shows_nothing() {
        let (mut judge, mut at) = (ThroughputProbe::new(ROUND_TRIP, None), Sample::default());
        at.elapsed = Duration::from_secs(60);
        assert_eq!(seconds(&mut judge, &mut at, &[(1, 0); 5]), None);
        // The reader slows down while others are tried, and determines their rate.
        let (mut judge, mut at) = (ThroughputProbe::new(ROUND_TRIP, None), Sample::default());
        seconds(&mut judge, &mut at, &[(25, 0), (25, 1)]);
        for _ in 0..5 {
            at.elapsed += Duration::from_secs(60);
            assert_eq!(seconds(&mut judge, &mut at, &[(1, 1)]), None);
        }
        let found = seconds(&mut judge, &mut at, &[(25, 75)]);
        assert_eq!(found, Some(ProbeAction::Found(Verdict::Pays)));
    }

    #[test]
    fn a_server_nearby_and_one_where_they_did_not_pay_are_spared_the_trial() {
        let near = Duration::from_millis(1);
        for mut judge in [
            ThroughputProbe::new(near, Some(Verdict::Pays)),
            ThroughputProbe::new(ROUND_TRIP, Some(Verdict::DoesNotPay)),
        ] {
            let mut at = Sample::default();
            assert_eq!(seconds(&mut judge, &mut at, &[(25, 0); 9]), None);
        }
        let mut judge = ThroughputProbe::new(ROUND_TRIP, Some(Verdict::Pays));
        let began = seconds(&mut judge, &mut Sample::default(), &[(1, 0)]);
        assert_eq!(began, Some(ProbeAction::Begin));
    }
}
