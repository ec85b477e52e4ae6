//! Retries: steps that are safe to repeat are repeated, others are verified first.
//!
//! A pooled session can fail unnoticed: its server closed it, or a NAT device dropped it. A failed
//! session is replaced and the step repeated. A step that may have changed something is repeated
//! only after a lookup showed that it did not. [`super::transience`] says what the other layers
//! repeat.

use std::sync::Arc;
use std::time::Duration;
use std::{io, thread};

use super::error::refusal;
use super::transience::{is_endless, is_lost, pause, transience};
use crate::cancel::{Cancel, CancelListener};
use crate::ftp::{self, Failed, Interrupter, Session, Transience};
use crate::pool::{self, Lease, Permit, Pool, Purpose};

/// Maximum number of attempts of a step.
const TRIES: u32 = 3;

/// An exchange with the server over one leased session at a time, which is replaced when it fails.
///
/// All steps of an operation share one exchange, so an operation never waits for a second session
/// while it holds the first.
#[derive(Debug)]
pub(super) struct Exchange<'pool> {
    pool: &'pool Pool,
    /// Ends the wait for the first session. An operation that has begun is completed.
    cancel: Cancel,
    /// Ends every step, too. Its session is closed.
    interrupt: Option<Cancel>,
    lease: Option<Lease>,
    /// The purpose for which the first session is leased.
    purpose: Purpose,
    /// Whether there is only the current session: no user waits for this work.
    is_spare: bool,
}

impl<'pool> Exchange<'pool> {
    /// Creates an exchange without a session. `cancel` ends the wait for its first one.
    pub(super) fn new(pool: &'pool Pool, cancel: Cancel) -> Self {
        Self {
            pool,
            cancel,
            interrupt: None,
            lease: None,
            purpose: Purpose::Command,
            is_spare: false,
        }
    }

    /// Creates an exchange without a session. `interrupt` ends all its waits, and no step begins
    /// afterwards.
    pub(super) fn interruptible(pool: &'pool Pool, interrupt: &Cancel) -> Self {
        Self {
            interrupt: Some(interrupt.clone()),
            ..Self::new(pool, interrupt.clone())
        }
    }

    /// Lets nothing end the following steps.
    pub(super) fn make_uninterruptible(&mut self) {
        (self.cancel, self.interrupt) = (Cancel::never(), None);
    }

    /// Creates an exchange without a session, whose first step is a listing.
    pub(super) fn to_list(pool: &'pool Pool, cancel: Cancel) -> Self {
        Self {
            purpose: Purpose::Transfer,
            ..Self::new(pool, cancel)
        }
    }

    /// Creates an exchange that continues with a session.
    pub(super) fn with(pool: &'pool Pool, lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            ..Self::new(pool, Cancel::never())
        }
    }

    /// Creates an exchange that uses only this session.
    pub(super) fn only(pool: &'pool Pool, lease: Lease) -> Self {
        Self {
            is_spare: true,
            ..Self::with(pool, lease)
        }
    }

    /// Returns the current session for further use.
    pub(super) fn into_lease(self) -> Option<Lease> {
        self.lease
    }

    /// Continues with this session, unless there is a current one.
    pub(super) fn resume_with(&mut self, lease: Option<Lease>) {
        if self.lease.is_none() {
            self.lease = lease;
        }
    }

    /// Leases a session, unless there is a current one.
    pub(super) fn ensure_session(&mut self, purpose: Purpose) -> Result<(), pool::Error> {
        self.lease = Some(self.lease_session(purpose)?);
        Ok(())
    }

    /// Runs a step once. The outer error means that there was no session and nothing was sent.
    fn run_once<T>(
        &mut self,
        step: impl FnOnce(&mut Session) -> Result<T, ftp::Error>,
    ) -> Result<Result<T, AttemptFailure>, pool::Error> {
        let mut lease = self.lease_session(self.purpose)?;
        let reused = lease.is_reused();
        let demotions = self.demotions();
        let listener = interruption(self.interrupt.as_ref(), || lease.interrupter());
        let outcome = step(&mut lease);
        drop(listener);
        // The listener of an interruption may still be about to close the connection.
        if lease.is_usable() && !self.is_interrupted() {
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

    /// Runs a step that can be repeated because it changes nothing, or has the same effect each
    /// time.
    pub(super) fn run_idempotent<T>(
        &mut self,
        mut step: impl FnMut(&mut Session) -> Result<T, ftp::Error>,
    ) -> Result<T, pool::Error> {
        let mut tries = 1;
        loop {
            match self.run_once(&mut step)? {
                Ok(done) => return Ok(done),
                Err(failure) if self.may_repeat(&failure, tries) => {
                    log::debug!("retrying: {}", failure.fault);
                    self.pool.health().count_retry();
                    thread::sleep(pause(tries));
                    tries += 1;
                }
                Err(failure) => return Err(failure.fault),
            }
        }
    }

    /// Starts a transfer that can be started again. With `RetryMode::Hard`, the layers above do
    /// that: an upload needs another name then, because vsftpd's earlier session may still lock it.
    pub(super) fn start_transfer<T>(
        &mut self,
        step: impl Fn(Session) -> Result<T, Box<Failed>>,
    ) -> Result<(T, Permit), pool::Error> {
        let mut tries = 1;
        loop {
            let lease = self.lease_session(Purpose::Transfer)?;
            let reused = lease.is_reused();
            let demotions = self.demotions();
            let interrupt = self.interrupt.as_ref();
            let started = lease.into_transfer(|session| {
                let listener = interruption(interrupt, || session.interrupter());
                let started = step(session);
                drop(listener);
                started.map_err(|mut failed| {
                    failed.session = failed.session.filter(|_| !self.is_interrupted());
                    failed
                })
            });
            let error = match started {
                Ok(started) => return Ok(started),
                Err(error) => error,
            };
            self.evict_idle(Some(&error), reused);
            let failure = AttemptFailure {
                fault: error.into(),
                reused,
                was_sent_ahead: self.demotions() != demotions,
            };
            if tries >= TRIES || !failure.may_pass() || self.is_interrupted() {
                return Err(failure.fault);
            }
            log::debug!("restarting the transfer: {}", failure.fault);
            self.pool.health().count_retry();
            tries += 1;
        }
    }

    /// Runs a change that must not run twice. If its session fails, `verify` finds out whether the
    /// change was made.
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
            let is_endless = self.is_endless(&failure);
            let fault = failure.fault;
            // A 202 means that nothing was done, but not all servers use it like that.
            let is_superfluous = refusal(&fault).is_some_and(|reply| reply.code().0 == 202);
            if !is_open && !is_superfluous {
                return Err(fault);
            }
            log::debug!("verifying a change after its reply was lost: {fault}");
            match verify(self) {
                ChangeOutcome::Done => return Ok(()),
                ChangeOutcome::NotDone if is_open && (tries < TRIES || is_endless) => {
                    self.pool.health().count_retry();
                    thread::sleep(pause(tries));
                    tries += 1;
                }
                ChangeOutcome::NotDone | ChangeOutcome::Unknown => return Err(fault),
            }
        }
    }

    /// Whether to repeat a step after this failure of the given attempt.
    fn may_repeat(&self, failure: &AttemptFailure, tries: u32) -> bool {
        let is_worth_it = tries < TRIES && failure.may_pass() || self.is_endless(failure);
        is_worth_it && !self.is_interrupted()
    }

    fn is_interrupted(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Cancel::is_cancelled)
    }

    fn is_endless(&self, failure: &AttemptFailure) -> bool {
        is_endless(self.pool.retry_mode(), transience(&failure.fault))
    }

    /// Returns the current session, or one from the pool.
    fn lease_session(&mut self, purpose: Purpose) -> Result<Lease, pool::Error> {
        if self.is_interrupted() {
            return Err(pool::Error::Cancelled);
        }
        if let Some(lease) = self.lease.take() {
            return Ok(lease);
        }
        if self.is_spare {
            return Err(pool::Error::Exhausted(Duration::ZERO));
        }
        let lease = self.pool.lease(purpose, &self.cancel)?;
        self.cancel = self.interrupt.clone().unwrap_or_default();
        Ok(lease)
    }

    /// Returns how often the server lost data that was sent ahead.
    fn demotions(&self) -> u32 {
        self.pool.profile().demotions()
    }

    /// Closes the other idle sessions after an idle one timed out, because each of them would cost
    /// the same wait.
    fn evict_idle(&self, error: Option<&ftp::Error>, reused: bool) {
        if reused && matches!(error, Some(ftp::Error::Timeout(_))) {
            self.pool.evict_idle();
        }
    }
}

/// Lets `interrupt` end what `interrupter` interrupts, until the returned listener is dropped.
pub(super) fn interruption(
    interrupt: Option<&Cancel>,
    interrupter: impl FnOnce() -> io::Result<Interrupter>,
) -> Option<CancelListener> {
    let interrupt = interrupt?;
    let interrupter = match interrupter() {
        Ok(interrupter) => Arc::new(interrupter),
        Err(error) => {
            // The deadlines end the wait.
            log::debug!("cannot make a step end early: {error}");
            return None;
        }
    };
    let other = Arc::clone(&interrupter);
    let listener = interrupt.on_cancel(move || other.interrupt());
    if interrupt.is_cancelled() {
        interrupter.interrupt();
    }
    Some(listener)
}

/// The result of a change whose session failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeOutcome {
    /// The change was made.
    Done,
    /// The change was not made and can be tried again.
    NotDone,
    /// Unknown.
    Unknown,
}

/// The failure of a step.
#[derive(Debug)]
struct AttemptFailure {
    fault: pool::Error,
    /// Whether the session had been idle before.
    reused: bool,
    /// Whether data sent ahead was found to be the cause; it is no longer sent ahead.
    was_sent_ahead: bool,
}

impl AttemptFailure {
    /// Whether the step may succeed when repeated. A new session that timed out will time out
    /// again.
    fn may_pass(&self) -> bool {
        self.was_sent_ahead
            || match transience(&self.fault) {
                Transience::Broken | Transience::Transfer => true,
                Transience::Silent => self.reused,
                Transience::Method
                | Transience::Later
                | Transience::Person
                | Transience::Permanent => false,
            }
    }
}
