//! The one thread that looks after what nobody waits for: transfers that hold a connection without
//! being read, bytes that were kept to be read again, temporary names that could not be cleared
//! away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Vfs;
use crate::guarded;

/// How often the house is looked after when nobody is short of connections.
const ROUND: Duration = Duration::from_secs(5);
/// A transfer nobody asked anything of for so long gives its connection back.
const IDLE_TRANSFER: Duration = Duration::from_secs(10);
/// … and for so short while others wait for one: a program that reads two files in turns, over one
/// connection, would otherwise wait for itself.
const IDLE_IN_NEED: Duration = Duration::from_millis(50);
/// Bytes of a file that nobody read for so long are let go.
const IDLE_BYTES: Duration = Duration::from_secs(30);

/// Ends with [`Housekeeper::stop`], or by itself when the vfs is gone.
#[derive(Debug, Default)]
pub(super) struct Housekeeper {
    stopped: Arc<AtomicBool>,
}

impl Housekeeper {
    /// Starts the rounds.
    pub(super) fn start(&self, vfs: &Arc<Vfs>) {
        let (house, stopped) = (Arc::downgrade(vfs), Arc::clone(&self.stopped));
        let rounds = move || loop {
            match guarded::catch("a round of the housekeeper", || round(&house, &stopped)) {
                Some(true) => {}
                Some(false) => return,
                None => std::thread::sleep(ROUND),
            }
        };
        if let Err(error) = guarded::spawn("housekeeper", rounds) {
            log::warn!("idle transfers will not give their connections back: no thread: {error}");
        }
    }

    /// No round begins after this.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// One round; whether there is another.
fn round(house: &Weak<Vfs>, stopped: &AtomicBool) -> bool {
    // Waits with a handle of the server alone, so that the vfs can go meanwhile.
    let Some(remote) = house.upgrade().map(|vfs| vfs.remote.clone()) else {
        return false;
    };
    let in_need = remote.wait_until_contended(ROUND);
    drop(remote);
    let Some(vfs) = house.upgrade().filter(|_| !stopped.load(Ordering::Relaxed)) else {
        return false;
    };
    let patience = if in_need { IDLE_IN_NEED } else { IDLE_TRANSFER };
    for file in vfs.files_in_use() {
        file.release_idle(patience, IDLE_BYTES);
    }
    if !in_need {
        vfs.services.spools.tidy_journal();
        vfs.remote.clear_due_orphans(Instant::now());
        vfs.remote.save_profile();
    }
    drop(vfs);
    if in_need {
        // What is read right now is not idle yet; it may be when this has passed.
        std::thread::sleep(IDLE_IN_NEED);
    }
    true
}
