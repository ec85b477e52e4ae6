//! The back-off between attempts to make a session, after one failed.
//!
//! The pause doubles with each failure. It is randomized, so that many mounts do not return to a
//! restarted server in step. It stays short, so that a server that is back is found soon.

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
/// Number of failures in a row after which requests fail instead of waiting for the next attempt.
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
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    count: u32,
    until: Instant,
    error: Arc<Error>,
}

impl Backoff {
    /// Returns what to do now. `dialling` and `established` count the sessions of the pool that are
    /// being made and that exist.
    pub(super) fn advice(&self, now: Instant, dialling: usize, established: usize) -> DialAdvice {
        let Some(failing) = &self.failing else {
            return DialAdvice::Dial;
        };
        if dialling > 0 {
            return DialAdvice::WaitForOutcome;
        }
        if now >= failing.until {
            return DialAdvice::Dial;
        }
        let may_recover = match failing.error.transience() {
            _ if established > 0 => true,
            // The server may have room at any time.
            _ if matches!(*failing.error, Error::TooManySessions(_)) => true,
            // A server that restarts may break handshakes for a moment.
            Transience::Person if matches!(*failing.error, Error::Tls(_) | Error::NotTls) => {
                failing.count <= PATIENT_FAILURES
            }
            // Another attempt does not change the password or the certificate.
            Transience::Person => false,
            Transience::Broken
            | Transience::Silent
            | Transience::Transfer
            | Transience::Method
            | Transience::Later
            | Transience::Permanent => failing.count <= PATIENT_FAILURES,
        };
        if may_recover {
            DialAdvice::WaitUntil(failing.until)
        } else {
            DialAdvice::GiveUp(Arc::clone(&failing.error))
        }
    }

    /// Notes that an attempt failed.
    pub(super) fn failed(&mut self, now: Instant, error: Arc<Error>) {
        let count = self.failing.as_ref().map_or(0, |failing| failing.count) + 1;
        let factor = if is_about_a_password(&error) {
            LOGIN_FACTOR
        } else if error.is_refused_login() {
            FULL_FACTOR
        } else {
            1
        };
        self.failing = Some(Failing {
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

    #[test]
    fn requests_wait_after_the_first_failures_and_fail_after_more() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..PATIENT_FAILURES {
            backoff.failed(now, dead());
            assert!(matches!(
                backoff.advice(now, 0, 0),
                DialAdvice::WaitUntil(_)
            ));
        }
        backoff.failed(now, dead());
        assert!(matches!(backoff.advice(now, 0, 0), DialAdvice::GiveUp(_)));
        let later = now + Duration::from_secs(3);
        assert!(matches!(backoff.advice(later, 0, 0), DialAdvice::Dial));
        backoff.succeeded();
        assert!(matches!(backoff.advice(now, 0, 0), DialAdvice::Dial));
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
            let mut backoff = Backoff::default();
            let tries = (0..1500_u32).map(|step| start + Duration::from_millis(10) * step);
            let dials = tries.filter(|now| {
                let dials = matches!(backoff.advice(*now, 0, 0), DialAdvice::Dial);
                if dials {
                    backoff.failed(*now, Arc::clone(&error));
                }
                dials
            });
            assert!((2..=6).contains(&dials.count()), "{words}");
        }
    }

    #[test]
    fn after_a_failure_one_attempt_is_made_at_a_time() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        assert!(matches!(backoff.advice(now, 3, 0), DialAdvice::Dial));
        backoff.failed(now, dead());
        let later = now + Duration::from_secs(3);
        assert!(matches!(
            backoff.advice(later, 1, 0),
            DialAdvice::WaitForOutcome
        ));
    }

    #[test]
    fn requests_wait_while_other_sessions_exist() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.failed(now, dead());
        }
        assert!(matches!(
            backoff.advice(now, 0, 1),
            DialAdvice::WaitUntil(_)
        ));
    }
}
