//! The waiting for a session.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::connection::PooledConnection;
use super::dial::Slot;
use super::lease::{Lease, Permit};
use super::shared::PoolShared;
use super::slots::{Denial, Grant, LeaseRequest};
use super::{Error, Purpose};
use crate::cancel::{Cancel, CancelListener};
use crate::guarded::OnDrop;

impl<S: PooledConnection> PoolShared<S> {
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
}
