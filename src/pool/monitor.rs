//! The monitor of a pool that works offline: a thread that notices when the server can no longer be
//! reached, looks for it until it is back, and ends connections that the network has lost.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::PooledConnection;
use super::dial::Slot;
use super::network_changes::NetworkChanges;
use super::shared::PoolShared;
use super::waker::waker;
use crate::guarded;
use crate::sys::slept;

/// How long leases wait without a sign of the server before it is probed. Doubles with each probe
/// that is answered, because the server is slow then and not away.
const SILENCE: Duration = Duration::from_secs(5);
/// Longest such wait.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// How long a probe waits for an answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
/// Interval of the rounds while there are leases.
const ROUND: Duration = Duration::from_secs(1);
/// Interval of the rounds otherwise. Network changes and events of the pool end it early.
const RESTING_ROUND: Duration = Duration::from_secs(30);
/// Shortest sleep of the machine after which its connections are not trusted.
const SLEEP: Duration = Duration::from_secs(10);

/// What the monitor needs of the network. The functions may wait for it.
pub(super) struct Network {
    /// Whether the server, or its machine, answers on a new connection within the time.
    pub(super) answers: Box<dyn Fn(Duration) -> bool + Send + Sync>,
    /// Time since the server's machine last sent something on any connection, if only that it has
    /// received what was sent; `None` without a connection.
    pub(super) last_sign: Box<dyn Fn() -> Option<Duration> + Send + Sync>,
    /// Ends all connections, so that the threads that wait for them fail.
    pub(super) end_all: Box<dyn Fn() + Send + Sync>,
    /// Ends the connections whose local address is gone, and returns their number.
    pub(super) end_lost: Box<dyn Fn() -> usize + Send + Sync>,
}

/// What the monitor knows from its last round.
struct Rounds {
    network: Network,
    changes: Option<NetworkChanges>,
    silence: SilenceWatch,
    sleep: SleepWatch,
    was_offline: bool,
    /// How often the server had been found again.
    returns: u64,
}

/// How long the machine had slept since it was started, at the last round.
#[derive(Debug)]
struct SleepWatch(Duration);

impl SleepWatch {
    /// Whether the machine has slept since the last round, if it has slept for `slept` by now.
    fn has_slept(&mut self, slept: Duration) -> bool {
        let before = std::mem::replace(&mut self.0, slept);
        slept.saturating_sub(before) >= SLEEP
    }
}

/// When to probe a server on which leases wait. Pure: the time is an argument.
#[derive(Debug)]
struct SilenceWatch {
    /// The last time that something was heard before the last probe.
    heard: Option<Instant>,
    patience: Duration,
}

impl SilenceWatch {
    fn new() -> Self {
        Self {
            heard: None,
            patience: SILENCE,
        }
    }

    /// Returns the time until a probe of a server on which leases wait `since` then.
    fn left(&mut self, since: Instant, now: Instant) -> Duration {
        if self.heard.is_some_and(|heard| heard != since) {
            *self = Self::new();
        }
        self.patience
            .saturating_sub(now.saturating_duration_since(since))
    }

    /// Notes that a probe was answered while leases waited `since` then.
    fn answered(&mut self, since: Instant) {
        self.heard = Some(since);
        self.patience = (self.patience * 2).min(LONGEST_SILENCE);
    }
}

/// Starts the monitor. It holds no handle of the pool while it waits, and ends with it.
pub(super) fn start<S: PooledConnection>(
    shared: &Arc<PoolShared<S>>,
    network: Network,
) -> io::Result<()> {
    let (waker, mut woken) = waker()?;
    let _ = shared.monitor.set(waker);
    let changes = NetworkChanges::new()
        .inspect_err(|error| log::debug!("changes of the network are not seen: {error}"))
        .ok();
    let mut rounds = Rounds {
        network,
        changes,
        silence: SilenceWatch::new(),
        sleep: SleepWatch(slept()),
        was_offline: false,
        returns: 0,
    };
    let pool = Arc::downgrade(shared);
    let run = move || {
        while let Some(shared) = Weak::upgrade(&pool) {
            let round = guarded::catch("a look at the network", || rounds.look(&shared));
            drop(shared);
            wait(
                &woken,
                rounds.changes.as_ref(),
                round.unwrap_or(RESTING_ROUND),
            );
            // The next round serves all calls of the waker so far.
            if woken.read(&mut [0; 64]).is_ok_and(|count| count == 0) {
                return;
            }
        }
    };
    guarded::spawn("ftpfs-monitor", run).map(drop)
}

impl Rounds {
    /// Does what is due. Returns the time until the next round.
    fn look<S: PooledConnection>(&mut self, shared: &Arc<PoolShared<S>>) -> Duration {
        if self.changes.as_ref().is_some_and(NetworkChanges::take) {
            let lost = (self.network.end_lost)();
            if lost > 0 {
                log::debug!("{lost} connections have lost their local address");
                shared.evict_idle();
            }
            shared.lock().network_changed(Instant::now());
        }
        if self.sleep.has_slept(slept()) {
            log::debug!("this machine has slept; its connections are made again");
            shared.evict_idle();
            shared.lock().expedite_probe(Instant::now());
        }
        if let Some(reservation) = { shared.lock().reserve_probe(Instant::now()) } {
            Slot::new(shared, reservation).dial_to_idle();
        }
        self.report(shared);
        self.watch_silence(shared)
    }

    /// Logs that the server was given up, or that it is back.
    fn report<S: PooledConnection>(&mut self, shared: &PoolShared<S>) {
        let (offline, returns) = {
            let slots = shared.lock();
            (slots.offline(Instant::now()), slots.returns())
        };
        let has_returned = std::mem::replace(&mut self.returns, returns) != returns;
        match &offline {
            Some(offline) if !self.was_offline => {
                log::warn!("working without the server: {}", offline.reason);
                // Who still waits for it fails now, and its connections become free.
                (self.network.end_all)();
            }
            // An outage may be shorter than a round.
            None if has_returned => {
                log::info!("the server can be reached again");
                shared.returned();
            }
            Some(_) | None => {}
        }
        self.was_offline = offline.is_some();
    }

    /// Probes the server if leases wait for it for too long. Returns the time until the next round.
    fn watch_silence<S: PooledConnection>(&mut self, shared: &PoolShared<S>) -> Duration {
        let (next_probe, waiting) = {
            let slots = shared.lock();
            let waiting = slots.leases_wait_since(shared.profile.last_heard());
            (slots.next_probe(), waiting)
        };
        if let Some(next) = next_probe {
            let left = next.saturating_duration_since(Instant::now());
            // One that is due waits for a login that is under way.
            return if left.is_zero() { ROUND } else { left };
        }
        let Some(since) = waiting else {
            shared.is_monitor_resting.store(true, Ordering::SeqCst);
            let has_leases = shared.lock().stats().leased > 0;
            return if has_leases { ROUND } else { RESTING_ROUND };
        };
        let is_alive = || (self.network.last_sign)().is_some_and(|sign| sign < SILENCE);
        if !self.silence.left(since, Instant::now()).is_zero() || is_alive() {
            return ROUND;
        }
        if (self.network.answers)(PROBE_PATIENCE) {
            self.silence.answered(since);
        } else if shared.profile.last_heard() <= since && !is_alive() {
            log::debug!(
                "no answer for {:?}; ending all connections",
                since.elapsed()
            );
            let idle = shared.lock().give_up(Instant::now());
            (self.network.end_all)();
            shared.gave_up(idle);
        }
        Duration::ZERO
    }
}

/// Waits until the pool wakes the monitor, the network changes, or `patience` has passed.
fn wait(woken: &UnixStream, changes: Option<&NetworkChanges>, patience: Duration) {
    let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = vec![readable(woken.as_fd())];
    fds.extend(changes.map(|changes| readable(changes.as_fd())));
    let timeout = Timespec::try_from(patience).ok();
    // The next round looks in any case.
    let _ = poll(&mut fds, timeout.as_ref());
}

impl<S: PooledConnection> PoolShared<S> {
    /// Ends the rest of the monitor, because there is a lease to watch.
    pub(super) fn end_monitor_rest(&self) {
        if self.is_monitor_resting.swap(false, Ordering::SeqCst) {
            self.wake_monitor();
        }
    }

    /// See [`super::Pool::look_for_server`].
    pub(super) fn look_for_server(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut slots = self.lock();
        let failures = slots.failures();
        slots.expedite_probe(Instant::now());
        self.wake_monitor();
        loop {
            if slots.given_up().is_none() {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || slots.failures() != failures {
                return false;
            }
            let waited = self.changed.wait_timeout(slots, left);
            slots = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// See [`super::Pool::look_once_for_server`].
    pub(super) fn look_once_for_server(&self, patience: Duration) -> bool {
        if self.lock().was_just_missed(Instant::now()) {
            return false;
        }
        self.look_for_server(patience)
    }

    /// Makes the monitor look at the pool, if there is one.
    pub(super) fn wake_monitor(&self) {
        if let Some(monitor) = self.monitor.get() {
            monitor.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_was_suspended_is_noticed_once() {
        let mut sleep = SleepWatch(slept());
        assert!(!sleep.has_slept(slept()), "it runs this test");
        let later = sleep.0 + Duration::from_secs(3600);
        assert!(sleep.has_slept(later));
        assert!(!sleep.has_slept(later + SLEEP / 2));
    }

    #[test]
    fn a_slow_server_is_probed_rarely_and_soon_again_after_it_was_heard() {
        let start = Instant::now();
        let mut watch = SilenceWatch::new();
        assert_eq!(watch.left(start, start), SILENCE);
        assert_eq!(watch.left(start, start + SILENCE), Duration::ZERO);
        watch.answered(start);
        assert_eq!(watch.left(start, start + SILENCE), SILENCE);
        for _ in 0..9 {
            watch.answered(start);
        }
        assert_eq!(watch.left(start, start), LONGEST_SILENCE);
        let heard = start + SILENCE;
        assert_eq!(watch.left(heard, heard), SILENCE);
    }
}
