//! The housekeeper: one thread a pool, which keeps idle sessions awake and closes surplus ones.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::connection::PooledConnection;
use super::lease::Permit;
use super::shared::PoolShared;
use crate::guarded;

/// After its last use, a session's data connection is renewed for so long.
const RENEWAL_WINDOW: Duration = Duration::from_secs(120);

/// Starts the housekeeper. It holds no handle of the pool between its rounds, and ends at once when
/// the last one goes: the other end of `ended` goes with it.
pub(super) fn start<S: PooledConnection>(
    shared: &Arc<PoolShared<S>>,
    ended: Receiver<Infallible>,
) -> io::Result<JoinHandle<()>> {
    let interval = shared.maintenance_interval();
    let pool = Arc::downgrade(shared);
    guarded::spawn("ftpfs-keepalive", move || {
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
            let Some(shared) = Weak::upgrade(&pool) else {
                return;
            };
            guarded::catch("a round of the pool's housekeeper", || shared.maintain());
        }
    })
}

impl<S: PooledConnection> PoolShared<S> {
    /// Closes the sessions nobody used for long, and asks the others for a sign of life.
    fn maintain(self: &Arc<Self>) {
        let unused = self.lock().evict_unused(self.rules.idle, Instant::now());
        self.changed.notify_all();
        for idle in unused {
            idle.session.quit();
        }
        self.maintain_data();
        loop {
            let silent = self
                .lock()
                .lease_silent(self.rules.keep_alive, Instant::now());
            let Some(mut idle) = silent else { return };
            let permit = Permit::new(Arc::clone(self));
            // A refusal is a sign of life, too.
            let answer = idle.session.noop();
            if idle.session.is_usable() {
                idle.last_heard = Instant::now();
                permit.make_idle(idle);
            } else {
                log::debug!("an idle connection did not outlive a NOOP: {answer:?}");
            }
        }
    }

    /// Renews data connections that wait for long, or closes them where nothing was transferred
    /// lately.
    fn maintain_data(&self) {
        let mut is_coming = false;
        self.for_each_idle(S::has_old_arm, |idle| {
            let is_worth_it = idle.last_used.elapsed() < RENEWAL_WINDOW;
            idle.session.replace_arm(is_worth_it);
            is_coming |= is_worth_it;
        });
        self.wake_data_dialer(is_coming);
    }

    /// How often the housekeeper looks: often enough that neither age is overrun by more than a
    /// quarter.
    fn maintenance_interval(&self) -> Duration {
        let shorter = self.rules.idle.min(self.rules.keep_alive);
        (shorter / 4).clamp(Duration::from_millis(10), Duration::from_secs(10))
    }
}
