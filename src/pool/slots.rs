//! Who has which place: the idle sessions, the queue, the counts. No thread and no clock of its
//! own: the moment is an argument.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::{Backoff, DialAdvice};
use super::connection::PooledConnection;
use super::limit::Limit;
use super::{Error, PoolStats, Purpose};
use crate::ftp::{self, Readiness, ServerProfile};

/// A place in the queue: the lower, the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct QueueTicket(u64);

/// A session nobody uses.
#[derive(Debug)]
pub(super) struct Idle<S> {
    pub(super) session: S,
    /// When it was last given back by a lease.
    pub(super) used: Instant,
    /// When the server last heard of it.
    heard: Instant,
}

/// What the holder of a ticket is to do.
pub(super) enum QueueTurn<S> {
    /// This session is yours if it still lives; else say [`Slots::vacate`].
    Take(S),
    /// Make a session, then say [`Slots::dialled`] or [`Slots::dial_failed`].
    Dial,
    /// Wait for a change, or until this moment.
    Wait(Option<Instant>),
    /// There will be none.
    Fail(Error),
}

/// What background work may have.
pub(super) enum SpareSlot<S> {
    /// This session, if it still lives; else say [`Slots::vacate`].
    Take(S),
    /// A new one; then say [`Slots::dialled`] or [`Slots::spare_dial_failed`].
    Dial,
}

/// What to do after a connection could not be made.
pub(super) enum AfterFailure {
    /// Queue again, at the same place.
    Queue,
    /// Tell the caller.
    Tell,
}

/// All places, idle, leased or being made.
#[derive(Debug)]
pub(super) struct Slots<S> {
    /// In the order of their last use; taken from the back, so that surplus ages at the front.
    idle: VecDeque<Idle<S>>,
    /// Sessions that exist or are being made.
    open: usize,
    /// Of these, the ones being made.
    dialling: usize,
    /// Of these, the idle ones that are looked after and come back at once.
    checked_out: usize,
    queue: BTreeSet<QueueTicket>,
    next_ticket: u64,
    limit: Limit,
    backoff: Backoff,
    closed: bool,
}

impl<S: PooledConnection> Slots<S> {
    /// One idle session and room for up to `allowed`, or for what `profile` knows that the server
    /// allows.
    pub(super) fn new(allowed: usize, profile: ServerProfile, first: S, now: Instant) -> Self {
        let mut slots = Self {
            idle: VecDeque::new(),
            open: 1,
            dialling: 0,
            checked_out: 0,
            queue: BTreeSet::new(),
            next_ticket: 0,
            limit: Limit::new(allowed, profile, now),
            backoff: Backoff::default(),
            closed: false,
        };
        slots.rest(first, now, now);
        slots
    }

    /// Takes the last place in the queue.
    pub(super) fn queue(&mut self) -> QueueTicket {
        let ticket = QueueTicket(self.next_ticket);
        self.next_ticket += 1;
        self.queue.insert(ticket);
        ticket
    }

    /// Leaves the queue.
    pub(super) fn leave(&mut self, ticket: QueueTicket) {
        self.queue.remove(&ticket);
    }

    /// What `ticket`'s holder is to do now. After [`QueueTurn::Dial`] the ticket has left the
    /// queue.
    pub(super) fn turn(
        &mut self,
        ticket: QueueTicket,
        purpose: Purpose,
        now: Instant,
    ) -> QueueTurn<S> {
        if self.closed {
            return QueueTurn::Fail(Error::Closed);
        }
        if self.queue.first() != Some(&ticket) {
            return QueueTurn::Wait(None);
        }
        if let Some(session) = self.fittest(purpose) {
            return QueueTurn::Take(session);
        }
        if self.checked_out > 0 {
            return QueueTurn::Wait(None);
        }
        if self.open >= self.limit.at(now) {
            return QueueTurn::Wait(self.limit.next_try());
        }
        match self.backoff.advice(now, self.dialling, self.established()) {
            DialAdvice::Dial => {
                self.leave(ticket);
                self.open += 1;
                self.dialling += 1;
                QueueTurn::Dial
            }
            DialAdvice::WaitUntil(moment) => QueueTurn::Wait(Some(moment)),
            DialAdvice::WaitForOutcome => QueueTurn::Wait(None),
            DialAdvice::GiveUp(error) => QueueTurn::Fail(Error::Session(error)),
        }
    }

    /// What may be had by background work: an idle session beside another one, or a new
    /// one; nothing while somebody waits, and never the last place.
    pub(super) fn spare(&mut self, now: Instant) -> Option<SpareSlot<S>> {
        let limit = self.limit.known();
        let busy = self.open.saturating_sub(self.idle.len() + self.checked_out);
        if self.closed || !self.queue.is_empty() || busy + 1 >= limit {
            return None;
        }
        if self.idle.len() > 1 {
            return self.second_fittest().map(SpareSlot::Take);
        }
        // The only idle session is left to whoever comes next: a new one would cost them a login.
        let advice = self.backoff.advice(now, self.dialling, self.established());
        if self.open >= limit || self.checked_out > 0 || !matches!(advice, DialAdvice::Dial) {
            return None;
        }
        self.open += 1;
        self.dialling += 1;
        Some(SpareSlot::Dial)
    }

    /// Takes out the idle session that suits a transfer best but for one, which is left to whoever
    /// comes next.
    fn second_fittest(&mut self) -> Option<S> {
        let mut order: Vec<usize> = (0..self.idle.len()).rev().collect();
        order.sort_by_key(|at| {
            let readiness = self.idle.get(*at).map(|idle| idle.session.readiness());
            std::cmp::Reverse(readiness)
        });
        self.idle.remove(*order.get(1)?).map(|idle| idle.session)
    }

    /// The session of [`SpareSlot::Dial`] could not be made.
    pub(super) fn spare_dial_failed(&mut self, error: &Arc<ftp::Error>, now: Instant) {
        self.not_dialled(error, now);
    }

    /// Takes out the idle session that suits best, of those the last one used: a transfer wants the
    /// data connection that a command has no use for.
    fn fittest(&mut self, purpose: Purpose) -> Option<S> {
        let readiness = |idle: &Idle<S>| idle.session.readiness();
        let at = match purpose {
            Purpose::Transfer => {
                let best = self.idle.iter().map(readiness).max()?;
                self.idle.iter().rposition(|idle| readiness(idle) == best)
            }
            Purpose::Command => self
                .idle
                .iter()
                .rposition(|idle| readiness(idle) != Readiness::Armed)
                .or(self.idle.len().checked_sub(1)),
        };
        self.idle.remove(at?).map(|idle| idle.session)
    }

    /// Takes out the idle sessions whose data connections are on their way, for a moment that must
    /// not be a wait.
    pub(super) fn check_out_coming(&mut self) -> Vec<Idle<S>> {
        self.check_out(|session| session.readiness() == Readiness::Coming)
    }

    /// Takes out the idle sessions whose data connections wait for long, for a moment that must not
    /// be a wait.
    pub(super) fn check_out_old(&mut self) -> Vec<Idle<S>> {
        self.check_out(S::has_old_arm)
    }

    fn check_out(&mut self, is_meant: impl Fn(&S) -> bool) -> Vec<Idle<S>> {
        let (out, stay) = std::mem::take(&mut self.idle)
            .into_iter()
            .partition::<Vec<_>, _>(|idle| is_meant(&idle.session));
        self.idle = stay.into();
        self.checked_out += out.len();
        out
    }

    /// Puts back what was taken for a moment, as if it had not been away; what is broken or too
    /// many is handed back.
    pub(super) fn check_in(&mut self, idle: Idle<S>) -> Option<S> {
        self.checked_out -= 1;
        if !idle.session.is_usable() {
            self.vacate();
            return Some(idle.session);
        }
        self.rest(idle.session, idle.used, idle.heard)
    }

    /// Whether one more session is worth making beside those that still open their data
    /// connections: one asker after the other is faster than they are. Then it is counted:
    /// [`Slots::dialled`] or [`Slots::spare_failed`] must follow.
    pub(super) fn take_spare(&mut self, most: usize, now: Instant) -> bool {
        self.dialling == 0 && self.take_one_of(most, now)
    }

    /// Whether one more session is to be made, where there are to be `most` soon. Then it is
    /// counted as by [`Slots::take_spare`].
    pub(super) fn take_one_of(&mut self, most: usize, now: Instant) -> bool {
        let advice = |slots: &mut Self| {
            let established = slots.established();
            slots.backoff.advice(now, slots.dialling, established)
        };
        let is_wanted = !self.closed
            && self.open < most.min(self.limit.at(now))
            && matches!(advice(self), DialAdvice::Dial);
        if is_wanted {
            self.open += 1;
            self.dialling += 1;
        }
        is_wanted
    }

    /// The session of [`Slots::take_spare`] could not be made.
    pub(super) fn spare_failed(&mut self, error: &Arc<ftp::Error>, now: Instant) {
        self.not_dialled(error, now);
    }

    /// The session of [`QueueTurn::Dial`] was made.
    pub(super) fn dialled(&mut self, now: Instant) {
        self.dialling -= 1;
        self.backoff.succeeded();
        self.limit.grew(now, self.established());
    }

    /// The session of [`QueueTurn::Dial`] could not be made. While other sessions live, or where
    /// the server is only full, its asker goes back to its place in the queue: a session may come
    /// back.
    pub(super) fn dial_failed(
        &mut self,
        ticket: QueueTicket,
        error: &Arc<ftp::Error>,
        now: Instant,
    ) -> AfterFailure {
        let may_come_back = self.not_dialled(error, now);
        if self.closed || !may_come_back {
            return AfterFailure::Tell;
        }
        self.queue.insert(ticket);
        AfterFailure::Queue
    }

    /// Notes that a session could not be made; whether another may come back.
    fn not_dialled(&mut self, error: &Arc<ftp::Error>, now: Instant) -> bool {
        self.dialling -= 1;
        self.open -= 1;
        let established = self.established();
        let full = match **error {
            ftp::Error::TooManySessions(_) => true,
            // The same login has worked: it is their number that the server refuses.
            _ => established > 0 && error.is_refused_login(),
        };
        if full {
            self.limit.refused(now, established);
        }
        if !full || established == 0 {
            self.backoff.failed(now, Arc::clone(error));
        }
        full || established > 0
    }

    /// A leased session is gone.
    pub(super) fn vacate(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// A session comes back, last used at `used`, heard of at `now`. Handed back where the pool is
    /// closed: its place is free.
    pub(super) fn rest(&mut self, session: S, used: Instant, now: Instant) -> Option<S> {
        if self.closed {
            self.vacate();
            return Some(session);
        }
        let at = self.idle.partition_point(|other| other.used <= used);
        self.idle.insert(
            at,
            Idle {
                session,
                used,
                heard: now,
            },
        );
        None
    }

    /// Takes out the idle sessions that nobody used for `age`; their places are free.
    pub(super) fn take_surplus(&mut self, age: Duration, now: Instant) -> Vec<S> {
        let surplus = self
            .idle
            .partition_point(|idle| now.saturating_duration_since(idle.used) >= age);
        self.open = self.open.saturating_sub(surplus);
        self.idle
            .drain(..surplus)
            .map(|idle| idle.session)
            .collect()
    }

    /// Takes out one idle session that the server did not hear of for `silence`; its place stays
    /// taken.
    pub(super) fn take_silent(&mut self, silence: Duration, now: Instant) -> Option<Idle<S>> {
        let at = self
            .idle
            .iter()
            .position(|idle| now.saturating_duration_since(idle.heard) >= silence)?;
        self.idle.remove(at)
    }

    /// Takes out all idle sessions; their places are free.
    pub(super) fn take_idle(&mut self) -> Vec<S> {
        self.take_surplus(Duration::ZERO, Instant::now())
    }

    /// Refuses from now on.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Why the last connection could not be made, where none was made since.
    pub(super) fn last_error(&self) -> Option<Arc<ftp::Error>> {
        self.backoff.last_error()
    }

    pub(super) fn stats(&self) -> PoolStats {
        PoolStats {
            open: self.established(),
            leased: self
                .established()
                .saturating_sub(self.idle.len() + self.checked_out),
            armed: self
                .idle
                .iter()
                .filter(|idle| idle.session.readiness() == Readiness::Armed)
                .count(),
            limit: self.limit.known(),
        }
    }

    /// Whether somebody waits while every session is in use and none is being made.
    pub(super) fn is_contended(&self) -> bool {
        !self.queue.is_empty() && self.idle.is_empty() && self.dialling == 0 && !self.closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    fn established(&self) -> usize {
        self.open.saturating_sub(self.dialling)
    }
}
