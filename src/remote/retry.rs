//! What is safe to repeat is repeated, what is not is first verified.
//!
//! A pooled session can die unseen: its server closed it, a NAT box forgot it. So one that breaks
//! is replaced and the step repeated; a step that may have changed something is repeated only after
//! a look at the server showed that it did not.

use std::time::Duration;

use super::error::refusal;
use crate::ftp::{self, Failed, ProxyProblem, Session};
use crate::pool::{self, Lease, Permit, Pool, Purpose};

/// How often a step is tried.
const TRIES: usize = 3;

/// A conversation with the server over one leased session at a time, replaced when it breaks.
///
/// All steps of an operation share one, so that an operation never waits for a second session while
/// it holds the first.
#[derive(Debug)]
pub(super) struct Exchange<'pool> {
    pool: &'pool Pool,
    lease: Option<Lease>,
    /// What a session is first leased for.
    purpose: Purpose,
    /// There is no session after the one in hand: nobody waits for what is done.
    is_spare: bool,
}

impl<'pool> Exchange<'pool> {
    /// With no session yet.
    pub(super) fn new(pool: &'pool Pool) -> Self {
        Self {
            pool,
            lease: None,
            purpose: Purpose::Command,
            is_spare: false,
        }
    }

    /// With no session yet, to begin with a listing.
    pub(super) fn to_list(pool: &'pool Pool) -> Self {
        Self {
            purpose: Purpose::Transfer,
            ..Self::new(pool)
        }
    }

    /// Going on with a session.
    pub(super) fn with(pool: &'pool Pool, lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..Self::new(pool)
        }
    }

    /// With this session or none.
    pub(super) fn only(pool: &'pool Pool, lease: Lease) -> Self {
        Self {
            is_spare: true,
            ..Self::with(pool, lease)
        }
    }

    /// The session in hand, for what comes after.
    pub(super) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// Goes on with this session, where there is none in hand.
    pub(super) fn resume_with(&mut self, lease: Option<Lease>) {
        if self.lease.is_none() {
            self.lease = lease;
        }
    }

    /// Takes a session, where there is none in hand.
    pub(super) fn ensure_session(&mut self) -> Result<(), pool::Error> {
        self.lease = Some(self.lease_session(Purpose::Command)?);
        Ok(())
    }

    /// Runs a step once. The outer error is that there was no session: nothing was sent.
    fn run_once<T>(
        &mut self,
        step: impl FnOnce(&mut Session) -> Result<T, ftp::Error>,
    ) -> Result<Result<T, AttemptFailure>, pool::Error> {
        let mut lease = self.lease_session(self.purpose)?;
        let reused = lease.is_reused();
        let demotions = self.demotions();
        let outcome = step(&mut lease);
        if lease.is_usable() {
            self.lease = Some(lease);
        } else {
            drop(lease);
            self.evict_idle(outcome.as_ref().err(), reused);
        }
        Ok(outcome.map_err(|error| AttemptFailure {
            fault: error.into(),
            reused,
            was_sent_ahead: self.demotions() != demotions,
        }))
    }

    /// Runs a step that may be run again: it changes nothing, or to the same end.
    pub(super) fn run_idempotent<T>(
        &mut self,
        mut step: impl FnMut(&mut Session) -> Result<T, ftp::Error>,
    ) -> Result<T, pool::Error> {
        let mut tries = 1;
        loop {
            match self.run_once(&mut step)? {
                Ok(done) => return Ok(done),
                Err(failure) if tries < TRIES && failure.may_pass() => {
                    log::debug!("trying again: {}", failure.fault);
                    tries += 1;
                }
                Err(failure) => return Err(failure.fault),
            }
        }
    }

    /// Starts a transfer that may be started again.
    pub(super) fn start_transfer<T>(
        &mut self,
        step: impl Fn(Session) -> Result<T, Box<Failed>>,
    ) -> Result<(T, Permit), pool::Error> {
        let mut tries = 1;
        loop {
            let lease = self.lease_session(Purpose::Transfer)?;
            let reused = lease.is_reused();
            let demotions = self.demotions();
            let error = match lease.into_transfer(&step) {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            self.evict_idle(Some(&error), reused);
            let failure = AttemptFailure {
                fault: error.into(),
                reused,
                was_sent_ahead: self.demotions() != demotions,
            };
            if tries >= TRIES || !failure.may_pass() {
                return Err(failure.fault);
            }
            log::debug!("starting the transfer again: {}", failure.fault);
            tries += 1;
        }
    }

    /// Runs a change that must not be run twice; where its session broke, `verify` finds out what
    /// became of it.
    pub(super) fn run_verified(
        &mut self,
        mut step: impl FnMut(&mut Session) -> Result<(), ftp::Error>,
        mut verify: impl FnMut(&mut Self) -> ChangeOutcome,
    ) -> Result<(), pool::Error> {
        let mut tries = 1;
        loop {
            let failure = match self.run_once(&mut step)? {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let is_open = failure.was_sent_ahead || is_lost(&failure.fault);
            let fault = failure.fault;
            // A 202 means that nothing was done, and not all servers mean it.
            let is_superfluous = refusal(&fault).is_some_and(|reply| reply.code().0 == 202);
            if !is_open && !is_superfluous {
                return Err(fault);
            }
            log::debug!("looking what became of a change that was not answered: {fault}");
            match verify(self) {
                ChangeOutcome::Done => return Ok(()),
                ChangeOutcome::NotDone if tries < TRIES && is_open => tries += 1,
                ChangeOutcome::NotDone | ChangeOutcome::Unknown => return Err(fault),
            }
        }
    }

    /// The session in hand, or one from the pool. A server that restarts refuses for a moment: the
    /// pool spaces these tries.
    fn lease_session(&mut self, purpose: Purpose) -> Result<Lease, pool::Error> {
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        if self.is_spare {
            return Err(pool::Error::Exhausted(Duration::ZERO));
        }
        let mut tries = 1;
        loop {
            match self.pool.lease(purpose) {
                Err(fault) if tries < TRIES && is_lost(&fault) && !is_silence(&fault) => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// How often the server lost what is sent ahead of its turn.
    fn demotions(&self) -> u32 {
        self.pool.profile().demotions()
    }

    /// After a session that had been idle met only silence, the other idle ones would cost the same
    /// wait each.
    fn evict_idle(&self, error: Option<&ftp::Error>, reused: bool) {
        if reused && matches!(error, Some(ftp::Error::Timeout(_))) {
            self.pool.evict_idle();
        }
    }
}

/// What became of a change whose session broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeOutcome {
    /// It was made.
    Done,
    /// It was not: it can be tried again.
    NotDone,
    /// Nobody can tell.
    Unknown,
}

/// Whether the session broke, so that what the server did is not known.
pub(super) fn is_lost(fault: &pool::Error) -> bool {
    let pool::Error::Session(error) = fault else {
        return false;
    };
    match &**error {
        ftp::Error::Io { .. }
        | ftp::Error::Closed(_)
        | ftp::Error::Timeout(_)
        | ftp::Error::NoCloseNotify
        | ftp::Error::OutOfStep(_)
        | ftp::Error::Connect { .. } => true,
        ftp::Error::Proxy { problem, .. } => problem.may_pass(),
        ftp::Error::Refused { reply, .. } => reply.code().0 == 421,
        ftp::Error::Resolve { .. }
        | ftp::Error::NoTransfer { .. }
        | ftp::Error::ListingTooLarge(_)
        | ftp::Error::ActiveByProxy
        | ftp::Error::Login(_)
        | ftp::Error::TooManySessions(_)
        | ftp::Error::TlsRefused { .. }
        | ftp::Error::TlsDemanded { .. }
        | ftp::Error::PlaintextInjected
        | ftp::Error::Certificate(_)
        | ftp::Error::Tls(_)
        | ftp::Error::NotTls
        | ftp::Error::Malformed { .. }
        | ftp::Error::TooLong { .. }
        | ftp::Error::TooSlow(_)
        | ftp::Error::Path(_)
        | ftp::Error::Unrepresentable(_)
        | ftp::Error::LocalFile(_) => false,
    }
}

/// A step's failure.
#[derive(Debug)]
struct AttemptFailure {
    fault: pool::Error,
    /// Whether its session had been idle before.
    reused: bool,
    /// What was sent ahead is seen to be the cause, and is not sent ahead any more.
    was_sent_ahead: bool,
}

impl AttemptFailure {
    /// Whether the step may go better another time. A new session that met silence will meet it
    /// again; a data connection that could not be made or broke (425, 426) need not.
    fn may_pass(&self) -> bool {
        if refusal(&self.fault).is_some_and(|reply| matches!(reply.code().0, 425 | 426)) {
            return true;
        }
        if self.was_sent_ahead {
            return true;
        }
        is_lost(&self.fault) && (self.reused || !is_silence(&self.fault))
    }
}

/// Whether the server did not answer within the longest wait.
pub(super) fn is_silence(fault: &pool::Error) -> bool {
    let pool::Error::Session(error) = fault else {
        return false;
    };
    matches!(
        **error,
        ftp::Error::Timeout(_)
            | ftp::Error::Proxy {
                problem: ProxyProblem::Slow,
                ..
            }
    )
}
