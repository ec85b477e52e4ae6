//! Which failures may pass, at the level of the protocol.

use super::error::{Error, ProxyProblem};

/// Whether an operation that failed may succeed when it is repeated, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transience {
    /// The connection broke or could not be made. Another one may succeed immediately. The result
    /// of the command is unknown.
    Broken,
    /// The server did not answer within the deadline. Another connection helps if this one had been
    /// idle, because a NAT device may have dropped it. The result of the command is unknown.
    Silent,
    /// Only the transfer failed. Another one may succeed immediately.
    Transfer,
    /// This method failed and is not used again. Another one may succeed immediately.
    Method,
    /// A later attempt may succeed by itself: the server is full, busy or away.
    Later,
    /// An attempt may succeed after someone did something about a password, a certificate or space.
    Person,
    /// The failure is the same each time.
    Permanent,
}

impl Transience {
    /// Whether another attempt may succeed immediately.
    pub fn is_immediate(self) -> bool {
        match self {
            Self::Broken | Self::Silent | Self::Transfer | Self::Method => true,
            Self::Later | Self::Person | Self::Permanent => false,
        }
    }

    /// Whether a later attempt may succeed by itself. The [`Transience::Method`] of an operation is
    /// settled immediately or never.
    pub fn passes_by_itself(self) -> bool {
        match self {
            Self::Broken | Self::Silent | Self::Transfer | Self::Later => true,
            Self::Method | Self::Person | Self::Permanent => false,
        }
    }

    /// Whether a later attempt may succeed, by itself or because someone did something.
    pub fn may_pass(self) -> bool {
        self.passes_by_itself() || self == Self::Person
    }

    /// Whether the session failed, so that the result of the command is unknown.
    pub fn leaves_result_unknown(self) -> bool {
        matches!(self, Self::Broken | Self::Silent)
    }
}

impl Error {
    /// Whether the same exchange with the server may succeed when it is repeated.
    pub fn transience(&self) -> Transience {
        match self {
            Self::Io { .. } | Self::Closed(_) | Self::OutOfStep(_) | Self::Connect { .. } => {
                Transience::Broken
            }
            Self::Timeout(_) => Transience::Silent,
            Self::Proxy { problem, .. } => problem.transience(),
            Self::Refused { reply, .. } => match reply.code().0 {
                421 => Transience::Broken,
                425 | 426 => Transience::Transfer,
                // Temporary by its code (RFC 959 §4.2.1). The text may say otherwise.
                400..=499 => Transience::Later,
                _ => Transience::Permanent,
            },
            Self::NoCloseNotify => Transience::Transfer,
            // A listing that was too slow has taken a multiple of the deadline already.
            Self::Resolve { .. } | Self::TooManySessions(_) | Self::TooSlow(_) => Transience::Later,
            Self::Login(_)
            | Self::TlsRefused { .. }
            | Self::TlsDemanded { .. }
            | Self::PlaintextInjected
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::NotTls
            | Self::OtherService { .. } => Transience::Person,
            Self::NoTransfer { .. }
            | Self::ListingTooLarge(_)
            | Self::ActiveByProxy
            | Self::Malformed { .. }
            | Self::TooLong { .. }
            | Self::Path(_)
            | Self::Unrepresentable(_)
            | Self::LocalFile(_) => Transience::Permanent,
        }
    }
}

impl ProxyProblem {
    fn transience(&self) -> Transience {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::Closed | Self::Refused { .. } => {
                Transience::Broken
            }
            Self::Slow => Transience::Silent,
            // A captive portal answers in place of a proxy until someone logs in.
            Self::Unknown(_) | Self::Foreign(_) => Transience::Later,
            Self::WantsLogin | Self::LoginRefused => Transience::Person,
            Self::Unsendable(_) => Transience::Permanent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Phase, Reply, ReplyCode};

    #[test]
    fn a_reply_is_temporary_by_its_code() {
        for (code, transience) in [
            (202, Transience::Permanent),
            (421, Transience::Broken),
            (425, Transience::Transfer),
            (426, Transience::Transfer),
            (450, Transience::Later),
            (451, Transience::Later),
            (530, Transience::Permanent),
            (550, Transience::Permanent),
        ] {
            let reply = Reply::new(ReplyCode(code), vec![b"no".to_vec()]);
            let command = "STOR";
            let error = Error::Refused { command, reply };
            assert_eq!(error.transience(), transience, "{code}");
        }
    }

    #[test]
    fn only_a_failed_session_leaves_the_result_unknown() {
        let reply = || Reply::new(ReplyCode(226), vec![]);
        let proxy = |problem| Error::Proxy {
            proxy: String::new(),
            problem,
        };
        for (error, is_unknown) in [
            (Error::Closed(Phase::Reply), true),
            (Error::Timeout(Phase::Reply), true),
            (Error::OutOfStep(reply()), true),
            (proxy(ProxyProblem::Slow), true),
            (proxy(ProxyProblem::Closed), true),
            (proxy(ProxyProblem::LoginRefused), false),
            (Error::NoCloseNotify, false),
            (Error::Login(reply()), false),
            (Error::TooManySessions(reply()), false),
        ] {
            let transience = error.transience();
            assert_eq!(transience.leaves_result_unknown(), is_unknown, "{error}");
        }
    }

    #[test]
    fn each_class_says_when_to_try_again() {
        use Transience::{Broken, Later, Method, Permanent, Person, Silent, Transfer};
        for (transience, now, by_itself, ever) in [
            (Broken, true, true, true),
            (Silent, true, true, true),
            (Transfer, true, true, true),
            (Method, true, false, false),
            (Later, false, true, true),
            (Person, false, false, true),
            (Permanent, false, false, false),
        ] {
            let says = (
                transience.is_immediate(),
                transience.passes_by_itself(),
                transience.may_pass(),
            );
            assert_eq!(says, (now, by_itself, ever), "{transience:?}");
        }
    }
}
