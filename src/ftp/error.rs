//! Errors of the FTP client. One enum, so that a caller can distinguish a refusal (the session
//! remains usable) from a failure (it does not).

use std::io;

use super::cause::Cause;
use super::path::PathError;
use super::reply::Reply;
use super::tls::distrust::Distrust;

/// What the client was doing when a timeout or a connection error occurred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Looking up the host's addresses.
    Resolve,
    /// Opening the TCP connection of the control connection.
    Connect,
    /// TLS handshake of the control connection.
    Handshake,
    /// Waiting for the server's 220.
    Greeting,
    /// Sending a command.
    Command,
    /// Waiting for a reply.
    Reply,
    /// Opening the data connection, in either direction.
    DataConnect,
    /// Receiving a download or a listing.
    DataRead,
    /// Sending an upload.
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

/// Error of an FTP operation.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host name could not be resolved.
    #[error("cannot find the host {host}: {source}")]
    Resolve {
        /// The host name.
        host: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// No address of the host accepted the control connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// `host:port`.
        address: String,
        /// Error of the last address.
        source: io::Error,
    },
    /// The proxy did not make the connection.
    #[error("the proxy {proxy} {problem}")]
    Proxy {
        /// URL of the proxy without its login.
        proxy: String,
        /// The problem.
        problem: ProxyProblem,
    },
    /// Active mode was requested together with a proxy, which cannot accept connections from the
    /// server.
    #[error("active mode does not work through a proxy: the server would connect to this machine")]
    ActiveByProxy,
    /// A timeout expired.
    #[error("the server took too long: timed out {0}")]
    Timeout(Phase),
    /// A socket error.
    #[error("connection failed {phase}: {source}")]
    Io {
        /// The operation in progress.
        phase: Phase,
        /// The socket's error.
        source: io::Error,
    },
    /// The server closed the control connection when a reply was due.
    #[error("the server closed the connection {0}")]
    Closed(Phase),
    /// The server refused a command (4yz or 5yz, RFC 959 §4.2.1). The session remains usable unless
    /// the code is 421.
    #[error("{command}: {reply}")]
    Refused {
        /// The verb, without its argument, which may be a password.
        command: &'static str,
        /// The server's reply.
        reply: Reply,
    },
    /// The server reported a complete listing (2yz) without announcing or sending one.
    #[error("{command}: the server reported success but sent no listing: {reply}")]
    NoTransfer {
        /// The verb of the listing.
        command: &'static str,
        /// The server's reply.
        reply: Reply,
    },
    /// The user or password was refused (430, 530 or 532, unless the text is about a limit).
    #[error("login refused: {0}")]
    Login(Reply),
    /// The server's session limit is reached (421, or 530 "too many", RFC 959 §5.4).
    #[error("the server takes no more connections: {0}")]
    TooManySessions(Reply),
    /// The server refused TLS (AUTH, PBSZ or PROT, RFC 4217). No secret was sent.
    #[error("the server refuses TLS; not continuing without encryption: {command}: {reply}")]
    TlsRefused {
        /// The verb.
        command: &'static str,
        /// The server's reply.
        reply: Reply,
    },
    /// The server requires TLS, which is off.
    #[error("the server demands TLS: {reply}; connect to {url} instead")]
    TlsDemanded {
        /// The server's reply.
        reply: Reply,
        /// URL of the server with TLS.
        url: String,
    },
    /// Plaintext followed the reply to AUTH TLS. An attacker may have injected it to pass as
    /// protected data.
    #[error("the server sent plaintext before the TLS handshake; it may have been injected")]
    PlaintextInjected,
    /// The server's certificate is not trusted.
    #[error(transparent)]
    Certificate(Box<Distrust>),
    /// Client and server cannot agree on TLS.
    #[error("no TLS with this server: {0}")]
    Tls(String),
    /// The data received in place of a handshake is not TLS.
    #[error("no TLS with this server: the server does not speak TLS here")]
    NotTls,
    /// TLS data ended without the close_notify that marks its end (RFC 8446 §6.1).
    #[error("TLS connection closed without close_notify; data may be truncated")]
    NoCloseNotify,
    /// A reply that cannot answer its command: client and server are out of step.
    #[error("the server's replies are out of step with the commands: {0}")]
    OutOfStep(Reply),
    /// Another service answers at this port.
    #[error("the server speaks {service}, not FTP: {line}")]
    OtherService {
        /// The service: `SSH`, `HTTP`.
        service: &'static str,
        /// The line that shows it, escaped and shortened.
        line: String,
    },
    /// The server sent something that is not FTP.
    #[error("the server sent something that is not {expected}: {line}")]
    Malformed {
        /// What was expected.
        expected: &'static str,
        /// What was received, escaped and shortened.
        line: String,
    },
    /// The server sent more than the client accepts.
    #[error("the server sent more than {limit} {what}")]
    TooLong {
        /// What exceeded the limit, with its unit: "bytes in a line", "lines in a reply".
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The listings being received exceed the memory limit
    /// [`ConnectOptions::listings`](super::ConnectOptions::listings).
    #[error("the listings being received take more than {0} bytes of memory")]
    ListingTooLarge(usize),
    /// No single wait exceeded its limit, but the total time did.
    #[error("the server sends {0} too slowly")]
    TooSlow(&'static str),
    /// A path that cannot be sent.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An argument that the protocol cannot express.
    #[error("cannot be sent: {0}")]
    Unrepresentable(&'static str),
    /// The local file of an upload could not be read.
    #[error("cannot read the local file: {0}")]
    LocalFile(io::Error),
}

impl Error {
    /// Whether the session remains usable.
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
            | Self::OtherService { .. }
            | Self::OutOfStep(_)
            | Self::Malformed { .. }
            | Self::TooLong { .. }
            | Self::TooSlow(_)
            | Self::LocalFile(_) => false,
        }
    }

    /// Whether the server refused a login. A server at its session limit may report that with any
    /// text and code: if other sessions with the same login are open, that is the meaning.
    pub fn is_refused_login(&self) -> bool {
        match self {
            Self::TooManySessions(_) | Self::Login(_) => true,
            Self::Refused { command, reply } => {
                reply.code().0 == 421 || matches!(*command, "greeting" | "USER" | "PASS" | "ACCT")
            }
            _ => false,
        }
    }

    /// The server's refusal, if this is one.
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Refused { reply, .. } | Self::Login(reply) | Self::TooManySessions(reply) => {
                Some(reply)
            }
            _ => None,
        }
    }
}

impl Cause for Error {
    fn quoted_reply(&self) -> Option<&Reply> {
        match self {
            Self::Refused { reply, .. }
            | Self::NoTransfer { reply, .. }
            | Self::Login(reply)
            | Self::TooManySessions(reply)
            | Self::TlsRefused { reply, .. }
            | Self::TlsDemanded { reply, .. }
            | Self::OutOfStep(reply) => Some(reply),
            Self::Resolve { .. }
            | Self::Connect { .. }
            | Self::Proxy { .. }
            | Self::ActiveByProxy
            | Self::Timeout(_)
            | Self::Io { .. }
            | Self::Closed(_)
            | Self::PlaintextInjected
            | Self::Certificate(_)
            | Self::Tls(_)
            | Self::NotTls
            | Self::NoCloseNotify
            | Self::OtherService { .. }
            | Self::Malformed { .. }
            | Self::TooLong { .. }
            | Self::ListingTooLarge(_)
            | Self::TooSlow(_)
            | Self::Path(_)
            | Self::Unrepresentable(_)
            | Self::LocalFile(_) => None,
        }
    }
}

impl From<Error> for io::Error {
    /// Keeps a socket's error as it is, and gives the others a kind.
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io { source, .. } | Error::Connect { source, .. } => source.kind(),
            Error::Timeout(_) => io::ErrorKind::TimedOut,
            Error::Closed(_) | Error::NoCloseNotify => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// Converts a socket error, distinguishing timeouts.
pub(super) fn socket_error(phase: Phase, source: std::io::Error) -> Error {
    match source.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => Error::Timeout(phase),
        _ => Error::Io { phase, source },
    }
}

/// Problem between this client and a proxy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyProblem {
    /// Its name could not be resolved.
    #[error("cannot be found: {0}")]
    Unknown(io::Error),
    /// It refused the connection.
    #[error("cannot be reached: {0}")]
    Unreachable(io::Error),
    /// The timeout expired.
    #[error("took too long")]
    Slow,
    /// The connection to it failed.
    #[error("broke the connection: {0}")]
    Broken(io::Error),
    /// It closed the connection without an answer.
    #[error("closed the connection without an answer")]
    Closed,
    /// It speaks another protocol.
    #[error("does not speak {0}")]
    Foreign(&'static str),
    /// It requires a login.
    #[error("requires a user and password")]
    WantsLogin,
    /// The user or password is wrong.
    #[error("refused the user or password")]
    LoginRefused,
    /// It did not connect to the server.
    #[error("did not connect to {target}: {reason}")]
    Refused {
        /// `host:port`.
        target: String,
        /// The proxy's reason.
        reason: String,
    },
    /// A host name or login that the protocol cannot express.
    #[error("does not accept {0}")]
    Unsendable(&'static str),
}
