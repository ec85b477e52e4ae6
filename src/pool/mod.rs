//! The connection manager: logged-in sessions, leased one at a time.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::ftp::{ConnectOptions, Error, Failed, Session};

/// How many sessions, and for how long.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// How each session is made.
    pub connect: ConnectOptions,
    /// Most sessions at once.
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
    /// Most sessions the pool will open: the option, or what the server was found to allow.
    pub limit: usize,
}

/// Logged-in sessions to one server; shared by handle.
#[derive(Debug, Clone)]
pub struct Pool {}

/// A session and the permit to use it. Dropped: the session goes back when usable, else it is closed and its place freed.
#[derive(Debug)]
pub struct Lease {}

/// The permit that outlives a session inside a transfer.
#[derive(Debug)]
pub struct Permit {}

#[allow(unused_variables)]
impl Pool {
    /// A pool with its first session made, so that a wrong host or password shows at once.
    pub fn connect(options: PoolOptions) -> Result<Self, Error> {
        todo!()
    }

    /// A live session: an idle one that is still quiet, or a new one where the limit allows, else the next to come back.
    pub fn lease(&self) -> Result<Lease, Error> {
        todo!()
    }

    /// Figures for `ftpfs status` and tests.
    pub fn stats(&self) -> PoolStats {
        todo!()
    }

    /// QUITs the idle sessions, lets leased ones end with their lease, refuses new leases.
    pub fn close(&self) {
        todo!()
    }
}

#[allow(unused_variables)]
impl Lease {
    /// Runs a session-consuming step (`retrieve`, `store`). On success its outcome and the permit; on failure the session, if it survived, went back.
    pub fn into_transfer<T>(
        self,
        start: impl FnOnce(Session) -> Result<T, Box<Failed>>,
    ) -> Result<(T, Permit), Error> {
        todo!()
    }
}

impl Deref for Lease {
    type Target = Session;
    fn deref(&self) -> &Session {
        todo!()
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Session {
        todo!()
    }
}

#[allow(unused_variables)]
impl Permit {
    /// Gives the session back after a transfer; a permit dropped without it frees the place.
    pub fn give_back(self, session: Session) {
        todo!()
    }
}

#[allow(dead_code)]
fn shared<T>(value: T) -> Arc<T> {
    Arc::new(value)
}
