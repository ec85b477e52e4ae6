//! A small FTP server over std sockets, for the demo and the tests; shares nothing with the client.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    /// A session silent for longer is told 421 and closed.
    pub idle: Duration,
    /// Waits this long before each reply and each data connection's first byte: a round trip's time.
    pub delay: Duration,
    /// Verbs and features that are refused with 502 and left out of FEAT, upper case: `MLSD`, `EPSV`, `SITE CHMOD`.
    pub disabled: BTreeSet<String>,
}

/// A running server; dropped, it stops and its sessions end.
pub struct Server {}

#[allow(unused_variables)]
impl Server {
    /// Binds, listens and serves in threads of its own.
    pub fn start(options: ServerOptions) -> io::Result<Self> {
        todo!()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// Every command line received since the start, in order, over all sessions (PASS without its argument).
    pub fn commands(&self) -> Vec<String> {
        todo!()
    }

    /// Empties what [`Server::commands`] tells.
    pub fn clear_commands(&self) {
        todo!()
    }

    /// Control connections open now.
    pub fn sessions(&self) -> usize {
        todo!()
    }

    /// Closes every control and data connection, goes on listening: what a restart does to clients.
    pub fn drop_sessions(&self) {
        todo!()
    }
}
