//! Maintenance: a thread that keeps idle sessions alive and closes surplus ones.

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

/// How long after a session's last use its prepared data connection is renewed.
const RENEWAL_WINDOW: Duration = Duration::from_secs(120);

/// Starts the thread. It holds no handle of the pool between its rounds, and ends when the other
/// end of `ended` is dropped with the last handle.
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
            guarded::catch("maintenance of the connection pool", || shared.maintain());
        }
    })
}

impl<S: PooledConnection> PoolShared<S> {
    fn maintain(self: &Arc<Self>) {
        self.close_unused();
        self.maintain_data_connections();
        self.keep_alive();
    }

    fn close_unused(&self) {
        let unused = self.lock().evict_unused(self.rules.idle, Instant::now());
        self.changed.notify_all();
        for idle in unused {
            idle.session.quit();
        }
    }

    /// Renews old data connections of sessions that were used lately, and closes the others.
    fn maintain_data_connections(&self) {
        let mut is_coming = false;
        self.for_each_idle(S::has_old_arm, |idle| {
            if idle.last_used.elapsed() < RENEWAL_WINDOW {
                idle.session.renew_arm();
                is_coming = true;
            } else {
                idle.session.disarm();
            }
        });
        if is_coming {
            self.wake_data_dialer();
        }
    }

    /// Sends NOOP on sessions that were silent for long. The session counts as leased, because the
    /// reply can take as long as the server wants.
    fn keep_alive(self: &Arc<Self>) {
        loop {
            let silent = self
                .lock()
                .lease_silent(self.rules.keep_alive, Instant::now());
            let Some(mut idle) = silent else { return };
            let permit = Permit::new(Arc::clone(self));
            let answer = idle.session.noop();
            // After a refusal the session is usable.
            if idle.session.is_usable() {
                idle.last_heard = Instant::now();
                permit.make_idle(idle);
            } else {
                log::debug!("an idle connection failed at NOOP: {answer:?}");
            }
        }
    }

    /// The interval between rounds, which delays closing and NOOP by a quarter of their ages at
    /// most.
    fn maintenance_interval(&self) -> Duration {
        let shorter = self.rules.idle.min(self.rules.keep_alive);
        (shorter / 4).clamp(Duration::from_millis(10), Duration::from_secs(10))
    }
}
