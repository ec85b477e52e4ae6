//! The thread for background cleanup: transfers that hold a connection without being read, bytes
//! cached for another read, and temporary names that remain on the server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::Vfs;
use crate::guarded;

/// Interval of the rounds while no operation waits for a connection.
const ROUND: Duration = Duration::from_secs(5);
/// Interval of the rounds while there is nothing to do and no program uses the mount. Hundreds of
/// idle mounts must not keep a machine awake.
const RESTING_ROUND: Duration = Duration::from_secs(30);
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
        let mut rest = Rest::default();
        let rounds = move || loop {
            let round = || round(&house, &stopped, &mut rest);
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

/// Whether the mount rests. Once after each stretch of work, memory is given back to the system.
#[derive(Debug, Default)]
struct Rest {
    /// Number of requests of the kernel at the last round.
    seen: u64,
    /// That number when memory was last given back.
    tidied: u64,
    /// Whether there was no request, nothing open and nothing to clean up at the last round.
    is_idle: bool,
}

impl Rest {
    /// Notes a round, after `requests` requests since the start. Returns whether to give memory
    /// back.
    fn note(&mut self, requests: u64, has_work: bool) -> bool {
        let is_quiet = self.seen == requests;
        self.seen = requests;
        self.is_idle = is_quiet && !has_work;
        is_quiet && std::mem::replace(&mut self.tidied, requests) != requests
    }

    /// Returns the wait before the next round.
    fn interval(&self) -> Duration {
        if self.is_idle { RESTING_ROUND } else { ROUND }
    }
}

/// Runs one round. Returns whether there is another.
fn round(house: &Weak<Vfs>, stopped: &AtomicBool, rest: &mut Rest) -> bool {
    // The wait holds only the remote, so that the vfs can be dropped in the meantime.
    let Some(remote) = house.upgrade().map(|vfs| vfs.remote.clone()) else {
        return false;
    };
    let in_need = remote.wait_until_contended(rest.interval());
    drop(remote);
    let Some(vfs) = house.upgrade().filter(|_| !stopped.load(Ordering::Relaxed)) else {
        return false;
    };
    let patience = if in_need { IDLE_IN_NEED } else { IDLE_TRANSFER };
    let files = vfs.files_in_use();
    for file in &files {
        file.release_idle(patience, IDLE_BYTES);
    }
    if !in_need {
        vfs.services.spools.tidy_journal();
        vfs.names.tidy();
        vfs.remote.uncancelled().clear_due_orphans(Instant::now());
        vfs.remote.save_profile();
        let has_work = !files.is_empty() || !vfs.remote.leftovers().is_empty();
        if rest.note(vfs.counts().requests(), has_work) {
            if let Some(recent) = &vfs.services.recent {
                recent.clear();
            }
            crate::sys::trim();
        }
    }
    drop((files, vfs));
    if in_need {
        // Transfers that are being read are not idle yet, but may be after this time.
        std::thread::sleep(IDLE_IN_NEED);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{RESTING_ROUND, ROUND, Rest};

    #[test]
    fn memory_is_given_back_once_after_each_stretch_of_work() {
        let mut rest = Rest::default();
        let rounds = [0, 0, 5, 9, 9, 9, 12, 12, 12];
        let due = rounds.map(|requests| rest.note(requests, false));
        let expected = [false, false, false, false, true, false, false, true, false];
        assert_eq!(due, expected);
    }

    #[test]
    fn rounds_are_rare_while_there_is_nothing_to_do_and_no_program_uses_the_mount() {
        let mut rest = Rest::default();
        let rounds = [(0, false), (0, true), (1, false), (1, false)];
        let intervals = rounds.map(|(requests, has_work)| {
            rest.note(requests, has_work);
            rest.interval()
        });
        assert_eq!(intervals, [RESTING_ROUND, ROUND, ROUND, RESTING_ROUND]);
    }
}
