//! The slots behind their lock, and the waiting for a session.

use std::convert::Infallible;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use scopeguard::guard;

use super::connection::PooledConnection;
use super::data_dialer::{self, Waker};
use super::dial::Slot;
use super::idle::IdleSession;
use super::lease::{Lease, Permit};
use super::slots::{Denial, Grant, LeaseRequest, Slots};
use super::{Error, PoolStats, Purpose, maintenance};
use crate::cancel::{Cancel, CancelListener};
use crate::ftp::{self, Readiness, ServerProfile};
use crate::guarded::OnDrop;

/// Makes a session.
pub(super) type Dial<S> = Box<dyn Fn() -> Result<S, ftp::Error> + Send + Sync>;

/// The options of a pool, without those of its sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) connections: usize,
    pub(super) idle: Duration,
    pub(super) keep_alive: Duration,
    pub(super) lease_timeout: Duration,
}

/// The part of a pool that its handles, leases and threads share.
pub(super) struct PoolShared<S: PooledConnection> {
    pub(super) rules: Rules,
    pub(super) dial: Dial<S>,
    /// While it is held, no other lock is taken and no session sends or waits.
    slots: Mutex<Slots<S>>,
    /// A slot or a session became free, a session was made or could not be made, or the queue
    /// moved.
    pub(super) changed: Condvar,
    /// A request begins to wait, or the pool closes.
    contended: Condvar,
    /// `None` if the data dialer cannot be woken.
    pub(super) waker: Option<Waker>,
    /// The maintenance thread ends when this is dropped.
    _life: Sender<Infallible>,
}

impl<S: PooledConnection> PoolShared<S> {
    /// Starts with one session and the pool's threads.
    pub(super) fn new(rules: Rules, profile: ServerProfile, dial: Dial<S>, first: S) -> Arc<Self> {
        let (life, ended) = mpsc::channel();
        let (waker, woken) = data_dialer::waker().ok().unzip();
        let slots = Slots::new(rules.connections, profile, first, Instant::now());
        let shared = Arc::new(Self {
            rules,
            dial,
            slots: Mutex::new(slots),
            changed: Condvar::new(),
            contended: Condvar::new(),
            waker,
            _life: life,
        });
        let data_dialer = woken.map(|woken| data_dialer::start(&shared, woken));
        if !matches!(data_dialer, Some(Ok(()))) {
            log::warn!(
                "cannot start the thread that prepares data connections: {data_dialer:?}; \
                 each transfer opens its own"
            );
        }
        if let Err(error) = maintenance::start(&shared, ended) {
            log::warn!("cannot start the thread that keeps idle connections alive: {error}");
        }
        shared
    }

    /// See [`super::Pool::lease`].
    pub(super) fn lease(
        self: &Arc<Self>,
        purpose: Purpose,
        cancel: &Cancel,
    ) -> Result<Lease<S>, Error> {
        let ticket = self.lock().enqueue();
        let queued = OnDrop::new(|| {
            self.lock().dequeue(ticket);
            self.changed.notify_all();
        });
        let request = LeaseRequest::Foreground { ticket, purpose };
        let lease = self.serve(request, self.rules.lease_timeout, cancel)?;
        drop(queued);
        self.grow_for_throughput(purpose, &lease);
        Ok(lease)
    }

    /// See [`super::Pool::background_lease`].
    pub(super) fn background_lease(self: &Arc<Self>, patience: Duration) -> Option<Lease<S>> {
        let cancel = Cancel::never();
        self.serve(LeaseRequest::Background, patience, &cancel).ok()
    }

    /// Leases a session, which takes `patience` and the time to make a session at most.
    fn serve(
        self: &Arc<Self>,
        request: LeaseRequest,
        patience: Duration,
        cancel: &Cancel,
    ) -> Result<Lease<S>, Error> {
        let deadline = Instant::now() + patience;
        loop {
            let grant = self.wait_for_grant(request, deadline, cancel);
            match grant?.ok_or(Error::Exhausted(patience))? {
                Grant::Idle(session) => {
                    let mut lease = Lease::new(session, true, Permit::new(Arc::clone(self)));
                    if lease.is_idle_healthy() {
                        return Ok(lease);
                    }
                    log::debug!("an idle connection was closed by the server");
                    lease.discard();
                }
                Grant::Dial(reservation) => {
                    let slot = Slot::new(self, reservation);
                    // The next request in the queue may be served, too.
                    self.changed.notify_all();
                    if let Some(lease) = slot.dial()? {
                        // Another request can use the session that was made meanwhile.
                        if cancel.is_cancelled() {
                            return Err(Error::Cancelled);
                        }
                        return Ok(lease);
                    }
                }
            }
        }
    }

    /// Returns `None` at the deadline.
    ///
    /// # Errors
    /// The request cannot succeed or is cancelled, or the server cannot be reached at the deadline.
    fn wait_for_grant(
        self: &Arc<Self>,
        request: LeaseRequest,
        deadline: Instant,
        cancel: &Cancel,
    ) -> Result<Option<Grant<S>>, Error> {
        let mut listener = None;
        let mut slots = self.lock();
        loop {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            let now = Instant::now();
            let retry_at = match slots.grant(request, now) {
                Ok(grant) => return Ok(Some(grant)),
                Err(Denial::Fail(error)) => return Err(error),
                Err(Denial::Wait(retry_at)) => retry_at,
            };
            if now >= deadline {
                let error = slots.last_error();
                return error.map_or(Ok(None), |error| Err(Error::Session(error)));
            }
            if listener.is_none() {
                drop(slots);
                listener = Some(self.wake_when_cancelled(cancel));
                slots = self.lock();
                continue;
            }
            // If the time has passed already, only a change helps.
            let until = retry_at
                .filter(|retry_at| *retry_at > now)
                .map_or(deadline, |retry_at| retry_at.min(deadline));
            self.contended.notify_all();
            slots = self
                .changed
                .wait_timeout(slots, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn wake_when_cancelled(self: &Arc<Self>, cancel: &Cancel) -> CancelListener {
        let shared = Arc::clone(self);
        cancel.on_cancel(move || {
            // A thread that has looked at `cancel` under the lock waits by now, and is woken.
            drop(shared.lock());
            shared.changed.notify_all();
        })
    }

    /// Ends the lease of `session`.
    pub(super) fn give_back(&self, mut session: S) {
        session.arm();
        if session.is_usable() {
            let is_coming = session.readiness() == Readiness::Coming;
            self.make_idle(IdleSession::new(session, Instant::now()));
            if is_coming {
                self.wake_data_dialer();
            }
        } else {
            self.vacate();
            drop(session);
        }
    }

    /// Makes a leased session idle.
    pub(super) fn make_idle(&self, idle: IdleSession<S>) {
        let refused = self.lock().give_back(idle);
        self.changed.notify_all();
        drop(refused);
    }

    /// Frees the slot of a leased session.
    pub(super) fn vacate(&self) {
        self.lock().vacate();
        self.changed.notify_all();
    }

    /// Calls `work` for each idle session that `is_meant` selects. `work` must not wait, because
    /// requests wait for these sessions.
    pub(super) fn for_each_idle(
        &self,
        is_meant: impl Fn(&S) -> bool,
        mut work: impl FnMut(&mut IdleSession<S>),
    ) {
        let selected = self.lock().check_out(is_meant);
        // The guards return all sessions, also when `work` panics.
        let selected: Vec<_> = selected
            .into_iter()
            .map(|idle| guard(idle, |idle| self.check_in(idle)))
            .collect();
        for mut idle in selected {
            work(&mut idle);
        }
    }

    fn check_in(&self, idle: IdleSession<S>) {
        let refused = self.lock().check_in(idle);
        self.changed.notify_all();
        if let Some(session) = refused {
            // The pool was closed, or the session broke; a broken session sends nothing.
            session.quit();
        }
    }

    /// See [`super::Pool::evict_idle`].
    pub(super) fn evict_idle(&self) {
        let idle = self.lock().evict_idle();
        self.changed.notify_all();
        drop(idle);
    }

    /// See [`super::Pool::close`]. The sessions quit simultaneously, so that a dead server costs
    /// one deadline instead of one each.
    pub(super) fn close(&self) {
        let idle = self.lock().close();
        self.changed.notify_all();
        self.contended.notify_all();
        thread::scope(|scope| {
            for idle in idle {
                scope.spawn(move || idle.session.quit());
            }
        });
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats()
    }

    /// See [`super::Pool::wait_until_contended`].
    pub(super) fn wait_until_contended(&self, patience: Duration) -> bool {
        let is_calm = |slots: &mut Slots<S>| !slots.is_contended() && !slots.is_closed();
        let waited = self
            .contended
            .wait_timeout_while(self.lock(), patience, is_calm);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_contended()
    }

    /// The number of requests in the queue.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    /// Locks the slots. After a panic of another holder they stay usable: a count is off by one at
    /// worst.
    pub(super) fn lock(&self) -> MutexGuard<'_, Slots<S>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
