//! What can go wrong between this client and a server: one enum, so that a caller can tell a
//! refusal (the session lives) from a failure (it does not).

use std::io;

use super::path::PathError;
use super::proxy::ProxyProblem;
use super::reply::Reply;
use super::tls::Distrust;

/// What the client was waiting for when time ran out or the line broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The addresses of the host's name.
    Resolve,
    /// The TCP connection of the control connection.
    Connect,
    /// The TLS handshake of the control connection.
    Handshake,
    /// The server's 220.
    Greeting,
    /// Sending a command.
    Command,
    /// The answer to a command.
    Reply,
    /// The data connection: connecting it, or being connected to.
    DataConnect,
    /// Bytes of a download or a listing.
    DataRead,
    /// Room for bytes of an upload.
    DataWrite,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolve => "looking up the host's addresses",
            Self::Connect => "connecting",
            Self::Handshake => "in the TLS handshake",
            Self::Greeting => "waiting for the server's greeting",
            Self::Command => "sending a command",
            Self::Reply => "waiting for the server's reply",
            Self::DataConnect => "opening the data connection",
            Self::DataRead => "receiving data",
            Self::DataWrite => "sending data",
        })
    }
}

/// An FTP operation's failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's name led to no address.
    #[error("cannot find the host {host}: {source}")]
    Resolve {
        /// The name that was looked up.
        host: String,
        /// The resolver's answer.
        source: io::Error,
    },
    /// No address of the host took the control connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// The last address's refusal.
        source: io::Error,
    },
    /// The proxy did not make the connection.
    #[error("the proxy {proxy} {problem}")]
    Proxy {
        /// As a URL, without its login.
        proxy: String,
        /// What went wrong.
        problem: ProxyProblem,
    },
    /// In active mode the server connects to this machine, which a proxy is not there for.
    #[error("active mode does not work by a proxy: the server would connect to this machine")]
    ActiveByProxy,
    /// A deadline passed.
    #[error("the server took too long: timed out {0}")]
    Timeout(Phase),
    /// The socket failed.
    #[error("connection failed {phase}: {source}")]
    Io {
        /// What was under way.
        phase: Phase,
        /// The socket's error.
        source: io::Error,
    },
    /// The server closed the control connection where a reply was due.
    #[error("the server closed the connection {0}")]
    Closed(Phase),
    /// The server answered, and the answer was no (4yz or 5yz, RFC 959 §4.2.1). Unless the reply is
    /// a 421 the session can go on.
    #[error("{command}: {reply}")]
    Refused {
        /// The verb that was refused, never its argument (which may be a password).
        command: &'static str,
        /// The server's words.
        reply: Reply,
    },
    /// The server said that a listing is complete (2yz) without having announced or sent it.
    #[error("{command}: the server says that it is done and sent no listing: {reply}")]
    NoTransfer {
        /// The verb of the listing.
        command: &'static str,
        /// The server's words.
        reply: Reply,
    },
    /// User or password was refused (430, 530, 532 that is not about limits).
    #[error("login refused: {0}")]
    Login(Reply),
    /// The server has no room for one more session (421 or 530 "too many", RFC 959 §5.4).
    #[error("the server takes no more connections: {0}")]
    TooManySessions(Reply),
    /// The server takes no TLS (AUTH, PBSZ or PROT refused, RFC 4217); nothing secret was sent.
    #[error(
        "the server refuses TLS, which was asked for, and nothing goes in the clear instead: {command}: {reply}"
    )]
    TlsRefused {
        /// The verb that was refused.
        command: &'static str,
        /// The server's words.
        reply: Reply,
    },
    /// The server lets nobody in without TLS, and none was asked for.
    #[error("the server demands TLS: {reply}; connect to {url} instead")]
    TlsDemanded {
        /// The server's words.
        reply: Reply,
        /// Where it would go on, with TLS.
        url: String,
    },
    /// Bytes came in the clear behind the answer to AUTH TLS: somebody on the way may have put them
    /// there, to be taken for protected ones.
    #[error(
        "bytes came in the clear where the TLS handshake was to begin: somebody may have put them there"
    )]
    PlaintextInjected,
    /// The server's certificate is not trusted.
    #[error(transparent)]
    Certificate(Box<Distrust>),
    /// The two sides cannot agree on TLS.
    #[error("no TLS with this server: {0}")]
    Tls(String),
    /// What came where the handshake was due is no TLS.
    #[error("no TLS with this server: the server does not speak TLS here")]
    NotTls,
    /// Data over TLS ended without the close_notify that tells its end (RFC 8446 §6.1).
    #[error("the data ended without TLS's word that it was all: it may have been cut off")]
    NoCloseNotify,
    /// A reply that cannot be the answer to the command it follows: client and server are out of
    /// step.
    #[error("the server's replies are out of step with the commands: {0}")]
    OutOfStep(Reply),
    /// The server's words are not FTP.
    #[error("the server sent something that is not {expected}: {line}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
        /// What came, escaped and cut.
        line: String,
    },
    /// The server sent more than this client will hold.
    #[error("the server sent more than {limit} {what}")]
    TooLong {
        /// What was too long, with its unit: "bytes in a line", "lines in a reply".
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The listings being received take more memory together than
    /// [`ConnectOptions::listings`](super::ConnectOptions::listings) allows.
    #[error("the listings being received take more than {0} bytes of memory")]
    ListingTooLarge(usize),
    /// Each wait was short enough, and all of them together were not.
    #[error("the server sends {0} too slowly to wait for its end")]
    TooSlow(&'static str),
    /// A path that cannot be sent.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An argument that the protocol has no way to write.
    #[error("cannot be sent: {0}")]
    Unrepresentable(&'static str),
    /// A local file that was being sent could not be read.
    #[error("cannot read the local file: {0}")]
    LocalFile(io::Error),
}

impl Error {
    /// Whether the session is still good for another command.
    pub fn leaves_session_usable(&self) -> bool {
        match self {
            Self::Refused { reply, .. } => reply.code().0 != 421,
            Self::NoTransfer { .. }
            | Self::ListingTooLarge(_)
            | Self::Path(_)
            | Self::Unrepresentable(_)
            | Self::NoCloseNotify => true,
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::ActiveByProxy
            | Self::Timeout(_)
            | Self::Io { .. }
            | Self::Closed(_)
            | Self::Login(_)
            | Self::TooManySessions(_)
            | Self::TlsRefused { .. }
            | Self::TlsDemanded { .. }
            | Self::PlaintextInjected
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::NotTls
            | Self::OutOfStep(_)
            | Self::Malformed { .. }
            | Self::TooLong { .. }
            | Self::TooSlow(_)
            | Self::LocalFile(_) => false,
        }
    }

    /// Whether the server refused a login. A server that has no room for one more session may say
    /// so in any words and with any code: where others with the same login are open, that is what
    /// it means.
    pub fn is_refused_login(&self) -> bool {
        match self {
            Self::TooManySessions(_) | Self::Login(_) => true,
            Self::Refused { command, reply } => {
                reply.code().0 == 421 || matches!(*command, "greeting" | "USER" | "PASS" | "ACCT")
            }
            _ => false,
        }
    }

    /// The server's refusal, where this is one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Refused { reply, .. } | Self::Login(reply) | Self::TooManySessions(reply) => {
                Some(reply)
            }
            _ => None,
        }
    }
}
