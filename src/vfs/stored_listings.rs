//! Listings on the local disk, for when the server cannot be asked (`-o cache_dir`).
//!
//! A thread writes each directory's listing soon after it arrives, and again after changes, at most
//! once a minute. What it has not written yet is written at the end of the mount; a kill loses the
//! last seconds. Stored listings answer only while the server cannot be reached.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::cache::{Cache, Snapshot};
use crate::disk_cache::{DiskCache, StoredListing};
use crate::ftp::RemotePath;
use crate::guarded;
use crate::remote;

/// Time between the first change and writing, so that changes in a row are written together.
const DELAY: Duration = Duration::from_secs(2);
/// Shortest time between two writes of the same listing.
const INTERVAL: Duration = Duration::from_secs(60);
/// Maximum number of directories that wait. Further ones are not stored.
const MOST: usize = 100_000;

/// The stored listings of a mount.
#[derive(Debug)]
pub(super) struct StoredListings {
    disk: Arc<DiskCache>,
    listings: Arc<Cache<remote::Error>>,
    schedule: Arc<ListingSchedule>,
    /// The thread.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The directories whose listings are to be written.
#[derive(Debug, Default)]
struct ListingSchedule {
    state: Mutex<WaitingListings>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WaitingListings {
    /// When each is due.
    due: HashMap<RemotePath, Instant>,
    /// When the thread looks next; `None` while it rests.
    next_look: Option<Instant>,
    /// When those that were written in the last minute were written.
    written: HashMap<RemotePath, Instant>,
    has_ended: bool,
}

impl WaitingListings {
    /// Notes that the listing of `path` is new or has changed. Returns whether the thread must look
    /// earlier than it would.
    fn add(&mut self, path: &RemotePath, now: Instant) -> bool {
        if self.due.contains_key(path) || self.due.len() >= MOST {
            return false;
        }
        let earliest = self.written.get(path).map(|written| *written + INTERVAL);
        let due = earliest.unwrap_or(now).max(now + DELAY);
        self.due.insert(path.clone(), due);
        let is_earlier = self.next_look.is_none_or(|next| due < next);
        if is_earlier {
            self.next_look = Some(due);
        }
        is_earlier
    }

    /// Takes the directories that are due, or returns the time until one is.
    fn take_due(&mut self, now: Instant) -> Result<Vec<RemotePath>, Option<Duration>> {
        self.written
            .retain(|_, written| now.saturating_duration_since(*written) < INTERVAL);
        let is_due = |_: &RemotePath, due: &mut Instant| *due <= now;
        let taken: Vec<_> = self.due.extract_if(is_due).map(|(path, _)| path).collect();
        for path in &taken {
            self.written.insert(path.clone(), now);
        }
        if taken.is_empty() {
            self.next_look = self.due.values().min().copied();
            let next = self.next_look;
            return Err(next.map(|due| due.saturating_duration_since(now)));
        }
        self.next_look = None;
        Ok(taken)
    }
}

impl StoredListings {
    /// Begins to store what `listings` learns in `disk`.
    pub(super) fn start(disk: Arc<DiskCache>, listings: &Arc<Cache<remote::Error>>) -> Self {
        let schedule = Arc::new(ListingSchedule::default());
        let for_observer = Arc::clone(&schedule);
        listings.observe(move |path| {
            if for_observer.lock().add(path, Instant::now()) {
                for_observer.changed.notify_all();
            }
        });
        let stored = Self {
            disk,
            listings: Arc::clone(listings),
            schedule,
            writer: Mutex::default(),
        };
        let writer = Self {
            disk: Arc::clone(&stored.disk),
            listings: Arc::clone(listings),
            schedule: Arc::clone(&stored.schedule),
            writer: Mutex::default(),
        };
        match guarded::spawn("ftpfs-listings", move || writer.serve()) {
            Ok(thread) => {
                *stored.writer() = Some(thread);
            }
            Err(error) => log::warn!(
                "listings are not kept for the next mount: cannot start a thread: {error}"
            ),
        }
        stored
    }

    /// Returns the stored listing of `path`, however old.
    pub(super) fn read(&self, path: &RemotePath) -> Option<Snapshot> {
        match self.disk.directory().read_listing(path) {
            Ok(stored) => Snapshot::decode(&stored?.bytes),
            Err(error) => {
                log::debug!(path; "cannot read the stored listing of {path}: {error}");
                None
            }
        }
    }

    /// Writes what waits, and ends the thread.
    pub(super) fn end(&self) {
        let left: Vec<_> = {
            let mut state = self.schedule.lock();
            state.has_ended = true;
            state.due.drain().map(|(path, _)| path).collect()
        };
        self.schedule.changed.notify_all();
        let writer = self.writer().take();
        // It writes what it has taken.
        let _ = writer.map(JoinHandle::join);
        for path in left {
            self.write(&path);
        }
    }

    fn writer(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let mut state = self.schedule.lock();
        while !state.has_ended {
            state = match state.take_due(Instant::now()) {
                Ok(paths) => {
                    drop(state);
                    for path in paths {
                        self.write(&path);
                    }
                    self.schedule.lock()
                }
                Err(None) => self
                    .schedule
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Err(Some(patience)) => {
                    let waited = self.schedule.changed.wait_timeout(state, patience);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn write(&self, path: &RemotePath) {
        let (Some(listing), Some(age)) = (
            self.listings.last_snapshot(path),
            self.listings.listing_age(path),
        ) else {
            return;
        };
        let now = SystemTime::now();
        let stored = StoredListing {
            listed: now.checked_sub(age.age).unwrap_or(now),
            bytes: listing.encode(),
        };
        match self.disk.write_listing(path, &stored) {
            Ok(true) => {}
            // There may be room later.
            Ok(false) => drop(self.schedule.lock().add(path, Instant::now())),
            Err(error) => log::debug!(path; "cannot store the listing of {path}: {error}"),
        }
    }
}

impl ListingSchedule {
    fn lock(&self) -> MutexGuard<'_, WaitingListings> {
        // Every change is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_listing_is_written_soon_and_then_once_a_minute() {
        let start = Instant::now();
        let mut waiting = WaitingListings::default();
        assert_eq!(waiting.take_due(start), Err(None));
        assert!(waiting.add(&path("/a"), start), "the thread rested");
        assert!(!waiting.add(&path("/a"), start + DELAY / 2));
        assert_eq!(waiting.take_due(start), Err(Some(DELAY)));
        let written = start + DELAY;
        assert_eq!(waiting.take_due(written), Ok(vec![path("/a")]));
        assert!(waiting.add(&path("/a"), written));
        assert!(waiting.add(&path("/b"), written), "it is due earlier");
        assert_eq!(waiting.take_due(written + DELAY), Ok(vec![path("/b")]));
        let left = INTERVAL.saturating_sub(DELAY);
        assert_eq!(waiting.take_due(written + DELAY), Err(Some(left)));
        assert_eq!(waiting.take_due(written + INTERVAL), Ok(vec![path("/a")]));
        let later = written + INTERVAL * 3;
        assert_eq!(waiting.take_due(later), Err(None));
        assert!(waiting.written.is_empty(), "forgotten after a minute");
    }

    #[test]
    fn the_number_of_waiting_directories_is_bounded() {
        let now = Instant::now();
        let mut waiting = WaitingListings::default();
        for number in 0..MOST + 5 {
            waiting.add(&path(&format!("/{number}")), now);
        }
        assert_eq!(waiting.due.len(), MOST);
    }
}
