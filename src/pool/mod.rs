//! The connection manager: logged-in sessions, leased one at a time.
//!
//! A lease is an idle session, else a new one where the limit allows, else the next to come back,
//! in the order of asking. The limit is the option's until the server says "too many" (421 or 530,
//! RFC 959 §5.4); then it is what the server allowed, and more is tried again after a while. A
//! server that cannot be reached is asked again only after a pause that grows.
//!
//! A session that did a transfer is armed when it comes back: it opens the data connection of its
//! next one while nobody waits (`data_dialer.rs`).
//!
//! One lock guards the places (`slots.rs`); it is never held while a session speaks.

mod backoff;
mod connection;
mod data_dialer;
mod dial;
mod idle;
mod lease;
mod limit;
mod maintenance;
mod shared;
mod slots;

use std::sync::Arc;
use std::time::Duration;

use crate::ftp::{self, ConnectOptions, ServerProfile, Session};
use crate::guarded;

pub use connection::PooledConnection;
pub use lease::{Lease, Permit};

use shared::{PoolShared, Rules};

/// How many sessions, and for how long.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// How each session is made.
    pub connect: ConnectOptions,
    /// Most sessions at once; 0 counts as 1.
    pub connections: usize,
    /// A session idle for longer is closed.
    pub idle: Duration,
    /// NOOP on sessions idle for this long, so that the server does not close them.
    pub keep_alive: Duration,
    /// Longest wait for a free session.
    pub lease_timeout: Duration,
}

/// What the pool is doing now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStats {
    /// Sessions open, leased or idle.
    pub open: usize,
    /// Sessions leased.
    pub leased: usize,
    /// Idle sessions with the data connection of their next transfer open.
    pub armed: usize,
    /// Most sessions the pool will open: the option, or what the server was found to allow.
    pub limit: usize,
}

/// What a session is leased for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// RETR, STOR, MLSD, LIST: the session whose data connection is open already comes first.
    Transfer,
    /// Anything else: the session whose data connection is open already comes last.
    Command,
}

/// Why there is no session, or why the one there was failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A session could not be made, or failed at its work; shared, because everyone who waits for a
    /// dead server is told the same.
    #[error(transparent)]
    Session(Arc<ftp::Error>),
    /// All sessions were in use for the whole wait.
    #[error("all connections were busy for {0:?}")]
    Exhausted(Duration),
    /// [`Pool::close`] was called.
    #[error("the connections were closed")]
    Closed,
}

impl From<ftp::Error> for Error {
    fn from(error: ftp::Error) -> Self {
        Self::Session(Arc::new(error))
    }
}

/// Logged-in sessions to one server; shared by handle.
///
/// When the last handle and the last lease are gone, the idle sessions are closed and the
/// housekeeper ends.
pub struct Pool<S: PooledConnection = Session> {
    shared: Arc<PoolShared<S>>,
    profile: ServerProfile,
}

impl Pool<Session> {
    /// A pool with its first session made, so that a wrong host or password shows at once.
    ///
    /// # Errors
    /// The first session's.
    pub fn connect(options: PoolOptions) -> Result<Self, ftp::Error> {
        let rules = Rules {
            connections: options.connections,
            idle: options.idle,
            keep_alive: options.keep_alive,
            lease_timeout: options.lease_timeout,
        };
        let connect = options.connect;
        let profile = connect.profile.clone();
        Self::with(rules, profile, move || Session::connect(&connect))
    }
}

impl<S: PooledConnection> Pool<S> {
    fn with(
        rules: Rules,
        profile: ServerProfile,
        dial: impl Fn() -> Result<S, ftp::Error> + Send + Sync + 'static,
    ) -> Result<Self, ftp::Error> {
        let first = dial()?;
        // Whoever counts a session that is being made counts it out by the error.
        let dial = move || guarded::catch("a login", &dial).unwrap_or_else(|| Err(panicked()));
        let shared = PoolShared::new(rules, profile.clone(), Box::new(dial), first);
        Ok(Self { shared, profile })
    }

    /// What the server can and does, as its sessions found out so far.
    pub fn profile(&self) -> &ServerProfile {
        &self.profile
    }

    /// A live session: an idle one that is still quiet, or a new one where the limit allows, else
    /// the next to come back.
    ///
    /// # Errors
    /// The server's refusal or the socket's failure where no session is open and none can be made;
    /// [`Error::Exhausted`] after [`PoolOptions::lease_timeout`]; [`Error::Closed`].
    pub fn lease(&self, purpose: Purpose) -> Result<Lease<S>, Error> {
        self.shared.lease(purpose)
    }

    /// A session for background work: an idle one beside another idle one, or a new one
    /// within the limit. None while somebody waits for a session, nor the last place there is; it
    /// is waited for, for `patience` at the longest.
    pub fn background_lease(&self, patience: Duration) -> Option<Lease<S>> {
        self.shared.background_lease(patience)
    }

    /// So many sessions will be wanted in a moment: those that are missing, within the limit, are
    /// made in the background.
    pub fn grow_to(&self, sessions: usize) {
        self.shared.grow_to(sessions);
    }

    /// Closes the sessions that are idle now: one of them fell silent for as long as the longest
    /// wait allows, so the way to the server may have changed for all of them.
    pub fn evict_idle(&self) {
        self.shared.evict_idle();
    }

    /// Waits until somebody waits for a session while all are taken, for `patience` at the longest;
    /// whether it is so. For whoever holds sessions that it could do without.
    pub fn wait_until_contended(&self, patience: Duration) -> bool {
        self.shared.wait_until_contended(patience)
    }

    /// Figures for `ftpfs status` and tests.
    pub fn stats(&self) -> PoolStats {
        self.shared.stats()
    }

    /// QUITs the idle sessions, lets leased ones end with their lease, refuses new leases.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl<S: PooledConnection> Clone for Pool<S> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            profile: self.profile.clone(),
        }
    }
}

impl<S: PooledConnection> std::fmt::Debug for Pool<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

fn panicked() -> ftp::Error {
    ftp::Error::Io {
        phase: ftp::Phase::Connect,
        source: std::io::Error::other("the login panicked, which is a mistake in ftpfs"),
    }
}
