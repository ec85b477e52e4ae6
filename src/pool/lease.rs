//! A session on loan, and the permit that outlives it inside a transfer.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::connection::PooledConnection;
use super::shared::PoolShared;
use crate::ftp::{Error, Failed, Session};

/// A session and the permit to use it. Dropped: the session goes back when usable, else it is
/// closed and its place freed.
pub struct Lease<S: PooledConnection = Session> {
    /// Some until the lease is consumed.
    session: Option<S>,
    /// Some until the lease is consumed.
    permit: Option<Permit<S>>,
    reused: bool,
}

impl<S: PooledConnection> Lease<S> {
    pub(super) fn new(session: S, reused: bool, permit: Permit<S>) -> Self {
        Self {
            session: Some(session),
            permit: Some(permit),
            reused,
        }
    }

    /// Whether the session was used before: then its server may have left without a sign.
    pub fn is_reused(&self) -> bool {
        self.reused
    }
}

impl Lease<Session> {
    /// Runs a session-consuming step (`retrieve`, `store`). On success its outcome and the permit;
    /// on failure the session, if it survived, went back.
    ///
    /// # Errors
    /// The step's.
    pub fn into_transfer<T>(
        mut self,
        start: impl FnOnce(Session) -> Result<T, Box<Failed>>,
    ) -> Result<(T, Permit), Error> {
        let (Some(session), Some(permit)) = (self.session.take(), self.permit.take()) else {
            unreachable!("a lease holds its session until it is consumed")
        };
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
        match &self.session {
            Some(session) => session,
            None => unreachable!("a lease holds its session until it is consumed"),
        }
    }
}

impl<S: PooledConnection> DerefMut for Lease<S> {
    fn deref_mut(&mut self) -> &mut S {
        match &mut self.session {
            Some(session) => session,
            None => unreachable!("a lease holds its session until it is consumed"),
        }
    }
}

impl<S: PooledConnection> Drop for Lease<S> {
    fn drop(&mut self) {
        if let (Some(session), Some(permit)) = (self.session.take(), self.permit.take()) {
            permit.give_back(session);
        }
    }
}

impl<S: PooledConnection> fmt::Debug for Lease<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}

/// The permit that outlives a session inside a transfer.
pub struct Permit<S: PooledConnection = Session> {
    /// Some until the place was given back.
    place: Option<Arc<PoolShared<S>>>,
}

impl<S: PooledConnection> Permit<S> {
    pub(super) fn new(place: Arc<PoolShared<S>>) -> Self {
        Self { place: Some(place) }
    }

    /// Gives the session back after a transfer; a permit dropped without it frees the place.
    pub fn give_back(mut self, session: S) {
        if let Some(place) = self.place.take() {
            place.give_back(session);
        }
    }

    /// Goes on using the session after its transfer.
    pub fn into_lease(self, session: S) -> Lease<S> {
        Lease::new(session, false, self)
    }
}

impl<S: PooledConnection> Drop for Permit<S> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            place.vacate();
        }
    }
}

impl<S: PooledConnection> fmt::Debug for Permit<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}
