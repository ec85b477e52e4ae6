//! The back-off between attempts to make a session, after one failed.
//!
//! The pause doubles with each failure. It is randomized, so that many mounts do not return to a
//! restarted server in step. It stays short, so that a server that is back is found soon.
//!
//! A server that is away for less than the patience costs requests a wait. After that, requests
//! fail, and each one that is made later leads to one more attempt.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::{Error, ProxyProblem, Transience};

/// Pause after the first failure to reach the server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause, before it is randomized.
const LONGEST_PAUSE: Duration = Duration::from_millis(1600);
/// Factor of the pause after a refused login: servers lock accounts after repeated attempts.
const LOGIN_FACTOR: u32 = 20;
/// Factor of the pause after a refusal of a full server: some count each attempt as one more
/// connection, or ban clients after repeated attempts.
const FULL_FACTOR: u32 = 5;
/// Number of failures in a row after which requests fail, if the failure does not look temporary.
const PATIENT_FAILURES: u32 = 3;

/// What to do if a session is needed.
#[derive(Debug, Clone)]
pub(super) enum DialAdvice {
    /// Make it.
    Dial,
    /// Make it at this time.
    WaitUntil(Instant),
    /// Wait for the attempt that is under way after a failure.
    WaitForOutcome,
    /// Fail with the error of the last attempt.
    GiveUp(Arc<Error>),
}

/// The failed attempts since the last success.
#[derive(Debug)]
pub(super) struct Backoff {
    /// How long a server may be away before requests fail; `None` for ever.
    patience: Option<Duration>,
    failing: Option<Failing>,
    /// Number of attempts that ever failed.
    failures: u64,
}

#[derive(Debug)]
struct Failing {
    /// Whether no session existed at the last failure.
    is_away: bool,
    /// When the first of these attempts began.
    since: Instant,
    /// When the last one failed.
    last: Instant,
    count: u32,
    until: Instant,
    error: Arc<Error>,
}

impl Backoff {
    /// Creates a back-off without failures. A server may be away for `patience` before requests
    /// fail, or for ever if it is `None`.
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            failing: None,
            failures: 0,
        }
    }

    /// Number of attempts that ever failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    /// Returns what to do now for a request that was made after `before` attempts had failed.
    /// `dialling` and `established` count the sessions of the pool that are being made and that
    /// exist.
    pub(super) fn advice(
        &self,
        now: Instant,
        before: u64,
        dialling: usize,
        established: usize,
    ) -> DialAdvice {
        let Some(failing) = &self.failing else {
            return DialAdvice::Dial;
        };
        if dialling > 0 {
            return DialAdvice::WaitForOutcome;
        }
        // The request has seen an attempt fail, or is made so soon after one that another would
        // fail, too.
        let is_tried = self.failures != before || now < failing.until;
        if is_tried && !self.may_recover(failing, now, established) {
            return DialAdvice::GiveUp(Arc::clone(&failing.error));
        }
        if now >= failing.until {
            DialAdvice::Dial
        } else {
            DialAdvice::WaitUntil(failing.until)
        }
    }

    fn may_recover(&self, failing: &Failing, now: Instant, established: usize) -> bool {
        let is_patient = failing.count <= PATIENT_FAILURES;
        match failing.error.transience() {
            _ if established > 0 => true,
            // The server may have room at any time.
            _ if matches!(*failing.error, Error::TooManySessions(_)) => true,
            // A server that restarts may break handshakes for a moment.
            Transience::Person if matches!(*failing.error, Error::Tls(_) | Error::NotTls) => {
                is_patient
            }
            // Another attempt does not change the password or the certificate.
            Transience::Person => false,
            Transience::Permanent => is_patient,
            Transience::Broken
            | Transience::Silent
            | Transience::Transfer
            | Transience::Method
            | Transience::Later => self
                .patience
                .is_none_or(|patience| now.saturating_duration_since(failing.since) < patience),
        }
    }

    /// Notes that an attempt that was made at `began` failed, while `established` sessions existed:
    /// with some, the server was not away.
    pub(super) fn failed(
        &mut self,
        began: Instant,
        now: Instant,
        established: usize,
        error: Arc<Error>,
    ) {
        let earlier = self.failing.take();
        let count = earlier.as_ref().map_or(0, |failing| failing.count) + 1;
        // The server may have been back for a while when no request was made.
        let is_recent = |failing: &Failing| {
            let quiet = began.saturating_duration_since(failing.last);
            failing.is_away && self.patience.is_none_or(|patience| quiet < patience)
        };
        let since = earlier.filter(is_recent).map_or(began, |it| it.since);
        self.failures += 1;
        let factor = if is_about_a_password(&error) {
            LOGIN_FACTOR
        } else if error.is_refused_login() {
            FULL_FACTOR
        } else {
            1
        };
        self.failing = Some(Failing {
            is_away: established == 0,
            since,
            last: now,
            count,
            until: now + pause(count, RandomState::new().hash_one(count)) * factor,
            error,
        });
    }

    /// Notes that an attempt succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// The error of the last attempt, if that failed.
    pub(super) fn last_error(&self) -> Option<Arc<Error>> {
        self.failing
            .as_ref()
            .map(|failing| Arc::clone(&failing.error))
    }
}

/// The pause after `count` failures in a row. `random` varies it by a quarter up or down.
fn pause(count: u32, random: u64) -> Duration {
    let doubled = FIRST_PAUSE * 2_u32.pow(count.saturating_sub(1).min(8));
    let capped = doubled.min(LONGEST_PAUSE);
    let percent = 75 + (random % 51) as u32;
    capped * percent / 100
}

/// Whether the server or the proxy refused the login.
fn is_about_a_password(error: &Error) -> bool {
    matches!(
        error,
        Error::Login(_)
            | Error::Proxy {
                problem: ProxyProblem::LoginRefused | ProxyProblem::WantsLogin,
                ..
            }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Phase, Reply, ReplyCode};

    fn dead() -> Arc<Error> {
        Arc::new(Error::Timeout(Phase::Connect))
    }

    #[test]
    fn pauses_grow_vary_and_end_within_two_seconds() {
        assert_eq!(pause(1, 25), FIRST_PAUSE);
        assert_eq!(pause(2, 25), FIRST_PAUSE * 2);
        assert!(pause(3, 0) < pause(3, 50));
        for count in [1, 5, 100, u32::MAX] {
            for random in 0..51 {
                assert!(pause(count, random) <= Duration::from_secs(2));
            }
        }
    }

    const PATIENCE: Duration = Duration::from_secs(30);

    fn soft() -> Backoff {
        Backoff::new(Some(PATIENCE))
    }

    #[test]
    fn requests_wait_for_a_dead_server_as_long_as_the_patience_and_then_fail() {
        let start = Instant::now();
        let mut backoff = soft();
        let mut now = start;
        while now < start + PATIENCE {
            backoff.failed(now, now, 0, dead());
            let DialAdvice::WaitUntil(next) = backoff.advice(now, 0, 0, 0) else {
                panic!("it is given up after {:?}", now - start);
            };
            now = next.min(start + PATIENCE);
            let later = backoff.advice(next, backoff.failures(), 0, 0);
            assert!(matches!(later, DialAdvice::Dial));
        }
        backoff.failed(now, now, 0, dead());
        assert!(matches!(
            backoff.advice(now, 0, 0, 0),
            DialAdvice::GiveUp(_)
        ));
        let before = backoff.failures();
        let later = now + Duration::from_secs(3);
        assert!(
            matches!(backoff.advice(later, before, 0, 0), DialAdvice::Dial),
            "a later request leads to another attempt"
        );
        backoff.succeeded();
        assert!(matches!(backoff.advice(now, 0, 0, 0), DialAdvice::Dial));
    }

    #[test]
    fn a_hard_request_never_gives_up_a_dead_server_but_a_wrong_password() {
        let start = Instant::now();
        let mut backoff = Backoff::new(None);
        for hours in 0..100 {
            let now = start + Duration::from_secs(3600) * hours;
            backoff.failed(now, now, 0, dead());
            let advice = backoff.advice(now, 0, 0, 0);
            assert!(matches!(advice, DialAdvice::WaitUntil(_)));
        }
        let reply = Reply::new(ReplyCode(530), vec![b"Login incorrect".into()]);
        backoff.failed(start, start, 0, Arc::new(Error::Login(reply)));
        assert!(matches!(
            backoff.advice(start, 0, 0, 0),
            DialAdvice::GiveUp(_)
        ));
    }

    #[test]
    fn an_attempt_that_takes_the_whole_patience_is_the_last() {
        let start = Instant::now();
        let mut backoff = soft();
        let end = start + PATIENCE;
        backoff.failed(start, end, 0, dead());
        assert!(matches!(
            backoff.advice(end, 0, 0, 0),
            DialAdvice::GiveUp(_)
        ));
    }

    #[test]
    fn an_outage_long_ago_does_not_count() {
        let start = Instant::now();
        let mut backoff = soft();
        backoff.failed(start, start, 0, dead());
        let later = start + PATIENCE * 2;
        backoff.failed(later, later, 0, dead());
        assert!(matches!(
            backoff.advice(later, 1, 0, 0),
            DialAdvice::WaitUntil(_)
        ));
    }

    #[test]
    fn failures_beside_other_sessions_take_no_patience_from_an_outage() {
        let start = Instant::now();
        let mut backoff = soft();
        let growth = (0..10).map(|minute| start + Duration::from_secs(20) * minute);
        for moment in growth {
            backoff.failed(moment, moment, 1, dead());
        }
        let restart = start + Duration::from_secs(20) * 10;
        backoff.failed(restart, restart, 0, dead());
        assert!(matches!(
            backoff.advice(restart, 0, 0, 0),
            DialAdvice::WaitUntil(_)
        ));
    }

    #[test]
    fn a_failure_that_looks_permanent_is_repeated_a_few_times() {
        let now = Instant::now();
        let mut backoff = Backoff::new(None);
        let odd = || {
            let line = "hello".to_owned();
            let expected = "a reply";
            Arc::new(Error::Malformed { expected, line })
        };
        for _ in 0..PATIENT_FAILURES {
            backoff.failed(now, now, 0, odd());
            let advice = backoff.advice(now, 0, 0, 0);
            assert!(matches!(advice, DialAdvice::WaitUntil(_)));
        }
        backoff.failed(now, now, 0, odd());
        assert!(matches!(
            backoff.advice(now, 0, 0, 0),
            DialAdvice::GiveUp(_)
        ));
    }

    #[test]
    fn a_full_server_gets_a_few_attempts_in_fifteen_seconds() {
        for (code, words) in [(421, "too many connections"), (421, "im Moment nicht")] {
            let reply = Reply::new(ReplyCode(code), vec![words.into()]);
            let error = Arc::new(match words {
                "im Moment nicht" => Error::Refused {
                    command: "greeting",
                    reply,
                },
                _ => Error::TooManySessions(reply),
            });
            let start = Instant::now();
            let mut backoff = soft();
            let tries = (0..1500_u32).map(|step| start + Duration::from_millis(10) * step);
            let dials = tries.filter(|now| {
                let dials = matches!(backoff.advice(*now, 0, 0, 0), DialAdvice::Dial);
                if dials {
                    backoff.failed(*now, *now, 0, Arc::clone(&error));
                }
                dials
            });
            assert!((2..=6).contains(&dials.count()), "{words}");
        }
    }

    #[test]
    fn after_a_failure_one_attempt_is_made_at_a_time() {
        let now = Instant::now();
        let mut backoff = soft();
        assert!(matches!(backoff.advice(now, 0, 3, 0), DialAdvice::Dial));
        backoff.failed(now, now, 0, dead());
        let later = now + Duration::from_secs(3);
        assert!(matches!(
            backoff.advice(later, 1, 1, 0),
            DialAdvice::WaitForOutcome
        ));
    }

    #[test]
    fn requests_wait_while_other_sessions_exist() {
        let now = Instant::now();
        let mut backoff = soft();
        for _ in 0..10 {
            backoff.failed(now, now, 0, dead());
        }
        assert!(matches!(
            backoff.advice(now, 0, 0, 1),
            DialAdvice::WaitUntil(_)
        ));
    }
}
