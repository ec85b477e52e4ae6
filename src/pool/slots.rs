//! The bookkeeping of the pool: the idle sessions, the counts and the queue. It has no lock, thread
//! or clock; the time is an argument.
//!
//! A session is being made, leased, idle, or checked out by maintenance. Each method moves sessions
//! from one of these states to another. Every session in one of them occupies a slot, and the
//! [limit](Limit) bounds the slots.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, DialAdvice};
use super::connection::PooledConnection;
use super::idle::{IdleList, IdleSession};
use super::limit::Limit;
use super::{Error, PoolStats, Purpose};
use crate::ftp::{self, ServerProfile};

/// A position in the queue; a lower one is served earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueTicket(u64);

/// A request for a session, by priority.
#[derive(Debug, Clone, Copy)]
pub(super) enum LeaseRequest {
    /// A caller waits for the session. Such requests are served in the order of the queue.
    Foreground {
        ticket: QueueTicket,
        purpose: Purpose,
    },
    /// Background work, which transfers. It gets what the foreground does not need.
    Background,
}

/// The way to a session.
pub(super) enum Grant<S> {
    /// An idle session, leased from now on. The server may have closed it.
    Idle(S),
    /// A slot for a new session.
    Dial(Reservation),
}

/// The reason why a request gets no session.
pub(super) enum Denial {
    /// The request can succeed after a change, or at this time.
    Wait(Option<Instant>),
    /// The request cannot succeed.
    Fail(Error),
}

/// A slot whose session is being made. [`Slots::connected`], [`Slots::failed`] or
/// [`Slots::abandoned`] ends it.
#[derive(Debug)]
#[must_use]
pub(super) struct Reservation {
    /// Where the request stood in the queue.
    ticket: Option<QueueTicket>,
}

impl Reservation {
    fn into_ticket(self) -> Option<QueueTicket> {
        self.ticket
    }
}

/// All slots of a pool.
#[derive(Debug)]
pub(super) struct Slots<S> {
    idle: IdleList<S>,
    /// Idle sessions in the hands of maintenance, which returns them without waiting for the
    /// server.
    checked_out: usize,
    leased: usize,
    /// Sessions that are being made.
    dialling: usize,
    queue: BTreeSet<QueueTicket>,
    next_ticket: u64,
    limit: Limit,
    backoff: Backoff,
    is_closed: bool,
}

impl<S: PooledConnection> Slots<S> {
    /// Holds one idle session. The limit is `allowed`, or less if `profile` remembers that the
    /// server allows less.
    pub(super) fn new(allowed: usize, profile: ServerProfile, first: S, now: Instant) -> Self {
        let mut idle = IdleList::new();
        idle.insert(IdleSession::new(first, now));
        Self {
            idle,
            checked_out: 0,
            leased: 0,
            dialling: 0,
            queue: BTreeSet::new(),
            next_ticket: 0,
            limit: Limit::new(allowed, profile, now),
            backoff: Backoff::default(),
            is_closed: false,
        }
    }

    /// Joins the queue at its end.
    pub(super) fn enqueue(&mut self) -> QueueTicket {
        let ticket = QueueTicket(self.next_ticket);
        self.next_ticket += 1;
        self.queue.insert(ticket);
        ticket
    }

    /// Leaves the queue.
    pub(super) fn dequeue(&mut self, ticket: QueueTicket) {
        self.queue.remove(&ticket);
    }

    /// Serves `request`. After [`Grant::Dial`], its ticket is no longer in the queue.
    pub(super) fn grant(
        &mut self,
        request: LeaseRequest,
        now: Instant,
    ) -> Result<Grant<S>, Denial> {
        if self.is_closed {
            return Err(Denial::Fail(Error::Closed));
        }
        match request {
            LeaseRequest::Foreground { ticket, purpose } => self.foreground(ticket, purpose, now),
            LeaseRequest::Background => self.background(now).ok_or(Denial::Wait(None)),
        }
    }

    fn foreground(
        &mut self,
        ticket: QueueTicket,
        purpose: Purpose,
        now: Instant,
    ) -> Result<Grant<S>, Denial> {
        if self.queue.first() != Some(&ticket) {
            return Err(Denial::Wait(None));
        }
        if let Some(session) = self.idle.take_best(purpose) {
            self.leased += 1;
            return Ok(Grant::Idle(session));
        }
        if self.checked_out > 0 {
            return Err(Denial::Wait(None));
        }
        if self.occupied() >= self.limit.at(now) {
            return Err(Denial::Wait(self.limit.next_try()));
        }
        match self.dial_advice(now) {
            DialAdvice::Dial => {
                self.dequeue(ticket);
                Ok(Grant::Dial(self.reserve(Some(ticket))))
            }
            DialAdvice::WaitUntil(moment) => Err(Denial::Wait(Some(moment))),
            DialAdvice::WaitForOutcome => Err(Denial::Wait(None)),
            DialAdvice::GiveUp(error) => Err(Denial::Fail(Error::Session(error))),
        }
    }

    /// Leaves one slot and the best idle session to the foreground: a login would delay the next
    /// operation. Grants nothing while an operation is in the queue.
    fn background(&mut self, now: Instant) -> Option<Grant<S>> {
        let limit = self.limit.known();
        if !self.queue.is_empty() || self.leased + self.dialling + 1 >= limit {
            return None;
        }
        if self.idle.len() > 1 {
            let session = self.idle.take_second_best_for_transfer()?;
            self.leased += 1;
            return Some(Grant::Idle(session));
        }
        if self.checked_out > 0 {
            return None;
        }
        self.reserve_up_to(limit, now).map(Grant::Dial)
    }

    /// Reserves a slot for growth, if fewer than `sessions` slots are occupied.
    pub(super) fn reserve_up_to(&mut self, sessions: usize, now: Instant) -> Option<Reservation> {
        let may_dial = !self.is_closed
            && self.occupied() < sessions.min(self.limit.at(now))
            && matches!(self.dial_advice(now), DialAdvice::Dial);
        may_dial.then(|| self.reserve(None))
    }

    /// Like [`Slots::reserve_up_to`], unless a session is being made already.
    pub(super) fn reserve_one_up_to(
        &mut self,
        sessions: usize,
        now: Instant,
    ) -> Option<Reservation> {
        if self.dialling > 0 {
            return None;
        }
        self.reserve_up_to(sessions, now)
    }

    fn reserve(&mut self, ticket: Option<QueueTicket>) -> Reservation {
        self.dialling += 1;
        Reservation { ticket }
    }

    /// Ends a reservation: its session exists, and is leased.
    pub(super) fn connected(&mut self, reservation: Reservation, now: Instant) {
        self.abandoned(reservation);
        self.leased += 1;
        self.backoff.succeeded();
        self.limit.grew(now, self.established());
    }

    /// Ends a reservation: its session could not be made. Returns whether its request is back at
    /// its position in the queue, because a session may become idle: one exists, or the server is
    /// only full.
    pub(super) fn failed(
        &mut self,
        reservation: Reservation,
        error: &Arc<ftp::Error>,
        now: Instant,
    ) -> bool {
        let ticket = self.abandoned(reservation);
        let established = self.established();
        let is_full = match **error {
            ftp::Error::TooManySessions(_) => true,
            // The same login has worked, so the server refuses the number of sessions.
            _ => established > 0 && error.is_refused_login(),
        };
        if is_full {
            self.limit.refused(now, established);
        }
        if !is_full || established == 0 {
            self.backoff.failed(now, Arc::clone(error));
        }
        let can_wait = !self.is_closed && (is_full || established > 0);
        ticket.is_some_and(|ticket| can_wait && self.queue.insert(ticket))
    }

    /// Ends a reservation without an outcome.
    pub(super) fn abandoned(&mut self, reservation: Reservation) -> Option<QueueTicket> {
        self.dialling = self.dialling.saturating_sub(1);
        reservation.into_ticket()
    }

    /// Frees the slot of a leased session.
    pub(super) fn vacate(&mut self) {
        self.leased = self.leased.saturating_sub(1);
    }

    /// Makes a leased session idle. Returns it, and frees its slot, if the pool is closed.
    pub(super) fn give_back(&mut self, idle: IdleSession<S>) -> Option<S> {
        self.vacate();
        self.insert(idle)
    }

    /// Takes out the idle sessions that `is_meant` selects, for work that does not wait.
    /// [`Slots::check_in`] returns each.
    pub(super) fn check_out(&mut self, is_meant: impl Fn(&S) -> bool) -> Vec<IdleSession<S>> {
        let selected = self.idle.take_if(is_meant);
        self.checked_out += selected.len();
        selected
    }

    /// Makes a checked out session idle. Returns it, and frees its slot, if it broke or the pool is
    /// closed.
    pub(super) fn check_in(&mut self, idle: IdleSession<S>) -> Option<S> {
        self.checked_out = self.checked_out.saturating_sub(1);
        if idle.session.is_usable() {
            self.insert(idle)
        } else {
            Some(idle.session)
        }
    }

    /// Leases an idle session that the server has not answered on for `silence`.
    pub(super) fn lease_silent(
        &mut self,
        silence: Duration,
        now: Instant,
    ) -> Option<IdleSession<S>> {
        let idle = self.idle.take_silent(silence, now)?;
        self.leased += 1;
        Some(idle)
    }

    /// Removes the idle sessions that were not used for `age`.
    pub(super) fn evict_unused(&mut self, age: Duration, now: Instant) -> Vec<IdleSession<S>> {
        self.idle.take_unused(age, now)
    }

    /// Removes all idle sessions.
    pub(super) fn evict_idle(&mut self) -> Vec<IdleSession<S>> {
        self.idle.take_all()
    }

    /// Refuses all requests from now on. Removes the idle sessions.
    pub(super) fn close(&mut self) -> Vec<IdleSession<S>> {
        self.is_closed = true;
        self.evict_idle()
    }

    /// Why the last session could not be made, unless one was made since.
    pub(super) fn last_error(&self) -> Option<Arc<ftp::Error>> {
        self.backoff.last_error()
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            open: self.established(),
            leased: self.leased,
            armed: self.idle.armed(),
            limit: self.limit.known(),
        }
    }

    /// Whether an operation waits while every session is leased and none is being made.
    pub(super) fn is_contended(&self) -> bool {
        !self.queue.is_empty() && self.idle.is_empty() && self.dialling == 0 && !self.is_closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn insert(&mut self, idle: IdleSession<S>) -> Option<S> {
        if self.is_closed {
            return Some(idle.session);
        }
        self.idle.insert(idle);
        None
    }

    fn dial_advice(&self, now: Instant) -> DialAdvice {
        self.backoff.advice(now, self.dialling, self.established())
    }

    /// Sessions that exist.
    fn established(&self) -> usize {
        self.idle.len() + self.checked_out + self.leased
    }

    /// Sessions that exist or are being made.
    fn occupied(&self) -> usize {
        self.established() + self.dialling
    }
}
