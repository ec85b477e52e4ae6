//! Which failures may pass, and how often an operation is repeated.
//!
//! [`ftp::Error::transience`](crate::ftp::Error::transience) classifies what happened on a
//! connection, [`ErrorKind::transience`] what an operation failed with. All repetition goes by
//! these two:
//!
//! | layer | repeats | after | how often |
//! |---|---|---|---|
//! | `ftp/session/list.rs` | LIST with an option | 4yz | once |
//! | `pool/backoff.rs` | login, while others wait for it | all but `Person` | 3 failures |
//! | `Exchange` | lease of a session | `Broken` | 2 times |
//! | `Exchange` | step, start of a transfer | `Broken`, `Transfer`, idle `Silent` | 2 times |
//! | `Exchange` | change that a lookup does not find made | `Broken`, `Silent` | 2 times |
//! | `ResumableUpload`, `ResumableDownload` | rest of a transfer | immediate | [`Attempts`] |
//! | `Uploader` | whole upload | immediate, `Silent` once | [`Attempts`] |
//! | `Writeback` | closed file | passes by itself | for ever; 3 times at the end |
//! | `recovery` | file that a mount left | may pass | once per mount |
//! | `recovery` | its upload | `Method` | [`Attempts`] |
//!
//! A `Silent` session is idle if it had waited in the pool before the step. A login is repeated
//! without limit while another session exists or the server is only full, until the lease timeout.
//!
//! The layers do not multiply:
//!
//! - A layer repeats only what began below it. A session that cannot be made is `Broken` to
//!   `Exchange`, which repeats it. All layers above see [`ErrorKind::Unreachable`] or
//!   [`ErrorKind::NoConnection`], which are `Later`, so only `Writeback` comes back to them.
//!   A pool that the end of the mount has closed refuses each repetition immediately.
//! - A step that timed out on a new session is not repeated by `Exchange`. A transfer that was
//!   resumed and makes no progress costs four deadlines, and a whole upload is begun once more at
//!   most.
//! - Progress renews the attempts of a transfer. An upload makes progress only beyond the farthest
//!   byte that the server ever had.
//!
//! A file that changes while it is read (`vfs/file/fill.rs`) or written (`Uploader`) is begun again
//! too, and a server that renames late is asked again (`rename.rs`). No failure is repeated there.

use super::error_kind::ErrorKind;
use crate::ftp::Transience;
use crate::pool;

/// Number of repetitions without progress.
const REPETITIONS: u32 = 3;

/// Number of bytes that count as progress. Without a minimum, a transfer that always breaks after a
/// few bytes would be resumed for ever.
const PROGRESS: u64 = 16 << 10;

/// The failures of a transfer since it last made progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attempts {
    failures: u32,
    /// The farthest position of a failure, in bytes.
    at: u64,
}

impl Attempts {
    /// Counts from a transfer that starts at `position`.
    pub(crate) fn from(position: u64) -> Self {
        Self {
            failures: 0,
            at: position,
        }
    }

    /// Records that the transfer has reached `position`. Forgets the failures if that is progress.
    pub(crate) fn progressed(&mut self, position: u64) {
        if position.saturating_sub(self.at) >= PROGRESS {
            self.failures = 0;
        }
        self.at = self.at.max(position);
    }

    /// Records a failure. Returns whether to try again.
    pub(crate) fn again(&mut self) -> bool {
        self.failures += 1;
        self.failures <= REPETITIONS
    }

    /// Whether there were no failures since the last progress.
    pub(crate) fn is_first(&self) -> bool {
        self.failures == 0
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
            Self::Unreachable | Self::NoConnection | Self::Busy | Self::TryLater => {
                Transience::Later
            }
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
                | Self::NoConnection
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
        pool::Error::Exhausted(_) => Transience::Later,
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
    use std::time::Duration;

    use super::*;
    use crate::ftp::{self, Phase, ProxyProblem, RemotePath, Reply, ReplyCode};
    use crate::remote::error::meaning;

    #[test]
    fn a_transfer_without_progress_is_resumed_three_times() {
        let mut attempts = Attempts::default();
        assert!(attempts.is_first());
        for expected in [true, true, true, false] {
            attempts.progressed(100);
            assert_eq!(attempts.again(), expected);
        }
        attempts.progressed(100 + PROGRESS);
        assert!(attempts.is_first());
        assert!(attempts.again());
    }

    #[test]
    fn bytes_that_were_lost_and_sent_again_are_no_progress() {
        let mut attempts = Attempts::from(1);
        let positions = [2 * PROGRESS, 1, 2 * PROGRESS, 1, 2 * PROGRESS];
        let repeated = positions.map(|position| {
            attempts.progressed(position);
            attempts.again()
        });
        assert_eq!(repeated, [true, true, true, false, false]);
        attempts.progressed(3 * PROGRESS);
        assert!(attempts.again());
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
    fn what_a_layer_has_repeated_is_left_for_later_by_those_above() {
        let path = RemotePath::root();
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = ftp::Error::Connect {
            address: String::new(),
            source: refused,
        };
        for (fault, is_repeated_here) in [
            (pool::Error::from(connect), true),
            (pool::Error::Exhausted(Duration::from_secs(300)), false),
        ] {
            assert_eq!(transience(&fault).is_immediate(), is_repeated_here);
            let kind = meaning(&fault, &path).unwrap();
            assert_eq!(kind.transience(), Transience::Later, "{fault}");
            assert!(kind.is_unanswered());
        }
    }
}
