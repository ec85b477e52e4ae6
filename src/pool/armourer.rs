//! The armourer: one thread a pool, which sees the data connections through that idle sessions have asked for. A session
//! can be leased meanwhile; it waits for the rest itself then.

use std::io;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use super::line::Line;
use super::shared::Shared;
use crate::ftp::Watch;

/// Longest wait for one sign of the server: sessions behind it wait as long for their next step.
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts the armourer, which ends when the other end of `watches` goes: with the pool's last handle.
pub(super) fn start<S: Line>(shared: &Arc<Shared<S>>, watches: Receiver<Watch>) -> io::Result<()> {
    let pool = Arc::downgrade(shared);
    let thread = thread::Builder::new().name("ftpfs-arm".into());
    thread
        .spawn(move || {
            // In the order of asking, which is that of answering.
            for watch in watches {
                watch.wait(PATIENCE);
                drop(watch);
                let Some(shared) = Weak::upgrade(&pool) else {
                    return;
                };
                shared.advance();
            }
        })
        .map(drop)
}

/// Makes one more session in a thread of its own.
pub(super) fn start_spare<S: Line>(shared: &Arc<Shared<S>>) -> io::Result<()> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().name("ftpfs-spare".into());
    thread.spawn(move || shared.make_spare()).map(drop)
}
