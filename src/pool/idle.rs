//! The idle sessions of a pool, and which of them suits a lease.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::mem;
use std::time::{Duration, Instant};

use super::Purpose;
use super::connection::PooledConnection;
use crate::ftp::Readiness;

/// How long an unused session counts as new. Later its connection may be dead without a sign.
const NEW: Duration = Duration::from_secs(1);

/// A session that is not leased.
#[derive(Debug)]
pub(super) struct IdleSession<S> {
    pub(super) session: S,
    /// When a lease last gave it back.
    pub(super) last_used: Instant,
    /// When the server last answered on it.
    pub(super) last_heard: Instant,
    /// Whether no lease has used it yet.
    pub(super) is_unused: bool,
}

impl<S> IdleSession<S> {
    /// A session that was used until now.
    pub(super) fn new(session: S, now: Instant) -> Self {
        Self {
            session,
            last_used: now,
            last_heard: now,
            is_unused: false,
        }
    }

    /// A session that was made now.
    pub(super) fn made(session: S, now: Instant) -> Self {
        Self {
            is_unused: true,
            ..Self::new(session, now)
        }
    }

    /// Whether the session was made just now and nothing has used it.
    pub(super) fn is_new(&self, now: Instant) -> bool {
        self.is_unused && now.saturating_duration_since(self.last_used) < NEW
    }
}

/// Idle sessions in the order of their last use. Of equally good sessions a lease gets the one used
/// last, so that surplus sessions age at the front.
#[derive(Debug)]
pub(super) struct IdleList<S>(VecDeque<IdleSession<S>>);

impl<S: PooledConnection> IdleList<S> {
    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many have a prepared data connection.
    pub(super) fn armed(&self) -> usize {
        let is_armed = |idle: &&IdleSession<S>| idle.session.readiness() == Readiness::Armed;
        self.0.iter().filter(is_armed).count()
    }

    pub(super) fn insert(&mut self, idle: IdleSession<S>) {
        let at = self
            .0
            .partition_point(|other| other.last_used <= idle.last_used);
        self.0.insert(at, idle);
    }

    /// Removes the session that suits best. A transfer wants a prepared data connection, for which
    /// a command has no use.
    pub(super) fn take_best(&mut self, purpose: Purpose) -> Option<IdleSession<S>> {
        let readiness = |idle: &IdleSession<S>| idle.session.readiness();
        let at = match purpose {
            Purpose::Transfer => {
                let best = self.0.iter().map(readiness).max()?;
                self.0.iter().rposition(|idle| readiness(idle) == best)
            }
            Purpose::Command => self
                .0
                .iter()
                .rposition(|idle| readiness(idle) != Readiness::Armed)
                .or(self.0.len().checked_sub(1)),
        };
        self.0.remove(at?)
    }

    /// Removes the session that suits a transfer best after the best one.
    pub(super) fn take_second_best_for_transfer(&mut self) -> Option<IdleSession<S>> {
        let mut order: Vec<_> = self.0.iter().enumerate().rev().collect();
        order.sort_by_key(|(_, idle)| Reverse(idle.session.readiness()));
        let (at, _) = *order.get(1)?;
        self.0.remove(at)
    }

    /// Removes a session that the server has not answered on for `silence`.
    pub(super) fn take_silent(
        &mut self,
        silence: Duration,
        now: Instant,
    ) -> Option<IdleSession<S>> {
        let is_silent =
            |idle: &IdleSession<S>| now.saturating_duration_since(idle.last_heard) >= silence;
        let at = self.0.iter().position(is_silent)?;
        self.0.remove(at)
    }

    /// Removes the sessions that were not used for `age`.
    pub(super) fn take_unused(&mut self, age: Duration, now: Instant) -> Vec<IdleSession<S>> {
        let unused = self
            .0
            .partition_point(|idle| now.saturating_duration_since(idle.last_used) >= age);
        self.0.drain(..unused).collect()
    }

    /// Removes the sessions that `is_meant` selects.
    pub(super) fn take_if(&mut self, is_meant: impl Fn(&S) -> bool) -> Vec<IdleSession<S>> {
        let (selected, others) = self
            .take_all()
            .into_iter()
            .partition(|idle| is_meant(&idle.session));
        self.0 = VecDeque::from(others);
        selected
    }

    /// Removes all sessions.
    pub(super) fn take_all(&mut self) -> Vec<IdleSession<S>> {
        mem::take(&mut self.0).into()
    }
}
