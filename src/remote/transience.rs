//! Which failures may pass, and how often an operation is repeated.
//!
//! [`ftp::Error::transience`](crate::ftp::Error::transience) classifies what happened on a
//! connection, [`ErrorKind::transience`] what an operation failed with. All repetition goes by
//! these two:
//!
//! | layer | repeats | after | how often |
//! |---|---|---|---|
//! | `ftp/session/list.rs` | LIST with an option | 4yz | once |
//! | `pool/backoff.rs` | login, while requests wait for it | passes by itself | until the timeout |
//! | `pool/backoff.rs` | the same | `Permanent`, broken TLS | 2 times |
//! | `Exchange` | step, start of a transfer | `Broken`, `Transfer`, idle `Silent` | 2 times |
//! | `Exchange` | change that a lookup does not find made | `Broken`, `Silent` | 2 times |
//! | `ResumableUpload`, `ResumableDownload` | rest of a transfer | immediate | [`Attempts`] |
//! | `Uploader` | whole upload | immediate | [`Attempts`] |
//! | `Writeback` | closed file | passes by itself | for ever; 3 times at the end |
//! | `recovery` | file that a mount left | may pass | once per mount |
//! | `recovery` | its upload | `Method` | [`Attempts`] |
//!
//! A `Silent` session is idle if it had waited in the pool before the step. A login is repeated
//! without limit while another session exists or the server is only full, until the lease timeout.
//!
//! So a server that is away for less than the timeout costs a wait. On one that says nothing, the
//! pool ends all waits when it has been silent for the timeout and one attempt to connect. With
//! [`RetryMode::Hard`], the limits of `pool`, of steps of `Exchange` and of [`Attempts`] do not
//! apply to failures of the connection (`Broken`, `Silent`).
//!
//! The layers do not multiply:
//!
//! - A layer repeats only what began below it. A session that the pool could not make is
//!   [`ErrorKind::Unreachable`], [`ErrorKind::ConnectionRefused`], [`ErrorKind::NoConnection`] or
//!   [`ErrorKind::Offline`], which are `Later`, so only `Writeback` comes back to them. A pool that
//!   the end of the mount has closed refuses each repetition immediately.
//! - A step that timed out on a new session is not repeated by `Exchange`. A transfer that times
//!   out is resumed once, and a whole upload is begun once more at most.
//! - Progress renews the attempts of a transfer. An upload makes progress only beyond the farthest
//!   byte that the server ever had.
//!
//! A file that changes while it is read (`vfs/file/fill.rs`) or written (`Uploader`) is begun again
//! too, and a server that renames late is asked again (`rename.rs`). No failure is repeated there.

use std::time::Duration;

use super::error_kind::ErrorKind;
use crate::ftp::Transience;
use crate::pool::{self, RetryMode};

/// Number of repetitions without progress.
const REPETITIONS: u32 = 3;

/// First and longest pause between repetitions beyond [`REPETITIONS`].
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(2)];

/// Number of repetitions without progress after a deadline passed.
const SILENT_REPETITIONS: u32 = 1;

/// Number of bytes that count as progress. Without a minimum, a transfer that always breaks after a
/// few bytes would be resumed for ever.
const PROGRESS: u64 = 16 << 10;

/// The failures of a transfer since it last made progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    retry: RetryMode,
    failures: u32,
    /// Those of them that were deadlines.
    silences: u32,
    /// The farthest position of a failure, in bytes.
    at: u64,
}

impl Attempts {
    /// Counts from a transfer that starts at `position`.
    pub(crate) fn from(retry: RetryMode, position: u64) -> Self {
        Self {
            retry,
            at: position,
            ..Self::default()
        }
    }

    /// Records that the transfer has reached `position`. Forgets the failures if that is progress.
    pub(crate) fn progressed(&mut self, position: u64) {
        if position.saturating_sub(self.at) >= PROGRESS {
            self.failures = 0;
            self.silences = 0;
        }
        self.at = self.at.max(position);
    }

    /// Records a failure of this class. Returns whether to try again, after [`Attempts::pause`].
    pub(crate) fn again(&mut self, transience: Transience) -> bool {
        self.failures += 1;
        self.silences += u32::from(transience == Transience::Silent);
        is_endless(self.retry, transience)
            || transience.is_immediate()
                && self.failures <= REPETITIONS
                && self.silences <= SILENT_REPETITIONS
    }

    /// Returns the pause before the next attempt. The first attempts follow immediately.
    pub(crate) fn pause(&self) -> Duration {
        pause(self.failures)
    }

    /// Whether there were no failures since the last progress.
    pub(crate) fn is_first(&self) -> bool {
        self.failures == 0
    }
}

/// Whether a failure of this class is repeated without a limit.
pub(super) fn is_endless(retry: RetryMode, transience: Transience) -> bool {
    retry == RetryMode::Hard && transience.leaves_result_unknown()
}

/// Returns the pause after this number of failures without progress.
pub(super) fn pause(failures: u32) -> Duration {
    let [first, longest] = PAUSES;
    match failures.checked_sub(REPETITIONS + 1) {
        None => Duration::ZERO,
        Some(more) => (first * 2_u32.pow(more.min(8))).min(longest),
    }
}

impl ErrorKind {
    /// Whether the same operation may succeed when it is repeated. The layers below have repeated
    /// what they can.
    pub fn transience(self) -> Transience {
        match self {
            Self::ConnectionLost => Transience::Broken,
            Self::TimedOut => Transience::Silent,
            // A wrong size may come from an upload that was resumed while the server was still
            // writing earlier data.
            Self::Truncated => Transience::Transfer,
            Self::OtherWay => Transience::Method,
            Self::Unreachable
            | Self::ConnectionRefused
            | Self::NoConnection
            | Self::Offline
            | Self::Busy
            | Self::TryLater => Transience::Later,
            Self::LoginRefused | Self::NotSecure | Self::NoSpace | Self::QuotaExceeded => {
                Transience::Person
            }
            Self::NotFound
            | Self::AlreadyExists
            | Self::NotEmpty
            | Self::IsDirectory
            | Self::NotDirectory
            | Self::PermissionDenied
            | Self::FileTooLarge
            | Self::InvalidName
            | Self::NameTooLong
            | Self::Unsupported
            | Self::Changed
            | Self::Interrupted
            | Self::Protocol
            | Self::Local
            | Self::Other => Transience::Permanent,
        }
    }

    /// Whether the server did not answer: there was no session, or it failed. Then the failure says
    /// nothing about the file, and the next question would fail in the same way.
    pub fn is_unanswered(self) -> bool {
        matches!(
            self,
            Self::ConnectionLost
                | Self::TimedOut
                | Self::Unreachable
                | Self::ConnectionRefused
                | Self::NoConnection
                | Self::Offline
                | Self::Interrupted
                | Self::LoginRefused
                | Self::NotSecure
        )
    }
}

/// Returns whether the same exchange may succeed when it is repeated.
pub(super) fn transience(fault: &pool::Error) -> Transience {
    match fault {
        pool::Error::Session(error) => error.transience(),
        pool::Error::Unavailable(error) => match error.transience() {
            lasting @ (Transience::Person | Transience::Permanent) => lasting,
            Transience::Broken
            | Transience::Silent
            | Transience::Transfer
            | Transience::Method
            | Transience::Later => Transience::Later,
        },
        pool::Error::Offline(_) | pool::Error::Exhausted(_) => Transience::Later,
        pool::Error::Closed | pool::Error::Cancelled => Transience::Permanent,
    }
}

/// Whether the session failed, so that the result of the command is unknown.
pub(super) fn is_lost(fault: &pool::Error) -> bool {
    transience(fault).leaves_result_unknown()
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;
    use crate::ftp::{self, Phase, ProxyProblem, RemotePath, Reply, ReplyCode};
    use crate::remote::error::meaning;

    #[test]
    fn a_transfer_without_progress_is_resumed_three_times() {
        let mut attempts = Attempts::default();
        assert!(attempts.is_first());
        for expected in [true, true, true, false] {
            attempts.progressed(100);
            assert_eq!(attempts.again(Transience::Broken), expected);
        }
        attempts.progressed(100 + PROGRESS);
        assert!(attempts.is_first());
        assert!(attempts.again(Transience::Broken));
    }

    #[test]
    fn bytes_that_were_lost_and_sent_again_are_no_progress() {
        let mut attempts = Attempts::from(RetryMode::Soft, 1);
        let positions = [2 * PROGRESS, 1, 2 * PROGRESS, 1, 2 * PROGRESS];
        let repeated = positions.map(|position| {
            attempts.progressed(position);
            attempts.again(Transience::Broken)
        });
        assert_eq!(repeated, [true, true, true, false, false]);
        attempts.progressed(3 * PROGRESS);
        assert!(attempts.again(Transience::Broken));
    }

    #[test]
    fn a_transfer_that_times_out_is_resumed_once() {
        let mut attempts = Attempts::default();
        assert!(attempts.again(Transience::Silent));
        assert!(!attempts.again(Transience::Silent));
        attempts.progressed(PROGRESS);
        assert!(attempts.again(Transience::Silent));
    }

    #[test]
    fn what_does_not_pass_by_another_attempt_is_not_repeated() {
        for retry in [RetryMode::Soft, RetryMode::Hard] {
            for transience in [Transience::Later, Transience::Person, Transience::Permanent] {
                assert!(!Attempts::from(retry, 0).again(transience));
            }
        }
    }

    #[test]
    fn a_hard_transfer_is_resumed_as_often_as_its_connection_fails_and_after_pauses() {
        let mut attempts = Attempts::from(RetryMode::Hard, 0);
        let mut last = Duration::ZERO;
        for failure in 1..1000 {
            assert!(attempts.again(Transience::Silent));
            assert!(attempts.pause() >= last && attempts.pause() <= PAUSES[1]);
            assert_eq!(attempts.pause().is_zero(), failure <= REPETITIONS);
            last = attempts.pause();
        }
        assert!(!attempts.again(Transience::Transfer), "the file's fault");
    }

    #[test]
    fn a_failure_is_as_transient_as_what_caused_it() {
        let reply = |code| Reply::new(ReplyCode(code), vec![b"no".to_vec()]);
        let refused = |code| ftp::Error::Refused {
            command: "STOR",
            reply: reply(code),
        };
        let proxy = |problem| ftp::Error::Proxy {
            proxy: String::new(),
            problem,
        };
        let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
        let phase = Phase::Reply;
        let path = RemotePath::root();
        for error in [
            ftp::Error::Closed(phase),
            ftp::Error::Timeout(phase),
            ftp::Error::OutOfStep(reply(226)),
            ftp::Error::Io {
                phase,
                source: reset(),
            },
            ftp::Error::NoCloseNotify,
            ftp::Error::TooManySessions(reply(421)),
            ftp::Error::Login(reply(530)),
            ftp::Error::Tls(String::new()),
            ftp::Error::Malformed {
                expected: "a reply",
                line: String::new(),
            },
            ftp::Error::Unrepresentable("a time"),
            ftp::Error::ActiveByProxy,
            ftp::Error::LocalFile(reset()),
            proxy(ProxyProblem::Slow),
            proxy(ProxyProblem::LoginRefused),
            proxy(ProxyProblem::Foreign("SOCKS")),
            proxy(ProxyProblem::Unsendable("a name")),
            refused(421),
            refused(451),
            refused(450),
            refused(530),
            refused(504),
        ] {
            let fault = pool::Error::from(error);
            let kind = meaning(&fault, &path).unwrap();
            assert_eq!(transience(&fault), kind.transience(), "{fault}");
        }
    }

    #[test]
    fn a_session_that_cannot_be_made_is_left_for_later_by_the_layers_above() {
        let path = RemotePath::root();
        let connect = |kind| ftp::Error::Connect {
            address: String::new(),
            source: io::Error::from(kind),
        };
        let login = ftp::Error::Login(Reply::new(ReplyCode(530), vec![b"no".to_vec()]));
        let unavailable = |error| pool::Error::Unavailable(Arc::new(error));
        for (fault, kind, transience) in [
            (
                unavailable(connect(io::ErrorKind::ConnectionRefused)),
                ErrorKind::ConnectionRefused,
                Transience::Later,
            ),
            (
                unavailable(connect(io::ErrorKind::HostUnreachable)),
                ErrorKind::Unreachable,
                Transience::Later,
            ),
            (
                unavailable(ftp::Error::Timeout(Phase::Greeting)),
                ErrorKind::NoConnection,
                Transience::Later,
            ),
            (
                unavailable(ftp::Error::Closed(Phase::Greeting)),
                ErrorKind::Unreachable,
                Transience::Later,
            ),
            (
                unavailable(login),
                ErrorKind::LoginRefused,
                Transience::Person,
            ),
            (
                pool::Error::Exhausted(Duration::from_secs(300)),
                ErrorKind::NoConnection,
                Transience::Later,
            ),
        ] {
            assert_eq!(super::transience(&fault), transience, "{fault}");
            assert_eq!(meaning(&fault, &path), Some(kind), "{fault}");
            assert_eq!(kind.transience(), transience, "{fault}");
            assert!(kind.is_unanswered());
            assert!(!is_lost(&fault), "nothing was sent");
        }
    }
}
