//! Making sessions: for a lease, or in the background so that later leases find them idle.

use std::sync::Arc;
use std::time::Instant;

use scopeguard::{ScopeGuard, guard};

use super::connection::PooledConnection;
use super::lease::{Guarded, Lease, Permit};
use super::shared::PoolShared;
use super::slots::Reservation;
use super::{Error, Purpose};
use crate::ftp::{self, Readiness};
use crate::guarded;

/// Number of sessions to which the pool grows if transfers follow one another faster than data
/// connections open. One session transfers while two wait for the round trips of EPSV and connect.
const THROUGHPUT_SESSIONS: usize = 3;

/// A reserved slot whose session is not made yet. When it is dropped, the slot becomes free.
pub(super) struct Slot<S: PooledConnection> {
    reserved: Guarded<Reserved<S>>,
}

struct Reserved<S: PooledConnection> {
    pool: Arc<PoolShared<S>>,
    reservation: Reservation,
}

impl<S: PooledConnection> Slot<S> {
    pub(super) fn new(pool: &Arc<PoolShared<S>>, reservation: Reservation) -> Self {
        let reserved = Reserved {
            pool: Arc::clone(pool),
            reservation,
        };
        let free = |reserved: Reserved<S>| {
            reserved.pool.lock().abandoned(reserved.reservation);
            reserved.pool.changed.notify_all();
        };
        Self {
            reserved: guard(reserved, free as fn(_)),
        }
    }

    /// Makes the session. Returns `None` if that failed and the request is back in the queue.
    ///
    /// # Errors
    /// The session cannot be made, and the request is not in the queue.
    pub(super) fn dial(self) -> Result<Option<Lease<S>>, Error> {
        match (self.reserved.pool.dial)() {
            Ok(session) => Ok(Some(self.connected(session))),
            Err(error) => self.failed(error).map(|()| None),
        }
    }

    /// Makes the session on a new thread, and then it is idle. Returns whether the thread started.
    fn dial_in_background(self) -> bool {
        let thread = guarded::spawn("ftpfs-dial", move || drop(self.dial()));
        if let Err(error) = &thread {
            log::debug!("cannot start a thread to open another connection: {error}");
        }
        thread.is_ok()
    }

    fn connected(self, session: S) -> Lease<S> {
        let Reserved { pool, reservation } = ScopeGuard::into_inner(self.reserved);
        pool.lock().connected(reservation, Instant::now());
        pool.changed.notify_all();
        Lease::new(session, false, Permit::new(pool))
    }

    /// Returns `Ok` if the request is back in the queue.
    fn failed(self, error: ftp::Error) -> Result<(), Error> {
        log::debug!("cannot open another connection: {error}");
        let Reserved { pool, reservation } = ScopeGuard::into_inner(self.reserved);
        let error = Arc::new(error);
        let is_queued = pool.lock().failed(reservation, &error, Instant::now());
        pool.changed.notify_all();
        if is_queued {
            Ok(())
        } else {
            Err(Error::Session(error))
        }
    }
}

impl<S: PooledConnection> PoolShared<S> {
    /// See [`super::Pool::grow_to`].
    pub(super) fn grow_to(self: &Arc<Self>, sessions: usize) {
        loop {
            let reserved = self.lock().reserve_up_to(sessions, Instant::now());
            let Some(reservation) = reserved else { return };
            if !Slot::new(self, reservation).dial_in_background() {
                return;
            }
        }
    }

    /// Adds a session if a transfer has to wait for the data connection of `session`. Then
    /// transfers follow one another faster than data connections open, and several sessions open
    /// them in turn.
    pub(super) fn grow_for_throughput(self: &Arc<Self>, purpose: Purpose, session: &S) {
        if purpose != Purpose::Transfer || session.readiness() != Readiness::Coming {
            return;
        }
        let reserved = self
            .lock()
            .reserve_one_up_to(THROUGHPUT_SESSIONS, Instant::now());
        if let Some(reservation) = reserved {
            Slot::new(self, reservation).dial_in_background();
        }
    }
}
