//! The housekeeper: one thread a pool, which keeps idle sessions awake and closes surplus ones.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use super::connection::PooledConnection;
use super::shared::PoolShared;
use crate::guarded;

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
