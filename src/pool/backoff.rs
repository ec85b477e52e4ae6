//! When a server that failed to make a session is asked again.
//!
//! The pause doubles with each failure and is spread by chance, so that many mounts do not return
//! to a restarted server in step. Its end is never far: a server that is back is found soon.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::{Error, ProxyProblem};

/// Pause after the first failure to reach the server.
const FIRST: Duration = Duration::from_millis(100);
/// Longest pause, before chance adds to it.
const LONGEST: Duration = Duration::from_millis(1600);
/// A refused login is asked this much later again: servers lock accounts that are tried too often.
const LOGIN_FACTOR: u32 = 20;
/// A server that has no room is asked again this much later: some count each try as one more
/// connection, or ban who tries often.
const FULL_FACTOR: u32 = 5;
/// Failures in a row for which callers wait out the pause; after that they are told at once.
const PATIENT: u32 = 3;

/// What to do about a needed session.
#[derive(Debug, Clone)]
pub(super) enum DialAdvice {
    /// Try to make it.
    Dial,
    /// Not before this moment.
    WaitUntil(Instant),
    /// Someone is trying after a failure: see what comes of it.
    WaitForOutcome,
    /// It failed often and just now.
    GiveUp(Arc<Error>),
}

/// The memory of failed connections.
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
    /// What to do now; `dialling` and `established` count the sessions of this pool.
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
        let hopeful = match *failing.error {
            // A place there may be free any moment.
            Error::TooManySessions(_) => true,
            // The password will not become right, and the certificate not be trusted.
            Error::Certificate(_) | Error::TlsRefused { .. } | Error::TlsDemanded { .. } => {
                established > 0
            }
            _ if is_about_a_password(&failing.error) => established > 0,
            _ => failing.count <= PATIENT || established > 0,
        };
        if hopeful {
            DialAdvice::WaitUntil(failing.until)
        } else {
            DialAdvice::GiveUp(Arc::clone(&failing.error))
        }
    }

    /// A connection failed.
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

    /// A connection was made.
    pub(super) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// The last failure, where nothing succeeded since.
    pub(super) fn last_error(&self) -> Option<Arc<Error>> {
        self.failing
            .as_ref()
            .map(|failing| Arc::clone(&failing.error))
    }
}

/// The pause after `count` failures in a row, three quarters to five quarters of the doubled one.
fn pause(count: u32, chance: u64) -> Duration {
    let doubled = FIRST * 2_u32.pow(count.saturating_sub(1).min(8));
    let capped = doubled.min(LONGEST);
    let percent = 75 + (chance % 51) as u32;
    capped * percent / 100
}

/// The server's, or the proxy's.
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
    fn pauses_grow_are_spread_and_end_within_two_seconds() {
        assert_eq!(pause(1, 25), FIRST);
        assert_eq!(pause(2, 25), FIRST * 2);
        assert!(pause(3, 0) < pause(3, 50));
        for count in [1, 5, 100, u32::MAX] {
            for chance in 0..51 {
                assert!(pause(count, chance) <= Duration::from_secs(2));
            }
        }
    }

    #[test]
    fn the_first_failures_are_waited_out_and_later_ones_told_at_once() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..PATIENT {
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
    fn a_full_server_is_asked_a_few_times_in_fifteen_seconds() {
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
    fn after_a_failure_only_one_tries_again() {
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
    fn with_other_sessions_alive_nobody_is_told_off() {
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
