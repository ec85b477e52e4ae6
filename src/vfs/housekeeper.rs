//! The thread for background cleanup: transfers that hold a connection without being read, bytes
//! cached for another read, and temporary names that remain on the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Vfs;
use crate::guarded;

/// Interval of the rounds while no operation waits for a connection.
const ROUND: Duration = Duration::from_secs(5);
/// Idle time after which a transfer returns its connection.
const IDLE_TRANSFER: Duration = Duration::from_secs(10);
/// Idle time after which a transfer returns its connection while others wait for one. Otherwise, a
/// program that reads two files alternately over one connection would wait for itself.
const IDLE_IN_NEED: Duration = Duration::from_millis(50);
/// Time after which unread cached bytes of a file are discarded.
const IDLE_BYTES: Duration = Duration::from_secs(30);

/// Ends with [`Housekeeper::stop`], or when the vfs is dropped.
#[derive(Debug, Default)]
pub(super) struct Housekeeper {
    stopped: Arc<AtomicBool>,
}

impl Housekeeper {
    /// Starts the thread.
    pub(super) fn start(&self, vfs: &Arc<Vfs>) {
        let (house, stopped) = (Arc::downgrade(vfs), Arc::clone(&self.stopped));
        let mut memory = MemoryTidy::default();
        let rounds = move || loop {
            let round = || round(&house, &stopped, &mut memory);
            match guarded::catch("a round of the housekeeper", round) {
                Some(true) => {}
                Some(false) => return,
                None => std::thread::sleep(ROUND),
            }
        };
        if let Err(error) = guarded::spawn("housekeeper", rounds) {
            log::warn!(
                "idle transfers will not return their connections: cannot start a thread: {error}"
            );
        }
    }

    /// Prevents further rounds.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// When memory is given back to the system: once after work, when that has paused for a round.
#[derive(Debug, Default)]
struct MemoryTidy {
    /// Number of requests of the kernel at the last round.
    seen: u64,
    /// That number when memory was last given back.
    tidied: u64,
}

impl MemoryTidy {
    /// Whether to give memory back now, after `requests` requests since the start.
    fn is_due(&mut self, requests: u64) -> bool {
        let is_quiet = self.seen == requests;
        self.seen = requests;
        is_quiet && std::mem::replace(&mut self.tidied, requests) != requests
    }
}

/// Runs one round. Returns whether there is another.
fn round(house: &Weak<Vfs>, stopped: &AtomicBool, memory: &mut MemoryTidy) -> bool {
    // The wait holds only the remote, so that the vfs can be dropped in the meantime.
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
        vfs.remote.uncancelled().clear_due_orphans(Instant::now());
        vfs.remote.save_profile();
        if memory.is_due(vfs.counts().requests()) {
            crate::sys::trim();
        }
    }
    drop(vfs);
    if in_need {
        // Transfers that are being read are not idle yet, but may be after this time.
        std::thread::sleep(IDLE_IN_NEED);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::MemoryTidy;

    #[test]
    fn memory_is_given_back_once_after_each_stretch_of_work() {
        let mut memory = MemoryTidy::default();
        let rounds = [0, 0, 5, 9, 9, 9, 12, 12, 12];
        let due = rounds.map(|requests| memory.is_due(requests));
        let expected = [false, false, false, false, true, false, false, true, false];
        assert_eq!(due, expected);
    }
}
