//! A small FTP server over std sockets (RFC 959, 2389, 2428, 3659), for `serve`, the demo and the
//! tests.
//!
//! It shares nothing with the client in `ftp`, so that a mistake in one shows in the other.
//!
//! | file | what it knows |
//! |---|---|
//! | `serving` | the listening socket, what all sessions share, the limit on their number |
//! | `session` | one client: who it is, where it stands, what it asked for last |
//! | `commands` | the table of verbs, and each verb in one function |
//! | `control`, `command_line`, `reply` | the control connection, its lines, its answers |
//! | `data`, `address`, `transfer` | a data connection's opening, its address, moving bytes |
//! | `tls`, `security` | certificates, encrypted connections; what of a session is protected |
//! | `fault`, `misbehave` | what tests ask to go wrong, and doing it wrong |
//! | `tree`, `place`, `path` | the served directory, which no path leads out of |
//! | `facts`, `long_listing`, `time` | how an entry is written: RFC 3659 facts, `ls -l`, times |
//!
//! A session is one thread. It waits with poll(2) on its control connection and on the data
//! connection at once, so that ABOR, a closed client and a stopped server are noticed in the middle
//! of a transfer.

mod address;
mod command_line;
mod command_log;
mod commands;
mod control;
mod data;
mod facts;
mod fault;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod long_listing;
mod misbehave;
mod open_sessions;
mod path;
mod place;
mod reply;
mod security;
mod serving;
mod session;
mod time;
mod tls;
mod transfer;
mod tree;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use self::fault::{ANY, CONNECT, Fault, Faults, HANDSHAKE_FAILURE, Misdeed};
pub use self::tls::{Certificate, TlsMode, TlsOptions, TlsVersions};

use self::serving::Serving;

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

/// What to serve, to whom, and how to misbehave for tests.
#[derive(Clone)]
pub struct ServerOptions {
    /// The directory that clients see as `/` and are never led out of.
    pub root: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may log in.
    pub access: Access,
    /// Refuses everything that changes the tree.
    pub read_only: bool,
    /// Most sessions at once; one more is told 421.
    pub max_sessions: Option<usize>,
    /// A session silent for longer is told 421 and closed; a data connection silent for longer is
    /// broken off with 426.
    pub idle: Duration,
    /// A round trip's time, as a distant client would feel it: a reply leaves no sooner than this
    /// after its command arrived, the reply to an upload no sooner than this after the upload's
    /// end, and a new connection costs it once for its handshake. Commands that arrived together
    /// pay together, as on a real line.
    pub delay: Duration,
    /// Verbs and features that are refused with 502 and left out of FEAT, upper case: `MLSD`,
    /// `EPSV`, `SITE CHMOD`.
    pub disabled: BTreeSet<String>,
    /// Whether digests of files are told: HASH, XSHA256, XSHA1, XMD5 and XCRC, unless
    /// [disabled](Self::disabled).
    pub digests: bool,
    /// How TLS is spoken; all is in the clear where there is none.
    pub tls: Option<TlsOptions>,
}

impl ServerOptions {
    /// Serves `root` on a free port of 127.0.0.1, writable, without delay or limit on sessions,
    /// idle for at most five minutes.
    pub fn new(root: impl Into<PathBuf>, access: Access) -> Self {
        Self {
            root: root.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            access,
            read_only: false,
            max_sessions: None,
            idle: Duration::from_secs(300),
            delay: Duration::ZERO,
            disabled: BTreeSet::new(),
            digests: false,
            tls: None,
        }
    }
}

/// A running server; dropped, it stops and its sessions end.
pub struct Server {
    serving: Arc<Serving>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds, listens and serves in threads of its own.
    ///
    /// # Errors
    ///
    /// The root is not a directory that can be opened, the address cannot be listened on, the
    /// certificate is not the key's, or no thread can be had.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen)?;
        let serving = Arc::new(Serving::new(listener, options)?);
        let acceptor = serving::spawn_acceptor(&serving)?;
        Ok(Self {
            serving,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.serving.address()
    }

    /// Blocks until [`Server::stop`] is called from another thread.
    pub fn wait(&self) {
        self.serving.wait();
    }

    /// Stops listening and ends every session; waits a few seconds at most for their threads.
    pub fn stop(&self) {
        self.serving.stop();
    }

    /// Every command line received since the start, in order, over all sessions (PASS without its
    /// argument).
    ///
    /// Bytes that are not UTF-8 show as U+FFFD. Beyond 16 MiB the oldest lines are forgotten.
    pub fn commands(&self) -> Vec<String> {
        self.serving.log.lines()
    }

    /// The same by flight: command lines that one client sent without waiting for replies in
    /// between, so that each flight is one round trip of that client's. Lines sent one by one are
    /// one flight only with a [delay](ServerOptions::delay) that is longer than the client takes to
    /// send them.
    pub fn flights(&self) -> Vec<Vec<String>> {
        self.serving.log.flights()
    }

    /// How many [flights](Self::flights) the session had that had the most: so many round trips one
    /// client waited for in turn.
    pub fn most_flights_of_a_session(&self) -> usize {
        self.serving.log.most_flights()
    }

    /// Empties what [`Server::commands`] and [`Server::flights`] tell.
    pub fn clear_commands(&self) {
        self.serving.log.clear();
    }

    /// What is to go wrong; nothing at first.
    pub fn faults(&self) -> &Faults {
        &self.serving.faults
    }

    /// Control connections open now.
    pub fn sessions(&self) -> usize {
        self.serving.sessions.count()
    }

    /// Closes every control and data connection, goes on listening: what a restart does to clients.
    pub fn drop_sessions(&self) {
        self.serving.sessions.close_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        if let Some(acceptor) = self.acceptor.take() {
            // A panic in the acceptor has already been printed; there is nobody left to tell.
            let _ = acceptor.join();
        }
    }
}
