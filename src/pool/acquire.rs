//! The waiting for a session.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::connection::PooledConnection;
use super::dial::{ComingLease, Slot};
use super::idle::IdleSession;
use super::lease::{Lease, Permit};
use super::shared::PoolShared;
use super::slots::{Denial, Grant, LeaseRequest, Slots};
use super::{Error, Purpose};
use crate::cancel::{Cancel, CancelListener};
use crate::guarded::OnDrop;

/// A request and how long it may wait.
struct LeaseWait<'a, S: PooledConnection> {
    request: LeaseRequest,
    /// The session that is being made for this request.
    coming: Option<ComingLease<S>>,
    began: Instant,
    /// Longest wait; `None` for ever.
    patience: Option<Duration>,
    cancel: &'a Cancel,
}

/// What a request has waited for.
enum Granted<S: PooledConnection> {
    Grant(Grant<S>),
    /// The session that is made for it, which is there or could not be made.
    Made,
}

impl<S: PooledConnection> PoolShared<S> {
    /// See [`super::Pool::lease`].
    pub(super) fn lease(
        self: &Arc<Self>,
        purpose: Purpose,
        cancel: &Cancel,
    ) -> Result<Lease<S>, Error> {
        self.lease_within(purpose, self.rules.lease_timeout(), cancel)
    }

    /// Like [`Self::lease`], with a `patience` of its own; `None` is for ever.
    pub(super) fn lease_within(
        self: &Arc<Self>,
        purpose: Purpose,
        patience: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<Lease<S>, Error> {
        let began = Instant::now();
        let (ticket, failures) = {
            let mut slots = self.lock();
            (slots.enqueue(began), slots.failures())
        };
        let queued = OnDrop::new(|| {
            self.lock().dequeue(ticket, Instant::now());
            self.changed.notify_all();
        });
        let lease = self.serve(&LeaseWait {
            request: LeaseRequest::Foreground {
                ticket,
                purpose,
                failures,
            },
            coming: None,
            began,
            patience,
            cancel,
        })?;
        drop(queued);
        self.grow_for_throughput(purpose, &lease);
        Ok(lease)
    }

    /// See [`super::Pool::background_lease`]. Where it makes a session, it takes another one that
    /// is there first: a login takes several round trips.
    pub(super) fn background_lease(
        self: &Arc<Self>,
        is_brief: bool,
        patience: Duration,
    ) -> Option<Lease<S>> {
        let request = |may_dial| LeaseRequest::Background { may_dial, is_brief };
        let mut wait = LeaseWait {
            request: request(true),
            coming: None,
            began: Instant::now(),
            patience: Some(patience),
            cancel: &Cancel::never(),
        };
        loop {
            let granted = self.wait_for_grant(&wait).ok()?;
            self.end_monitor_rest();
            match granted {
                Granted::Made => return wait.coming.and_then(|coming| coming.take()),
                Granted::Grant(Grant::Idle(idle)) => {
                    if let Some(lease) = self.lease_idle(idle) {
                        return Some(lease);
                    }
                }
                Granted::Grant(Grant::Dial(reservation)) => {
                    let slot = Slot::new(self, reservation);
                    self.changed.notify_all();
                    wait.coming = Some(slot.dial_beside());
                    wait.request = request(false);
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, wait: &LeaseWait<'_, S>) -> Result<Lease<S>, Error> {
        loop {
            let granted = self.wait_for_grant(wait)?;
            self.end_monitor_rest();
            match granted {
                // No session is made for this request alone.
                Granted::Made => {}
                Granted::Grant(Grant::Idle(idle)) => {
                    if let Some(lease) = self.lease_idle(idle) {
                        return Ok(lease);
                    }
                }
                Granted::Grant(Grant::Dial(reservation)) => {
                    let slot = Slot::new(self, reservation);
                    // The next request in the queue may be served, too.
                    self.changed.notify_all();
                    slot.dial_for_queue();
                }
            }
        }
    }

    /// Leases an idle session, unless the server has closed it.
    fn lease_idle(self: &Arc<Self>, idle: IdleSession<S>) -> Option<Lease<S>> {
        let is_reused = !idle.is_new(Instant::now());
        let mut lease = Lease::new(idle.session, is_reused, Permit::new(Arc::clone(self)));
        if lease.is_idle_healthy() {
            return Some(lease);
        }
        log::debug!("an idle connection was closed by the server");
        lease.discard();
        None
    }

    /// # Errors
    /// The request cannot succeed or is cancelled, or its time has passed.
    fn wait_for_grant(self: &Arc<Self>, wait: &LeaseWait<'_, S>) -> Result<Granted<S>, Error> {
        let mut listener = None;
        let mut slots = self.lock();
        loop {
            if wait.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if wait.coming.as_ref().is_some_and(ComingLease::has_ended) {
                return Ok(Granted::Made);
            }
            let now = Instant::now();
            let retry_at = match slots.grant(wait.request, now) {
                Ok(grant) => return Ok(Granted::Grant(grant)),
                Err(Denial::Fail(error)) => return Err(error),
                Err(Denial::Wait(retry_at)) => retry_at,
            };
            let suspect_until = slots.suspect_until(self.profile.last_heard());
            if suspect_until.is_some_and(|until| now >= until) {
                let idle = slots.give_up(now);
                drop(slots);
                self.gave_up(idle);
                slots = self.lock();
                continue;
            }
            let deadline = self.deadline(wait, &slots);
            if deadline.is_some_and(|deadline| now >= deadline) {
                return Err(out_of_time(wait, &slots, now));
            }
            if listener.is_none() {
                drop(slots);
                listener = Some(self.wake_when_cancelled(wait.cancel));
                slots = self.lock();
                continue;
            }
            // If the time has passed already, only a change helps.
            let until = retry_at.filter(|retry_at| *retry_at > now);
            let until = until.into_iter().chain(deadline).chain(suspect_until).min();
            self.contended.notify_all();
            slots = match until {
                Some(until) => {
                    let left = until.saturating_duration_since(now);
                    let waited = self.changed.wait_timeout(slots, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(slots)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// When `wait` ends without a session. For a server that says nothing, that is when it has been
    /// silent for too long, but not before one attempt to connect could have succeeded.
    fn deadline(&self, wait: &LeaseWait<'_, S>, slots: &Slots<S>) -> Option<Instant> {
        let patience = wait.patience.filter(|_| wait.coming.is_none());
        let deadline = patience.map(|patience| wait.began + patience);
        let is_foreground = matches!(wait.request, LeaseRequest::Foreground { .. });
        let silence = self.rules.longest_silence().filter(|_| is_foreground);
        let silent = slots.silent_since(self.profile.last_heard()).zip(silence);
        let given_up = silent.map(|(since, silence)| {
            let attempted = wait.began + self.rules.connect_timeout;
            attempted.max(since + silence)
        });
        deadline.into_iter().chain(given_up).min()
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

fn out_of_time<S: PooledConnection>(
    wait: &LeaseWait<'_, S>,
    slots: &Slots<S>,
    now: Instant,
) -> Error {
    // A failed attempt to make one more session says nothing about the others.
    let away = slots.last_error().filter(|_| slots.stats().open == 0);
    match away {
        Some(error) => Error::Unavailable(error),
        None => Error::Exhausted(now.saturating_duration_since(wait.began)),
    }
}
