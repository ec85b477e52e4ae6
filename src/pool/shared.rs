//! The slots behind their lock.

use std::convert::Infallible;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use scopeguard::guard;

use super::connection::PooledConnection;
use super::idle::IdleSession;
use super::slots::{Reservation, Slots};
use super::waker::Waker;
use super::{PoolStats, RetryMode};
use crate::ftp::{self, Readiness, ServerProfile};

/// Makes a session.
pub(super) type Dial<S> = Box<dyn Fn() -> Result<S, ftp::Error> + Send + Sync>;

/// What to do when a server that was given up can be reached again.
pub(super) type OnReturn = Arc<dyn Fn() + Send + Sync>;

/// The options of a pool, without those of its sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) connections: usize,
    pub(super) idle: Duration,
    pub(super) keep_alive: Duration,
    pub(super) lease_timeout: Duration,
    pub(super) retry: RetryMode,
    /// Longest wait for a reply.
    pub(super) timeout: Duration,
    /// Longest wait for a connection.
    pub(super) connect_timeout: Duration,
    /// Whether requests fail immediately while the server cannot be reached.
    pub(super) works_offline: bool,
}

impl Rules {
    /// How long the server may be away before requests fail; `None` for ever.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.within(self.timeout)
    }

    /// Longest wait of a foreground request while other sessions exist.
    pub(super) fn lease_timeout(&self) -> Option<Duration> {
        self.within(self.lease_timeout)
    }

    /// Longest silence of the server before requests fail: a reply that does not come, and one
    /// attempt to connect again.
    pub(super) fn longest_silence(&self) -> Option<Duration> {
        self.within(self.timeout + self.connect_timeout)
    }

    fn within(&self, limit: Duration) -> Option<Duration> {
        match self.retry {
            RetryMode::Soft => Some(limit),
            RetryMode::Hard => None,
        }
    }
}

/// The part of a pool that its handles, leases and threads share.
pub(super) struct PoolShared<S: PooledConnection> {
    pub(super) rules: Rules,
    pub(super) dial: Dial<S>,
    pub(super) profile: ServerProfile,
    /// While it is held, no other lock is taken and no session sends or waits.
    slots: Mutex<Slots<S>>,
    /// A slot or a session became free, a session was made or could not be made, or the queue
    /// moved.
    pub(super) changed: Condvar,
    /// A request begins to wait, or the pool closes.
    pub(super) contended: Condvar,
    /// `None` if the data dialer cannot be woken.
    pub(super) waker: Option<Waker>,
    /// `None` if there is no monitor, or it cannot be woken.
    pub(super) monitor: OnceLock<Waker>,
    /// Are called when a server that was given up can be reached again.
    on_return: Mutex<Vec<OnReturn>>,
    /// Whether the monitor waits until there is a lease.
    pub(super) is_monitor_resting: AtomicBool,
    /// The maintenance thread ends when this is dropped.
    _life: Sender<Infallible>,
}

impl<S: PooledConnection> PoolShared<S> {
    /// Starts without a session.
    pub(super) fn new(
        rules: Rules,
        profile: ServerProfile,
        dial: Dial<S>,
        waker: Option<Waker>,
        life: Sender<Infallible>,
    ) -> Arc<Self> {
        let patience = rules.patience();
        let slots = Slots::new(
            rules.connections,
            profile.clone(),
            patience,
            rules.works_offline,
            Instant::now(),
        );
        Arc::new(Self {
            rules,
            dial,
            profile,
            slots: Mutex::new(slots),
            changed: Condvar::new(),
            contended: Condvar::new(),
            waker,
            monitor: OnceLock::new(),
            on_return: Mutex::default(),
            is_monitor_resting: AtomicBool::new(false),
            _life: life,
        })
    }

    /// See [`super::Pool::when_back`].
    pub(super) fn when_back(&self, on_return: OnReturn) {
        self.on_return().push(on_return);
    }

    /// Does what waits for a server that was given up and can be reached again.
    pub(super) fn returned(&self) {
        let all = self.on_return().clone();
        for on_return in all {
            on_return();
        }
    }

    fn on_return(&self) -> MutexGuard<'_, Vec<OnReturn>> {
        self.on_return
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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

    /// Makes a session idle that was made just now for `reservation`.
    pub(super) fn add(&self, reservation: Reservation, session: S) {
        let is_coming = session.readiness() == Readiness::Coming;
        let now = Instant::now();
        let idle = IdleSession::made(session, now);
        let refused = self.lock().connected_idle(reservation, idle, now);
        self.changed.notify_all();
        drop(refused);
        if is_coming {
            self.wake_data_dialer();
        }
    }

    /// Adds the first session, which was made without a slot.
    pub(super) fn insert(&self, session: S) {
        self.lock()
            .insert_first(IdleSession::made(session, Instant::now()));
        self.wake_data_dialer();
    }

    /// Makes a leased session idle.
    pub(super) fn make_idle(&self, idle: IdleSession<S>) {
        let refused = self.lock().give_back(idle, Instant::now());
        self.changed.notify_all();
        drop(refused);
    }

    /// Frees the slot of a leased session.
    pub(super) fn vacate(&self) {
        self.lock().vacate(Instant::now());
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

    /// Tells all waiting requests and the monitor that the server was given up.
    pub(super) fn gave_up(&self, idle: Vec<IdleSession<S>>) {
        self.changed.notify_all();
        self.wake_monitor();
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
