//! Leases: a session and the permit to use it. A transfer takes the session out of its lease and
//! keeps the permit until it gives the session back.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use scopeguard::{ScopeGuard, guard};

use super::connection::PooledConnection;
use super::idle::IdleSession;
use super::shared::PoolShared;
use crate::ftp::{Error, Failed, Session};

/// A value that either is moved out or is passed to a function when it is dropped.
pub(super) type Guarded<T> = ScopeGuard<T, fn(T)>;

/// A leased session. When the lease is dropped, a usable session becomes idle. An unusable one is
/// closed, and its slot becomes free.
pub(crate) struct Lease<S: PooledConnection = Session> {
    held: Guarded<HeldSession<S>>,
    is_reused: bool,
}

struct HeldSession<S: PooledConnection> {
    session: S,
    permit: Permit<S>,
}

impl<S: PooledConnection> Lease<S> {
    pub(super) fn new(session: S, is_reused: bool, permit: Permit<S>) -> Self {
        let give_back = |held: HeldSession<S>| held.permit.give_back(held.session);
        Self {
            held: guard(HeldSession { session, permit }, give_back as fn(_)),
            is_reused,
        }
    }

    /// Whether the session was idle before. The connection may be dead without a sign.
    pub(crate) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Closes the session and frees its slot.
    pub(super) fn discard(self) {
        drop(ScopeGuard::into_inner(self.held));
    }
}

impl Lease<Session> {
    /// Calls `start`, which consumes the session (`retrieve`, `store`). Returns its result and the
    /// permit. If it fails and the session survives, the session becomes idle.
    ///
    /// # Errors
    /// Those of `start`.
    pub(crate) fn into_transfer<T>(
        self,
        start: impl FnOnce(Session) -> Result<T, Box<Failed>>,
    ) -> Result<(T, Permit), Error> {
        let HeldSession { session, permit } = ScopeGuard::into_inner(self.held);
        match start(session) {
            Ok(transfer) => Ok((transfer, permit)),
            Err(failed) => {
                if let Some(session) = failed.session {
                    permit.give_back(session);
                }
                Err(failed.error)
            }
        }
    }
}

impl<S: PooledConnection> Deref for Lease<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.held.session
    }
}

impl<S: PooledConnection> DerefMut for Lease<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.held.session
    }
}

impl<S: PooledConnection> fmt::Debug for Lease<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("is_reused", &self.is_reused)
            .finish_non_exhaustive()
    }
}

/// The slot of a leased session, held while a transfer owns the session. When the permit is
/// dropped, the slot becomes free.
pub(crate) struct Permit<S: PooledConnection = Session> {
    slot: Guarded<Arc<PoolShared<S>>>,
}

impl<S: PooledConnection> Permit<S> {
    pub(super) fn new(pool: Arc<PoolShared<S>>) -> Self {
        let vacate = |pool: Arc<PoolShared<S>>| pool.vacate();
        Self {
            slot: guard(pool, vacate as fn(_)),
        }
    }

    /// Gives the session back after a transfer.
    pub(crate) fn give_back(self, session: S) {
        ScopeGuard::into_inner(self.slot).give_back(session);
    }

    /// Gives back a session that was leased without being used.
    pub(super) fn make_idle(self, idle: IdleSession<S>) {
        ScopeGuard::into_inner(self.slot).make_idle(idle);
    }

    /// Continues to use the session after its transfer.
    pub(crate) fn into_lease(self, session: S) -> Lease<S> {
        Lease::new(session, false, self)
    }
}

impl<S: PooledConnection> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
