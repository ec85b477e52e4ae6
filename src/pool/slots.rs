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
use super::connectivity::{Connectivity, OfflineStatus, no_answer};
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
        /// [`Slots::failures`] when the request was made.
        failures: u64,
    },
    /// Background work, which transfers. It gets what the foreground does not need.
    Background {
        /// Whether it may make a session.
        may_dial: bool,
        /// Whether it also gets the last idle session where no other can be made.
        is_brief: bool,
    },
}

/// The way to a session.
pub(super) enum Grant<S> {
    /// An idle session, leased from now on. The server may have closed it.
    Idle(IdleSession<S>),
    /// A slot for a new session. The session of a foreground request becomes idle, and the request
    /// stays in the queue.
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
    began: Instant,
    /// Whether the session becomes idle, instead of being leased to the request that makes it.
    becomes_idle: bool,
}

/// How long there may be no request and no lease within one stretch of work. A transfer that broke
/// has no lease for a moment until it is resumed.
const INTERRUPTION: Duration = Duration::from_secs(1);

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
    /// Those of them that become idle.
    coming: usize,
    /// Those made for background requests that got another session meanwhile. They become idle.
    unclaimed: usize,
    queue: BTreeSet<QueueTicket>,
    /// Since when there were requests or leases, without an interruption of [`INTERRUPTION`].
    busy_since: Instant,
    /// When the last of them ended.
    busy_until: Instant,
    next_ticket: u64,
    limit: Limit,
    backoff: Backoff,
    /// `None` unless requests fail immediately while the server cannot be reached.
    connectivity: Option<Connectivity>,
    is_closed: bool,
}

impl<S: PooledConnection> Slots<S> {
    /// Holds no session. The limit is `allowed`, or less if `profile` remembers that the server
    /// allows less. A server may be away for `patience` before requests fail, or for ever if it is
    /// `None`. With `works_offline`, they fail as soon as it is given up.
    pub(super) fn new(
        allowed: usize,
        profile: ServerProfile,
        patience: Option<Duration>,
        works_offline: bool,
        now: Instant,
    ) -> Self {
        Self {
            idle: IdleList::new(),
            checked_out: 0,
            leased: 0,
            dialling: 0,
            coming: 0,
            unclaimed: 0,
            queue: BTreeSet::new(),
            busy_since: now,
            busy_until: now,
            next_ticket: 0,
            limit: Limit::new(allowed, profile, now),
            backoff: Backoff::new(patience),
            connectivity: works_offline.then(Connectivity::new),
            is_closed: false,
        }
    }

    /// Joins the queue at its end.
    pub(super) fn enqueue(&mut self, now: Instant) -> QueueTicket {
        let is_at_work = self.leased + self.dialling + self.queue.len() > 0;
        if !is_at_work && now.saturating_duration_since(self.busy_until) > INTERRUPTION {
            self.busy_since = now;
        }
        let ticket = QueueTicket(self.next_ticket);
        self.next_ticket += 1;
        self.queue.insert(ticket);
        ticket
    }

    /// Leaves the queue.
    pub(super) fn dequeue(&mut self, ticket: QueueTicket, now: Instant) {
        self.queue.remove(&ticket);
        self.busy_until = now;
    }

    /// Number of attempts to make a session that ever failed.
    pub(super) fn failures(&self) -> u64 {
        self.backoff.failures()
    }

    /// Since when requests wait for a server that says nothing, if it was last heard at
    /// `last_heard`; `None` while it has sessions or says that it is full.
    pub(super) fn silent_since(&self, last_heard: Instant) -> Option<Instant> {
        let error = self.backoff.last_error();
        let is_full = error.is_some_and(|it| matches!(*it, ftp::Error::TooManySessions(_)));
        (self.established() == 0 && !is_full).then(|| last_heard.max(self.busy_since))
    }

    /// Serves `request`.
    pub(super) fn grant(
        &mut self,
        request: LeaseRequest,
        now: Instant,
    ) -> Result<Grant<S>, Denial> {
        if self.is_closed {
            return Err(Denial::Fail(Error::Closed));
        }
        if let Some(error) = self.given_up() {
            return Err(Denial::Fail(Error::Offline(error)));
        }
        match request {
            LeaseRequest::Foreground {
                ticket,
                purpose,
                failures,
            } => self.foreground(ticket, purpose, failures, now),
            LeaseRequest::Background { may_dial, is_brief } => {
                let mut granted = self.background(may_dial, now);
                if granted.is_none() && is_brief {
                    granted = self.last_idle(now);
                }
                granted.ok_or(Denial::Wait(None))
            }
        }
    }

    fn foreground(
        &mut self,
        ticket: QueueTicket,
        purpose: Purpose,
        failures: u64,
        now: Instant,
    ) -> Result<Grant<S>, Denial> {
        let ahead = self.queue.range(..ticket).count();
        if ahead == 0
            && let Some(idle) = self.idle.take_best(purpose)
        {
            self.leased += 1;
            return Ok(Grant::Idle(idle));
        }
        // Each request ahead gets one of these sessions, and this one the next.
        let soon_idle = self.checked_out + self.coming + self.unclaimed;
        if self.idle.len() + soon_idle > ahead {
            return Err(Denial::Wait(None));
        }
        if self.occupied() >= self.limit.at(now) {
            return Err(Denial::Wait(self.limit.next_try()));
        }
        match self.dial_advice(now, failures) {
            DialAdvice::Dial => Ok(Grant::Dial(self.reserve(true, now))),
            DialAdvice::WaitUntil(moment) => Err(Denial::Wait(Some(moment))),
            DialAdvice::WaitForOutcome => Err(Denial::Wait(None)),
            DialAdvice::GiveUp(error) => Err(Denial::Fail(Error::Unavailable(error))),
        }
    }

    /// Leaves one slot and the best idle session to the foreground: a login would delay the next
    /// operation. Grants nothing while an operation is in the queue.
    fn background(&mut self, may_dial: bool, now: Instant) -> Option<Grant<S>> {
        let limit = self.limit.known();
        // The session that is made for this request comes in place of the idle one.
        let dialling = self.dialling - usize::from(!may_dial).min(self.dialling);
        if !self.queue.is_empty() || self.leased + dialling + 1 >= limit {
            return None;
        }
        if self.idle.len() > 1 {
            let idle = self.idle.take_second_best_for_transfer()?;
            self.leased += 1;
            return Some(Grant::Idle(idle));
        }
        if self.checked_out + self.unclaimed > 0 {
            return None;
        }
        let may_dial = may_dial && self.may_grow_to(limit, now);
        may_dial.then(|| Grant::Dial(self.reserve(false, now)))
    }

    /// Leases the last idle session where all others are in use and no other can be made.
    fn last_idle(&mut self, now: Instant) -> Option<Grant<S>> {
        let is_last = self.idle.len() == 1 && self.occupied() >= self.limit.at(now);
        if !is_last || self.leased == 0 || !self.queue.is_empty() {
            return None;
        }
        let idle = self.idle.take_best(Purpose::Transfer)?;
        self.leased += 1;
        Some(Grant::Idle(idle))
    }

    /// Reserves a slot for growth, if fewer than `sessions` slots are occupied.
    pub(super) fn reserve_up_to(&mut self, sessions: usize, now: Instant) -> Option<Reservation> {
        self.may_grow_to(sessions, now)
            .then(|| self.reserve(true, now))
    }

    fn may_grow_to(&self, sessions: usize, now: Instant) -> bool {
        !self.is_closed
            && self.given_up().is_none()
            && self.occupied() < sessions.min(self.limit.at(now))
            && matches!(
                self.dial_advice(now, self.backoff.failures()),
                DialAdvice::Dial
            )
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

    fn reserve(&mut self, becomes_idle: bool, now: Instant) -> Reservation {
        if self.occupied() == 0
            && let Some(connectivity) = &mut self.connectivity
        {
            connectivity.dialling(now);
        }
        self.dialling += 1;
        self.coming += usize::from(becomes_idle);
        Reservation {
            began: now,
            becomes_idle,
        }
    }

    /// The request for which a session is being made has got another one.
    pub(super) fn leave_unclaimed(&mut self) {
        self.unclaimed += 1;
    }

    /// A session that was [left](Self::leave_unclaimed) was made, or could not be.
    pub(super) fn unclaimed_ended(&mut self) {
        self.unclaimed = self.unclaimed.saturating_sub(1);
    }

    /// Ends a reservation: its session exists, and is leased.
    pub(super) fn connected(&mut self, reservation: Reservation, now: Instant) {
        let took = now.saturating_duration_since(reservation.began);
        self.abandoned(reservation);
        self.leased += 1;
        self.backoff.succeeded();
        if let Some(connectivity) = &mut self.connectivity {
            connectivity.logged_in(took);
        }
        self.limit.grew(now, self.established());
    }

    /// Ends a reservation: its session exists, and is idle. Returns it if the pool is closed.
    pub(super) fn connected_idle(
        &mut self,
        reservation: Reservation,
        idle: IdleSession<S>,
        now: Instant,
    ) -> Option<S> {
        self.connected(reservation, now);
        self.give_back(idle, now)
    }

    /// Ends a reservation: its session could not be made.
    pub(super) fn failed(
        &mut self,
        reservation: Reservation,
        error: &Arc<ftp::Error>,
        now: Instant,
    ) {
        let began = reservation.began;
        self.abandoned(reservation);
        let established = self.established();
        let is_full = match **error {
            ftp::Error::TooManySessions(_) => true,
            // The same login has worked, so the server refuses the number of sessions.
            _ => established > 0 && error.is_refused_login(),
        };
        if is_full {
            self.limit.refused(now, established);
        }
        // Leases of a server that was given up may end late.
        if (established == 0 || self.given_up().is_some())
            && let Some(connectivity) = &mut self.connectivity
        {
            connectivity.failed(error, now);
        }
        if !is_full || established == 0 {
            self.backoff
                .failed(began, now, established, Arc::clone(error));
        }
    }

    /// Reserves a slot for a probe, if one is due: a login that finds out whether the server can be
    /// reached again.
    pub(super) fn reserve_probe(&mut self, now: Instant) -> Option<Reservation> {
        let is_due = self.next_probe().is_some_and(|moment| moment <= now);
        if self.is_closed || !is_due || self.dialling > 0 {
            return None;
        }
        if let Some(connectivity) = &mut self.connectivity {
            connectivity.begin_probe(now);
        }
        Some(self.reserve(true, now))
    }

    /// When the next probe is due; `None` unless the server is given up.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.connectivity.as_ref()?.next_probe()
    }

    /// Makes a probe due soon, if the server is given up: the network has changed.
    pub(super) fn network_changed(&mut self, now: Instant) {
        if let Some(connectivity) = &mut self.connectivity {
            connectivity.network_changed(now);
        }
    }

    /// Never gives the server up from now on: nothing would look for it.
    pub(super) fn stay_online(&mut self) {
        self.connectivity = None;
    }

    /// How often a server that was given up was found again.
    pub(super) fn returns(&self) -> u64 {
        self.connectivity.as_ref().map_or(0, Connectivity::returns)
    }

    /// Whether the server was looked for just now and not found.
    pub(super) fn was_just_missed(&self, now: Instant) -> bool {
        let connectivity = self.connectivity.as_ref();
        connectivity.is_some_and(|connectivity| connectivity.was_just_missed(now))
    }

    /// Makes a probe due, if the server is given up.
    pub(super) fn expedite_probe(&mut self, now: Instant) {
        if let Some(connectivity) = &mut self.connectivity {
            connectivity.expedite(now);
        }
    }

    /// Gives up the server, which does not answer. Removes the idle sessions.
    pub(super) fn give_up(&mut self, now: Instant) -> Vec<IdleSession<S>> {
        let error = self.backoff.last_error().unwrap_or_else(no_answer);
        match &mut self.connectivity {
            Some(connectivity) => {
                connectivity.give_up(&error, now);
                self.evict_idle()
            }
            None => Vec::new(),
        }
    }

    /// Gives up the server, which could not be reached because of `error`.
    pub(super) fn begin_offline(&mut self, error: &Arc<ftp::Error>, now: Instant) {
        if let Some(connectivity) = &mut self.connectivity {
            connectivity.give_up(error, now);
        }
    }

    /// When requests stop waiting for a server that was last heard at `last_heard`, unless it
    /// answers; `None` if they wait as long as they may.
    pub(super) fn suspect_until(&self, last_heard: Instant) -> Option<Instant> {
        self.connectivity.as_ref()?.deadline(last_heard)
    }

    /// Why there is no server, and since when.
    pub(super) fn offline(&self, now: Instant) -> Option<OfflineStatus> {
        self.connectivity.as_ref()?.status(now)
    }

    /// Since when leases wait for a server that was last heard at `last_heard`; `None` without a
    /// lease.
    pub(super) fn leases_wait_since(&self, last_heard: Instant) -> Option<Instant> {
        (self.leased > 0).then(|| last_heard.max(self.busy_since))
    }

    /// Why the server was given up, if it was.
    pub(super) fn given_up(&self) -> Option<Arc<ftp::Error>> {
        self.connectivity.as_ref()?.given_up()
    }

    /// Ends a reservation without an outcome.
    #[expect(clippy::needless_pass_by_value, reason = "the reservation has ended")]
    pub(super) fn abandoned(&mut self, reservation: Reservation) {
        let coming = usize::from(reservation.becomes_idle);
        self.dialling = self.dialling.saturating_sub(1);
        self.coming = self.coming.saturating_sub(coming);
    }

    /// Adds an idle session that was made without a reservation.
    pub(super) fn insert_first(&mut self, idle: IdleSession<S>) {
        self.idle.insert(idle);
    }

    /// Frees the slot of a leased session.
    pub(super) fn vacate(&mut self, now: Instant) {
        self.leased = self.leased.saturating_sub(1);
        self.busy_until = now;
    }

    /// Makes a leased session idle. Returns it, and frees its slot, if the pool is closed.
    pub(super) fn give_back(&mut self, idle: IdleSession<S>, now: Instant) -> Option<S> {
        self.vacate(now);
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

    fn dial_advice(&self, now: Instant, failures: u64) -> DialAdvice {
        self.backoff
            .advice(now, failures, self.dialling, self.established())
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
