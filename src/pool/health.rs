//! Whether the server accepts sessions: what is wrong with it and since when, from the attempts to
//! make a session.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::{Error, Phase, ProxyProblem};

/// What is wrong with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// Its name has no address, or no name server answers.
    NameNotResolved,
    /// Its machine refuses connections: the server is down.
    Refused,
    /// There is no route to its machine.
    Unreachable,
    /// It does not answer within the deadline.
    TimedOut,
    /// It has as many sessions as it accepts.
    Full,
    /// It refuses the user or the password.
    LoginRefused,
    /// There is no secure connection: no TLS, or a certificate that is not trusted.
    NotSecure,
    /// The proxy does not make the connection.
    Proxy,
    /// It closes new connections, or answers with something that is not FTP.
    Broken,
}

/// What is wrong with the server, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerProblem {
    /// The kind of the last failure.
    pub kind: ProblemKind,
    /// The last failure as text. Contains no secret.
    pub reason: String,
    /// Time since the first failure in a row.
    pub lasting: Duration,
    /// Time since the last attempt.
    pub last_attempt: Duration,
    /// Number of failures in a row.
    pub failures: u64,
}

/// The results of the attempts to make a session, and the number of repeated steps. Clones share
/// them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerHealth(Arc<HealthRecord>);

#[derive(Debug, Default)]
struct HealthRecord {
    failing: Mutex<Option<FailingSince>>,
    retries: AtomicU64,
}

#[derive(Debug)]
struct FailingSince {
    kind: ProblemKind,
    reason: String,
    first: Instant,
    last: Instant,
    failures: u64,
}

impl ProblemKind {
    /// All kinds.
    pub(crate) const ALL: [Self; 9] = [
        Self::NameNotResolved,
        Self::Refused,
        Self::Unreachable,
        Self::TimedOut,
        Self::Full,
        Self::LoginRefused,
        Self::NotSecure,
        Self::Proxy,
        Self::Broken,
    ];

    /// The name for programs, which is stable.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NameNotResolved => "name_not_resolved",
            Self::Refused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Full => "server_full",
            Self::LoginRefused => "login_refused",
            Self::NotSecure => "not_secure",
            Self::Proxy => "proxy_failed",
            Self::Broken => "connection_broken",
        }
    }

    /// The problem as a sentence without a full stop.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NameNotResolved => "the server's name cannot be resolved",
            Self::Refused => "the server is down: its machine refuses connections",
            Self::Unreachable => "the server cannot be reached: there is no route to it",
            Self::TimedOut => "the server does not answer",
            Self::Full => "the server is full: it accepts no more sessions",
            Self::LoginRefused => "the server refuses the login",
            Self::NotSecure => "there is no secure connection to the server",
            Self::Proxy => "the proxy does not make the connection",
            Self::Broken => "the server breaks off connections",
        }
    }

    /// The kind of a failed attempt to make a session.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Resolve { .. } | Error::Timeout(Phase::Resolve) => Self::NameNotResolved,
            Error::Connect { source, .. } | Error::Io { source, .. } => Self::of_socket(source),
            Error::Timeout(_) | Error::TooSlow(_) => Self::TimedOut,
            Error::TooManySessions(_) => Self::Full,
            Error::Login(_) => Self::LoginRefused,
            Error::Refused { reply, .. } if reply.code().0 == 421 => Self::Full,
            Error::Refused { .. } if error.is_refused_login() => Self::LoginRefused,
            Error::Proxy { problem, .. } => match problem {
                ProxyProblem::WantsLogin | ProxyProblem::LoginRefused => Self::LoginRefused,
                _ => Self::Proxy,
            },
            Error::TlsRefused { .. }
            | Error::TlsDemanded { .. }
            | Error::PlaintextInjected
            | Error::Certificate(_)
            | Error::Tls(_)
            | Error::NotTls => Self::NotSecure,
            _ => Self::Broken,
        }
    }

    fn of_socket(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::AddrNotAvailable
            | io::ErrorKind::NotFound => Self::Unreachable,
            _ => Self::Broken,
        }
    }
}

impl ServerHealth {
    /// Records the result of an attempt to make a session, and returns it.
    pub(super) fn observe<S>(&self, outcome: Result<S, Error>) -> Result<S, Error> {
        self.record(outcome.as_ref().err(), Instant::now());
        outcome
    }

    /// Counts a step or a transfer that is repeated.
    pub(crate) fn count_retry(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of repeated steps and transfers.
    pub(crate) fn retries(&self) -> u64 {
        self.0.retries.load(Ordering::Relaxed)
    }

    /// Returns what is wrong, or `None` if the last attempt succeeded.
    pub(crate) fn problem(&self) -> Option<ServerProblem> {
        let now = Instant::now();
        self.lock().as_ref().map(|failing| ServerProblem {
            kind: failing.kind,
            reason: failing.reason.clone(),
            lasting: now.saturating_duration_since(failing.first),
            last_attempt: now.saturating_duration_since(failing.last),
            failures: failing.failures,
        })
    }

    fn record(&self, error: Option<&Error>, now: Instant) {
        let mut failing = self.lock();
        let Some(error) = error else {
            *failing = None;
            return;
        };
        let before = failing.take();
        *failing = Some(FailingSince {
            kind: ProblemKind::of(error),
            reason: error.to_string(),
            first: before.as_ref().map_or(now, |before| before.first),
            last: now,
            failures: before.map_or(0, |before| before.failures) + 1,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Option<FailingSince>> {
        // It is replaced as a whole.
        self.0
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Reply, ReplyCode};

    fn refused_by_machine() -> Error {
        Error::Connect {
            address: "h:21".to_owned(),
            source: io::ErrorKind::ConnectionRefused.into(),
        }
    }

    #[test]
    fn each_cause_has_its_kind() {
        let reply = |code| Reply::new(ReplyCode(code), vec![b"no".to_vec()]);
        let connect = |kind: io::ErrorKind| Error::Connect {
            address: "h:21".to_owned(),
            source: kind.into(),
        };
        let resolve = Error::Resolve {
            host: "h".to_owned(),
            source: io::ErrorKind::TimedOut.into(),
        };
        let greeting = |code| Error::Refused {
            command: "greeting",
            reply: reply(code),
        };
        for (error, kind) in [
            (resolve, ProblemKind::NameNotResolved),
            (refused_by_machine(), ProblemKind::Refused),
            (
                connect(io::ErrorKind::HostUnreachable),
                ProblemKind::Unreachable,
            ),
            (
                connect(io::ErrorKind::NetworkUnreachable),
                ProblemKind::Unreachable,
            ),
            (connect(io::ErrorKind::TimedOut), ProblemKind::TimedOut),
            (Error::Timeout(Phase::Resolve), ProblemKind::NameNotResolved),
            (Error::Timeout(Phase::Greeting), ProblemKind::TimedOut),
            (Error::TooManySessions(reply(421)), ProblemKind::Full),
            (greeting(421), ProblemKind::Full),
            (Error::Login(reply(530)), ProblemKind::LoginRefused),
            (greeting(530), ProblemKind::LoginRefused),
            (Error::NotTls, ProblemKind::NotSecure),
            (Error::Closed(Phase::Greeting), ProblemKind::Broken),
        ] {
            assert_eq!(ProblemKind::of(&error), kind, "{error}");
        }
    }

    #[test]
    fn a_problem_lasts_from_its_first_failure_to_the_next_success() {
        let health = ServerHealth::default();
        assert_eq!(health.problem(), None);
        let start = Instant::now();
        health.record(Some(&refused_by_machine()), start);
        health.record(
            Some(&Error::Timeout(Phase::Connect)),
            start + Duration::from_secs(5),
        );
        let failing = health.lock();
        let failing = failing.as_ref().unwrap();
        assert_eq!((failing.first, failing.failures), (start, 2));
        assert_eq!(failing.kind, ProblemKind::TimedOut);
        let other = ServerHealth::default();
        assert!(other.observe::<()>(Err(refused_by_machine())).is_err());
        assert_eq!(other.problem().unwrap().kind, ProblemKind::Refused);
        assert!(other.observe(Ok(())).is_ok());
        assert_eq!(other.problem(), None);
    }
}
