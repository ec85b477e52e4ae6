//! The places behind their lock, and the waiting for them.

use std::convert::Infallible;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::connection::PooledConnection;
use super::data_dialer::Waker;
use super::lease::{Lease, Permit};
use super::slots::{AfterFailure, Idle, QueueTicket, QueueTurn, Slots, SpareSlot};
use super::{Error, PoolStats, Purpose, data_dialer, maintenance};
use crate::ftp::{self, Readiness, ServerProfile, Watch};

/// Most sessions made for transfers that follow one another faster than data connections are
/// opened: one at work, and the two round trips of EPSV and connecting beside it.
const MOST_FOR_THROUGHPUT: usize = 3;
/// After its last use, a session's data connection is renewed for so long.
const RENEWAL_WINDOW: Duration = Duration::from_secs(120);

/// Makes a session.
pub(super) type Dial<S> = Box<dyn Fn() -> Result<S, ftp::Error> + Send + Sync>;

/// The options that are not about how to connect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) connections: usize,
    pub(super) idle: Duration,
    pub(super) keep_alive: Duration,
    pub(super) lease_timeout: Duration,
}

impl Rules {
    pub(super) fn new(
        connections: usize,
        idle: Duration,
        keep_alive: Duration,
        lease_timeout: Duration,
    ) -> Self {
        Self {
            connections,
            idle,
            keep_alive,
            lease_timeout,
        }
    }
}

/// What all handles of a pool share.
pub(super) struct PoolShared<S: PooledConnection> {
    rules: Rules,
    dial: Dial<S>,
    /// Taken alone, never while a session speaks or while another lock is taken.
    slots: Mutex<Slots<S>>,
    /// A place or a session was freed, a connection was made or failed, the queue moved.
    changed: Condvar,
    /// An asker begins to wait, or the pool is closed.
    contended: Condvar,
    /// The armourer's; none where there is no armourer.
    waker: Option<Waker>,
    /// The housekeeper hears this end drop.
    _life: Sender<Infallible>,
}

impl<S: PooledConnection> PoolShared<S> {
    /// With its first session, and a housekeeper.
    pub(super) fn new(rules: Rules, profile: ServerProfile, dial: Dial<S>, first: S) -> Arc<Self> {
        let (life, ended) = mpsc::channel();
        let (waker, heard) =
            data_dialer::waker().map_or((None, None), |it| (Some(it.0), Some(it.1)));
        let shared = Arc::new(Self {
            rules,
            dial,
            slots: Mutex::new(Slots::new(
                rules.connections,
                profile,
                first,
                Instant::now(),
            )),
            changed: Condvar::new(),
            contended: Condvar::new(),
            waker,
            _life: life,
        });
        let armourer = heard.map(|heard| data_dialer::start(&shared, heard));
        if !matches!(armourer, Some(Ok(()))) {
            log::warn!(
                "data connections will not be opened ahead: no thread for them: {armourer:?}"
            );
        }
        if let Err(error) = maintenance::start(&shared, ended) {
            log::warn!("idle connections will not be kept alive: no thread: {error}");
        }
        shared
    }

    /// See [`super::Pool::lease`].
    pub(super) fn lease(self: &Arc<Self>, purpose: Purpose) -> Result<Lease<S>, Error> {
        let deadline = Instant::now() + self.rules.lease_timeout;
        let ticket = self.lock().queue();
        let mut queued = Queued {
            shared: self,
            ticket,
            purpose,
        };
        loop {
            match queued.wait_for_turn(deadline)? {
                Chance::Idle(session) => {
                    let mut lease = Lease::new(session, true, self.permit());
                    if lease.is_idle_healthy() {
                        self.grow_for_throughput(purpose, &lease);
                        return Ok(lease);
                    }
                    log::debug!("an idle connection was closed by the server");
                    lease.discard();
                }
                Chance::New => {
                    if let Some(session) = queued.dial()? {
                        return Ok(Lease::new(session, false, self.permit()));
                    }
                }
            }
        }
    }

    /// See [`super::Pool::background_lease`].
    pub(super) fn background_lease(self: &Arc<Self>, patience: Duration) -> Option<Lease<S>> {
        let deadline = Instant::now() + patience;
        loop {
            match self.wait_for_spare(deadline)? {
                SpareSlot::Take(session) => {
                    let mut lease = Lease::new(session, true, self.permit());
                    if lease.is_idle_healthy() {
                        return Some(lease);
                    }
                    lease.discard();
                }
                SpareSlot::Dial => {
                    let session = self.dial_spare()?;
                    return Some(Lease::new(session, false, self.permit()));
                }
            }
        }
    }

    fn wait_for_spare(&self, deadline: Instant) -> Option<SpareSlot<S>> {
        let mut slots = self.lock();
        loop {
            let now = Instant::now();
            if let Some(spare) = slots.spare(now) {
                return Some(spare);
            }
            if now >= deadline || slots.is_closed() {
                return None;
            }
            slots = self
                .changed
                .wait_timeout(slots, deadline.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn dial_spare(&self) -> Option<S> {
        let outcome = (self.dial)();
        let now = Instant::now();
        let mut slots = self.lock();
        let session = match outcome {
            Ok(session) => {
                slots.dialled(now);
                Some(session)
            }
            Err(error) => {
                log::debug!("cannot open another connection to work ahead: {error}");
                slots.spare_dial_failed(&Arc::new(error), now);
                None
            }
        };
        drop(slots);
        self.changed.notify_all();
        session
    }

    /// A session comes back from a lease or a transfer.
    pub(super) fn give_back(&self, mut session: S) {
        session.arm();
        if session.is_usable() {
            let (now, is_coming) = (Instant::now(), session.readiness() == Readiness::Coming);
            let unwanted = self.lock().rest(session, now, now);
            self.changed.notify_all();
            drop(unwanted);
            self.wake_data_dialer(is_coming);
        } else {
            self.vacate();
            drop(session);
        }
    }

    /// A leased session is gone.
    pub(super) fn vacate(&self) {
        self.lock().vacate();
        self.changed.notify_all();
    }

    /// Does for the data connections that idle sessions asked for what can be done now; what is
    /// waited for then.
    pub(super) fn advance(&self) -> Vec<Watch> {
        let coming = self.lock().check_out_coming();
        let mut watches = Vec::new();
        for mut idle in coming {
            idle.session.advance();
            watches.extend(idle.session.watch());
            self.check_in(idle);
        }
        watches
    }

    /// Renews data connections that wait for long, or closes them where nothing was transferred
    /// lately.
    fn maintain_data(&self) {
        let old = self.lock().check_out_old();
        for mut idle in old {
            let is_worth_it = idle.used.elapsed() < RENEWAL_WINDOW;
            idle.session.replace_arm(is_worth_it);
            self.check_in(idle);
            self.wake_data_dialer(is_worth_it);
        }
    }

    fn check_in(&self, idle: Idle<S>) {
        let unwanted = self.lock().check_in(idle);
        self.changed.notify_all();
        if let Some(unwanted) = unwanted {
            // The pool was closed meanwhile, or the session broke, which leaves nothing to say.
            unwanted.quit();
        }
    }

    /// Has the armourer look at the idle sessions, where one's data connection is coming. Without
    /// an armourer whoever leases the session waits for the rest.
    fn wake_data_dialer(&self, is_coming: bool) {
        if let Some(waker) = self.waker.as_ref().filter(|_| is_coming) {
            waker.wake();
        }
    }

    /// A transfer that has to wait for its data connection shows that transfers follow one another
    /// faster than those are made: one more session makes them in turn.
    fn grow_for_throughput(self: &Arc<Self>, purpose: Purpose, session: &S) {
        if purpose != Purpose::Transfer || session.readiness() != Readiness::Coming {
            return;
        }
        if self.lock().take_spare(MOST_FOR_THROUGHPUT, Instant::now()) {
            self.start_spare();
        }
    }

    /// See [`super::Pool::expect`].
    pub(super) fn grow_to(self: &Arc<Self>, most: usize) {
        while self.lock().take_one_of(most, Instant::now()) {
            if !self.start_spare() {
                return;
            }
        }
    }

    /// Has a session made that was counted; whether there is a thread for it.
    fn start_spare(self: &Arc<Self>) -> bool {
        let Err(error) = data_dialer::start_spare(self) else {
            return true;
        };
        let error = Arc::new(ftp::Error::LocalFile(error));
        self.lock().spare_failed(&error, Instant::now());
        false
    }

    /// Makes the session of [`Slots::take_spare`].
    pub(super) fn make_spare(&self) {
        let outcome = (self.dial)();
        let now = Instant::now();
        match outcome {
            Ok(session) => {
                self.lock().dialled(now);
                self.give_back(session);
            }
            Err(error) => {
                log::debug!("cannot open another connection: {error}");
                self.lock().spare_failed(&Arc::new(error), now);
                self.changed.notify_all();
            }
        }
    }

    /// Closes the sessions nobody used for long, and asks the others for a sign of life.
    pub(super) fn maintain(&self) {
        let surplus = self.lock().take_surplus(self.rules.idle, Instant::now());
        self.changed.notify_all();
        surplus.into_iter().for_each(PooledConnection::quit);
        self.maintain_data();
        loop {
            let silent = self
                .lock()
                .take_silent(self.rules.keep_alive, Instant::now());
            let Some(mut idle) = silent else { return };
            // A refusal is a sign of life, too.
            let answer = idle.session.noop();
            if idle.session.is_usable() {
                let unwanted = self.lock().rest(idle.session, idle.used, Instant::now());
                self.changed.notify_all();
                drop(unwanted);
            } else {
                log::debug!("an idle connection did not outlive a NOOP: {answer:?}");
                self.vacate();
            }
        }
    }

    /// How often the housekeeper looks: often enough that neither age is overrun by more than a
    /// quarter.
    pub(super) fn maintenance_interval(&self) -> Duration {
        let shorter = self.rules.idle.min(self.rules.keep_alive);
        (shorter / 4).clamp(Duration::from_millis(10), Duration::from_secs(10))
    }

    /// See [`super::Pool::evict_idle`].
    pub(super) fn evict_idle(&self) {
        let idle = self.lock().take_idle();
        self.changed.notify_all();
        drop(idle);
    }

    /// See [`super::Pool::close`]. The goodbyes are said side by side: a dead server costs one
    /// deadline, not one each.
    pub(super) fn close(&self) {
        let idle = {
            let mut slots = self.lock();
            slots.close();
            slots.take_idle()
        };
        self.changed.notify_all();
        self.contended.notify_all();
        thread::scope(|scope| {
            for session in idle {
                scope.spawn(move || session.quit());
            }
        });
    }

    pub(super) fn stats(&self) -> PoolStats {
        self.lock().stats()
    }

    /// See [`super::Pool::wait_until_contended`].
    pub(super) fn wait_until_contended(&self, patience: Duration) -> bool {
        let plenty = |slots: &mut Slots<S>| !slots.is_contended() && !slots.is_closed();
        let waited = self
            .contended
            .wait_timeout_while(self.lock(), patience, plenty);
        waited
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .is_contended()
    }

    /// How many askers wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting()
    }

    fn permit(self: &Arc<Self>) -> Permit<S> {
        Permit::new(Arc::clone(self))
    }

    /// A panic of another holder leaves counts, at worst one place short; they stay usable.
    fn lock(&self) -> MutexGuard<'_, Slots<S>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn that came.
enum Chance<S> {
    Idle(S),
    New,
}

/// A ticket that leaves the queue with its holder, however that ends.
struct Queued<'pool, S: PooledConnection> {
    shared: &'pool PoolShared<S>,
    ticket: QueueTicket,
    purpose: Purpose,
}

impl<S: PooledConnection> Queued<'_, S> {
    fn wait_for_turn(&mut self, deadline: Instant) -> Result<Chance<S>, Error> {
        let mut slots = self.shared.lock();
        loop {
            let now = Instant::now();
            let until = match slots.turn(self.ticket, self.purpose, now) {
                QueueTurn::Take(session) => return Ok(Chance::Idle(session)),
                QueueTurn::Dial => {
                    // The next in the queue may find room, too.
                    self.shared.changed.notify_all();
                    return Ok(Chance::New);
                }
                QueueTurn::Fail(error) => return Err(error),
                QueueTurn::Wait(_) if now >= deadline => {
                    return Err(slots.last_error().map_or(
                        Error::Exhausted(self.shared.rules.lease_timeout),
                        Error::Session,
                    ));
                }
                // A moment already passed means nothing is due: only a change can help.
                QueueTurn::Wait(moment) => moment
                    .filter(|moment| *moment > now)
                    .map_or(deadline, |moment| moment.min(deadline)),
            };
            self.shared.contended.notify_all();
            slots = self
                .shared
                .changed
                .wait_timeout(slots, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// A new session; none where the asker queues again.
    fn dial(&mut self) -> Result<Option<S>, Error> {
        let outcome = (self.shared.dial)();
        let now = Instant::now();
        let mut slots = self.shared.lock();
        let result = match outcome {
            Ok(session) => {
                slots.dialled(now);
                Ok(Some(session))
            }
            Err(error) => {
                log::debug!("cannot open another connection: {error}");
                let error = Arc::new(error);
                match slots.dial_failed(self.ticket, &error, now) {
                    AfterFailure::Queue => Ok(None),
                    AfterFailure::Tell => Err(Error::Session(error)),
                }
            }
        };
        drop(slots);
        self.shared.changed.notify_all();
        result
    }
}

impl<S: PooledConnection> Drop for Queued<'_, S> {
    fn drop(&mut self) {
        self.shared.lock().leave(self.ticket);
        self.shared.changed.notify_all();
    }
}
