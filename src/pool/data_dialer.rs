//! The data dialer: a thread that opens the data connections that idle sessions have asked for. A
//! session can be leased before that is done; then its transfer waits for the rest.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::connection::PooledConnection;
use super::shared::PoolShared;
use crate::ftp::{Readiness, Watch};
use crate::guarded;

/// Longest wait for a server or for the [`Waker`](super::waker::Waker). Only a backstop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts the data dialer. It holds no handle of the pool while it waits.
pub(super) fn start<S: PooledConnection>(
    shared: &Arc<PoolShared<S>>,
    mut woken: UnixStream,
) -> io::Result<()> {
    let pool = Arc::downgrade(shared);
    let run = move || {
        while let Some(shared) = Weak::upgrade(&pool) {
            let watches = shared.advance();
            drop(shared);
            Watch::wait_for_any(&watches, &woken, PATIENCE);
            drop(watches);
            // The next round serves all calls of the waker so far.
            let _ = woken.read(&mut [0; 64]);
        }
    };
    guarded::spawn("ftpfs-data-dial", run).map(drop)
}

impl<S: PooledConnection> PoolShared<S> {
    /// Advances the data connections of idle sessions. Returns the events after which they can
    /// continue.
    fn advance(&self) -> Vec<Watch> {
        let mut watches = Vec::new();
        let is_coming = |session: &S| session.readiness() == Readiness::Coming;
        self.for_each_idle(is_coming, |idle| {
            idle.session.advance();
            watches.extend(idle.session.watch());
        });
        watches
    }

    /// Wakes the data dialer, because an idle session has asked for its data connection.
    pub(super) fn wake_data_dialer(&self) {
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }
}
