//! A small FTP server over std sockets (RFC 959, 2389, 2428, 3659), for `serve`, the demo and the
//! tests.
//!
//! It shares nothing with the client in `ftp`, so that a mistake in one shows in the other.
//!
//! | file | contents |
//! |---|---|
//! | `acceptor` | the thread that accepts clients |
//! | `serving` | the listening socket, the state shared by all sessions, the session limit |
//! | `session` | one client: login, working directory, last command |
//! | `session_summary` | the line in the log at the end of each session |
//! | `dialogue` | the loop of a session: a command, its execution, its reply |
//! | `commands` | the table of verbs, and one function per verb |
//! | `control`, `command_line`, `reply` | the control connection, its lines, its replies |
//! | `data`, `address`, `transfer` | data connections: opening, addresses, transfers |
//! | `passive_ports` | the ports on which passive data connections are accepted |
//! | `tls`, `security` | certificates, encrypted connections, protection of a session |
//! | `fault`, `misbehave` | faults injected by tests, and their execution (feature `faults`) |
//! | `tree`, `place`, `path` | the served directory, confined to its root |
//! | `facts`, `long_listing`, `time` | formatting: RFC 3659 facts, `ls -l`, times |
//!
//! Each session is one thread. It polls its control connection and data connection together, so
//! that it notices ABOR, a disconnected client and a server shutdown during a transfer.

mod acceptor;
mod address;
mod command_line;
mod command_log;
mod commands;
mod control;
mod data;
mod dialogue;
mod facts;
#[cfg(feature = "faults")]
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod long_listing;
#[cfg(feature = "faults")]
mod misbehave;
#[cfg(not(feature = "faults"))]
#[path = "honest.rs"]
mod misbehave;
mod open_sessions;
mod passive_ports;
mod path;
mod place;
mod reply;
mod security;
mod serving;
mod session;
mod session_summary;
mod time;
mod tls;
mod transfer;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::command_line::CONNECT;
#[cfg(feature = "faults")]
pub use self::fault::{ANY, Fault, Faults, HANDSHAKE_FAILURE, Misdeed};
pub use self::tls::{Certificate, TlsMode, TlsOptions, TlsVersions};

use self::serving::Serving;

/// Target of the log record that summarizes a session at its end: one line of level info with the
/// user, the client's address, the duration, the files and bytes in each direction, and how the
/// session ended. It contains no password and no control character.
pub const SESSION_LOG: &str = "ftpfs::server::session";

/// Who may log in.
#[derive(Clone, PartialEq, Eq)]
pub enum Access {
    /// `anonymous` and `ftp`, with any password.
    Anonymous,
    /// One account.
    Account {
        /// Its name.
        user: String,
        /// Its password.
        password: String,
    },
}

/// What to serve and to whom, and how to misbehave for tests.
#[derive(Clone)]
pub struct ServerOptions {
    /// Directory that clients see as `/` and cannot leave.
    pub root: PathBuf,
    /// Address to listen on; port 0 chooses a free one.
    pub listen: SocketAddr,
    /// Who may log in.
    pub access: Access,
    /// Refuse everything that changes the tree.
    pub read_only: bool,
    /// Maximum number of concurrent sessions, logged in or not; `None` for no limit. Further
    /// clients get `421 Too many sessions, try again later` and are disconnected. With
    /// [`TlsMode::Implicit`] they are disconnected without a reply, which they could not read
    /// before the handshake.
    pub max_sessions: Option<usize>,
    /// Maximum time from the connection to the login. A session that is not logged in by then gets
    /// 421 and is closed, whatever it sends, so that it cannot occupy one of
    /// [`max_sessions`](Self::max_sessions) forever. A TLS handshake in progress may take up to 30
    /// seconds longer.
    pub login_timeout: Duration,
    /// Maximum idle time. An idle session gets 421 and is closed; an idle data connection is closed
    /// with 426.
    pub idle: Duration,
    /// Simulated round-trip time. A reply is sent no earlier than this after the arrival of its
    /// command, or after the end of the upload that it confirms, and each new connection costs it
    /// once for the handshake. Commands that arrive together are delayed together, as on a real
    /// network.
    pub delay: Duration,
    /// Verbs and features to disable, in upper case: `MLSD`, `EPSV`, `SITE CHMOD`. They are refused
    /// with 502 and missing in FEAT.
    pub disabled: BTreeSet<String>,
    /// Whether HASH, XSHA256, XSHA1, XMD5 and XCRC are supported, unless
    /// [disabled](Self::disabled).
    pub digests: bool,
    /// Ports on which PASV and EPSV accept data connections (RFC 959 §3.3, RFC 2428), for firewalls
    /// and NAT that let only these through; `None` for any free port. The first port to try is
    /// random. While all are in use, PASV and EPSV are refused with 425. A port is in use until its
    /// data connection is open, so that the range may be smaller than the number of transfers.
    pub passive_ports: Option<RangeInclusive<u16>>,
    /// IPv4 address that PASV announces, for a server behind NAT (RFC 1123 §4.1.2.6); `None` for
    /// the local address of the control connection. EPSV announces no address. Data connections are
    /// still accepted only from the client's own address.
    pub public_address: Option<Ipv4Addr>,
    /// TLS settings. Without them, all connections are in the clear.
    pub tls: Option<TlsOptions>,
}

impl ServerOptions {
    /// Serves `root` on a free port of 127.0.0.1, writable, without delay or session limit, and
    /// with a maximum idle time of five minutes. A client has one minute to log in.
    pub fn new(root: impl Into<PathBuf>, access: Access) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access,
            read_only: false,
            max_sessions: None,
            login_timeout: Duration::from_secs(60),
            idle: Duration::from_secs(300),
            delay: Duration::ZERO,
            disabled: BTreeSet::new(),
            digests: false,
            passive_ports: None,
            public_address: None,
            tls: None,
        }
    }
}

/// A running server. Dropping it stops the server and ends its sessions.
pub struct Server {
    serving: Arc<Serving>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds, listens and serves in background threads.
    ///
    /// # Errors
    ///
    /// The root is not a directory that can be opened, the address is not available, the
    /// certificate does not belong to the key, or a thread cannot be started. The passive ports are
    /// not a range from 1 to 65535, or are reserved for privileged programs. Clients cannot connect
    /// to the public address, because it is unspecified, multicast or broadcast.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen)?;
        let serving = Arc::new(Serving::new(listener, options)?);
        let acceptor = acceptor::spawn_acceptor(&serving)?;
        Ok(Self {
            serving,
            acceptor: Some(acceptor),
        })
    }

    /// The address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Blocks until [`Server::stop`] is called from another thread.
    pub fn wait(&self) {
        self.serving.wait();
    }

    /// Stops listening and ends all sessions. Waits at most a few seconds for their threads.
    pub fn stop(&self) {
        self.serving.stop();
    }

    /// Returns all command lines received since the start, in order, over all sessions. PASS is
    /// without its argument.
    ///
    /// Bytes that are not UTF-8 are shown as U+FFFD. Beyond 16 MiB the oldest lines are dropped.
    pub fn commands(&self) -> Vec<String> {
        self.serving.log.lines()
    }

    /// Returns the same lines grouped by flight: commands that one client sent without waiting for
    /// replies in between, so that each flight costs that client one round trip. Lines sent one by
    /// one form one flight only if the [delay](ServerOptions::delay) is longer than the time that
    /// the client takes to send them.
    pub fn flights(&self) -> Vec<Vec<String>> {
        self.serving.log.flights()
    }

    /// Returns the largest number of [flights](Self::flights) in a session, which is the number of
    /// round trips that one client waited for in sequence.
    pub fn most_flights_of_a_session(&self) -> usize {
        self.serving.log.most_flights()
    }

    /// Clears what [`Server::commands`] and [`Server::flights`] return.
    pub fn clear_commands(&self) {
        self.serving.log.clear();
    }

    /// The injected faults; initially none.
    #[cfg(feature = "faults")]
    pub fn faults(&self) -> &Faults {
        &self.serving.faults
    }

    /// Number of open control connections.
    pub fn sessions(&self) -> usize {
        self.serving.sessions.count()
    }

    /// Closes all control and data connections and continues to listen, like a restart.
    pub fn drop_sessions(&self) {
        self.serving.sessions.close_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(acceptor) = self.acceptor.take() {
            // A panic in the acceptor was already printed; no caller is left to report it to.
            let _ = acceptor.join();
        }
    }
}
