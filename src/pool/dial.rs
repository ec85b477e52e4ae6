//! Making sessions: for a lease, or in the background so that later leases find them idle.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use scopeguard::{ScopeGuard, guard};

use super::connection::PooledConnection;
use super::lease::{Guarded, Lease, Permit};
use super::shared::PoolShared;
use super::slots::Reservation;
use super::{Error, Purpose};
use crate::ftp::Readiness;
use crate::guarded;

/// Number of sessions to which the pool grows if transfers follow one another faster than data
/// connections open. One session transfers while two wait for the round trips of EPSV and connect.
const THROUGHPUT_SESSIONS: usize = 3;

/// Name of the threads that make sessions.
const THREAD: &str = "ftpfs-dial";

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

    /// Makes the session and leases it.
    ///
    /// # Errors
    /// The session cannot be made.
    pub(super) fn dial(self) -> Result<Lease<S>, Error> {
        let (Reserved { pool, reservation }, session) = self.make()?;
        pool.lock().connected(reservation, Instant::now());
        pool.changed.notify_all();
        pool.wake_monitor();
        Ok(Lease::new(session, false, Permit::new(pool)))
    }

    /// Makes the session on a new thread, so that the request can be cancelled or give up
    /// meanwhile. The session becomes idle. Without a thread, makes it here.
    pub(super) fn dial_for_queue(self) {
        let slot = Arc::new(Mutex::new(Some(self)));
        let for_thread = Arc::clone(&slot);
        let take = |slot: &Mutex<Option<Self>>| {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.take()
        };
        let thread = guarded::spawn(THREAD, move || {
            if let Some(slot) = take(&for_thread) {
                slot.dial_to_idle();
            }
        });
        if let Err(error) = thread {
            log::debug!("cannot start a thread to open another connection: {error}");
            if let Some(slot) = take(&slot) {
                slot.dial_to_idle();
            }
        }
    }

    /// Makes the session on a new thread, for a request that may get another one first.
    pub(super) fn dial_beside(self) -> ComingLease<S> {
        let coming = ComingLease {
            pool: Arc::clone(&self.reserved.pool),
            state: Arc::new(Mutex::new(ComingState::UnderWay)),
        };
        let (pool, state) = (Arc::clone(&coming.pool), Arc::clone(&coming.state));
        let mut made = guard(None, move |lease| ComingLease::end(&pool, &state, lease));
        let thread = guarded::spawn(THREAD, move || *made = self.dial().ok());
        if let Err(error) = thread {
            log::debug!("cannot start a thread to open another connection: {error}");
        }
        coming
    }

    /// Makes the session on a new thread, and then it is idle. Returns whether the thread started.
    fn dial_in_background(self) -> bool {
        let thread = guarded::spawn(THREAD, move || self.dial_to_idle());
        if let Err(error) = &thread {
            log::debug!("cannot start a thread to open another connection: {error}");
        }
        thread.is_ok()
    }

    /// Makes the session here, and then it is idle.
    pub(super) fn dial_to_idle(self) {
        // The failure is logged, and requests learn of it from the slots.
        if let Ok((Reserved { pool, reservation }, session)) = self.make() {
            pool.add(reservation, session);
            pool.wake_monitor();
        }
    }

    /// Makes the session. After a failure, the slot is free.
    fn make(self) -> Result<(Reserved<S>, S), Error> {
        let outcome = (self.reserved.pool.dial)();
        let reserved = ScopeGuard::into_inner(self.reserved);
        match outcome {
            Ok(session) => Ok((reserved, session)),
            Err(error) => {
                log::debug!("cannot open another connection: {error}");
                let Reserved { pool, reservation } = reserved;
                let error = Arc::new(error);
                pool.lock().failed(reservation, &error, Instant::now());
                pool.changed.notify_all();
                pool.wake_monitor();
                Err(Error::Unavailable(error))
            }
        }
    }
}

/// A session that is being made for a request. If the request has got another one when this one is
/// made, it becomes idle.
pub(super) struct ComingLease<S: PooledConnection> {
    pool: Arc<PoolShared<S>>,
    /// Locked under the lock of the slots.
    state: Arc<Mutex<ComingState<S>>>,
}

enum ComingState<S: PooledConnection> {
    UnderWay,
    /// The session, unless it could not be made.
    Ended(Option<Lease<S>>),
    /// The request has got another session.
    Unclaimed,
}

impl<S: PooledConnection> ComingLease<S> {
    /// Whether the session was made, or could not be. The caller holds the lock of the slots.
    pub(super) fn has_ended(&self) -> bool {
        matches!(*lock(&self.state), ComingState::Ended(_))
    }

    /// Returns the session, if it was made.
    pub(super) fn take(&self) -> Option<Lease<S>> {
        match &mut *lock(&self.state) {
            ComingState::Ended(lease) => lease.take(),
            ComingState::UnderWay | ComingState::Unclaimed => None,
        }
    }

    fn end(pool: &PoolShared<S>, state: &Mutex<ComingState<S>>, lease: Option<Lease<S>>) {
        let mut slots = pool.lock();
        let mut state = lock(state);
        let unclaimed = if matches!(*state, ComingState::Unclaimed) {
            slots.unclaimed_ended();
            lease
        } else {
            *state = ComingState::Ended(lease);
            None
        };
        drop(state);
        drop(slots);
        drop(unclaimed);
        pool.changed.notify_all();
    }
}

impl<S: PooledConnection> Drop for ComingLease<S> {
    fn drop(&mut self) {
        let mut slots = self.pool.lock();
        let before = std::mem::replace(&mut *lock(&self.state), ComingState::Unclaimed);
        if matches!(before, ComingState::UnderWay) {
            slots.leave_unclaimed();
        }
        drop(slots);
        drop(before);
    }
}

fn lock<S: PooledConnection>(state: &Mutex<ComingState<S>>) -> MutexGuard<'_, ComingState<S>> {
    // Only assignments happen under this lock.
    state.lock().unwrap_or_else(PoisonError::into_inner)
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
