//! The housekeeper: one thread a pool, which keeps idle sessions awake and closes surplus ones.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};

use super::line::Line;
use super::shared::Shared;

/// Starts the housekeeper. It holds no handle of the pool between its rounds, and ends at once when the last
/// one goes: the other end of `ended` goes with it.
pub(super) fn start<S: Line>(
    shared: &Arc<Shared<S>>,
    ended: Receiver<Infallible>,
) -> io::Result<JoinHandle<()>> {
    let interval = shared.tending_interval();
    let pool = Arc::downgrade(shared);
    thread::Builder::new()
        .name("ftpfs-keepalive".into())
        .spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(interval) {
                let Some(shared) = Weak::upgrade(&pool) else {
                    return;
                };
                shared.tend();
            }
        })
}
