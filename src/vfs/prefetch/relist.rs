//! Which directories this mount writes to, and which of them are listed again in the background.
//! Pure bookkeeping: no thread, no network.
//!
//! A program that creates a file first looks its name up, and the name is missing. In a directory
//! that this mount writes to, such a lookup is answered from an old listing, so that creating files
//! costs no more round trips. The listing is then replaced in the background, so that the next
//! lookup sees what others created.
//!
//! In other directories the program waits for a new listing. Old ones of the directories below,
//! which it looks into next, are replaced at the same time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::cache::ListingAge;
use crate::ftp::RemotePath;

/// How long a directory counts as being written to after the last change.
const WRITING: Duration = Duration::from_secs(10);
/// A listing that found no spare connection for this long is not fetched.
const WAITING: Duration = Duration::from_secs(5);
/// How long a server that did not answer is not asked for absent names and followed files.
const AWAY: Duration = Duration::from_secs(10);
/// An absent name is answered from memory for at most this many intervals after the first one that
/// was. Then there was no spare connection for the listing.
const OVERDUE: u32 = 10;
/// Maximum number of directories that are remembered.
const MAX_DIRECTORIES: usize = 1024;
/// A listing is at least this many times older than it took to fetch before it is fetched again for
/// an absent name. A large directory that takes seconds is then fetched for a tenth of the time.
const TIMES_ITS_COST: u32 = 10;

/// How an absent name is answered when its listing is old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum OldAbsence {
    /// The server is asked first.
    Ask,
    /// It does not exist.
    Answer,
}

/// Directories that this mount writes to.
#[derive(Debug, Default)]
pub(super) struct RelistQueue {
    /// Whether every directory counts as being written to.
    always_writes: bool,
    /// When the server last did not answer.
    unanswered: Option<Instant>,
    directories: HashMap<RemotePath, WrittenDirectory>,
    /// Those of directories that a program is about to look into.
    awaited: VecDeque<PendingListing>,
    pending: VecDeque<PendingListing>,
}

#[derive(Debug)]
struct WrittenDirectory {
    changed: Instant,
    /// When a listing was last requested.
    requested: Option<Instant>,
}

/// A directory to be listed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingListing {
    pub(super) directory: RemotePath,
    /// A listing that is younger does not need to be replaced.
    pub(super) max_age: Duration,
    requested: Instant,
}

/// Returns how old a listing must be before it is fetched again because a name is missing from it.
pub(in crate::vfs) fn relist_interval(open_ttl: Duration, listed: Option<ListingAge>) -> Duration {
    let took = listed.map_or(Duration::ZERO, |listed| listed.took);
    open_ttl.max(took.saturating_mul(TIMES_ITS_COST))
}

impl RelistQueue {
    /// Creates an empty queue. With `always_writes`, all directories count as being written to.
    pub(super) fn new(always_writes: bool) -> Self {
        Self {
            always_writes,
            ..Self::default()
        }
    }

    /// Records that the server did not answer. For a while, it is not asked again.
    pub(super) fn unanswered(&mut self, now: Instant) {
        self.unanswered = Some(now);
    }

    /// Whether the server did not answer a short while ago.
    pub(super) fn is_away(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < AWAY;
        self.unanswered.is_some_and(is_recent)
    }

    /// Records that this mount changed something in `directory`.
    pub(super) fn changed(&mut self, directory: &RemotePath, now: Instant) {
        if let Some(known) = self.directories.get_mut(directory) {
            known.changed = now;
            return;
        }
        if self.directories.len() >= MAX_DIRECTORIES {
            self.directories.retain(|_, known| known.is_written(now));
            if self.directories.len() >= MAX_DIRECTORIES {
                return;
            }
        }
        let new = WrittenDirectory {
            changed: now,
            requested: None,
        };
        self.directories.insert(directory.clone(), new);
    }

    /// Decides about a name that a listing of `directory`, of the given age, lacks. Requests a new
    /// listing, at most one per `interval`, if the answer comes from the old one.
    pub(super) fn absent(
        &mut self,
        directory: &RemotePath,
        listed: Option<ListingAge>,
        interval: Duration,
        now: Instant,
    ) -> OldAbsence {
        if self.is_away(now) {
            return OldAbsence::Answer;
        }
        if self.always_writes {
            self.changed(directory, now);
        }
        let known = self.directories.get_mut(directory);
        let Some(known) = known.filter(|known| known.is_written(now)) else {
            return OldAbsence::Ask;
        };
        if let Some(requested) = known.requested {
            let waited = now.saturating_duration_since(requested);
            let is_listed = listed.is_some_and(|listed| listed.age <= waited);
            if !is_listed {
                return if waited < interval.saturating_mul(OVERDUE) {
                    OldAbsence::Answer
                } else {
                    OldAbsence::Ask
                };
            }
        }
        known.requested = Some(now);
        self.pending.push_back(PendingListing {
            directory: directory.clone(),
            max_age: interval,
            requested: now,
        });
        OldAbsence::Answer
    }

    /// Requests new listings of `directories`, which a program will ask for next, unless theirs are
    /// younger than `max_age`.
    pub(super) fn again(
        &mut self,
        directories: Vec<RemotePath>,
        max_age: Duration,
        requested: Instant,
    ) {
        for directory in directories {
            if !self.awaited.iter().any(|it| it.directory == directory) {
                self.pending.retain(|it| it.directory != directory);
                self.awaited.push_back(PendingListing {
                    directory,
                    max_age,
                    requested,
                });
            }
        }
    }

    /// Number of listings to fetch.
    pub(super) fn jobs(&mut self, now: Instant) -> usize {
        let is_wanted = |it: &PendingListing| now.saturating_duration_since(it.requested) < WAITING;
        self.awaited.retain(is_wanted);
        self.pending.retain(is_wanted);
        self.awaited.len() + self.pending.len()
    }

    /// Whether a program is about to need one of them.
    pub(super) fn is_awaited(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Takes the next `most` listings to fetch.
    pub(super) fn take(&mut self, most: usize, now: Instant) -> Vec<PendingListing> {
        let most = most.min(self.jobs(now));
        let awaited = most.min(self.awaited.len());
        let first = self.awaited.drain(..awaited);
        first.chain(self.pending.drain(..most - awaited)).collect()
    }
}

impl WrittenDirectory {
    fn is_written(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.changed) < WRITING
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn absent(queue: &mut RelistQueue, age: Duration, now: Instant) -> OldAbsence {
        let took = Duration::ZERO;
        let listed = Some(ListingAge { age, took });
        queue.absent(&path("/d"), listed, INTERVAL, now)
    }

    #[test]
    fn the_server_is_asked_unless_this_mount_writes_there() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Ask);
        queue.changed(&path("/e"), now);
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Ask);
        queue.changed(&path("/d"), now);
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Answer);
        let later = now + WRITING;
        assert_eq!(absent(&mut queue, INTERVAL, later), OldAbsence::Ask);
    }

    #[test]
    fn a_directory_is_listed_once_for_all_names_that_it_lacks() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        queue.changed(&path("/d"), now);
        for _ in 0..3 {
            assert_eq!(absent(&mut queue, INTERVAL * 5, now), OldAbsence::Answer);
        }
        assert_eq!(queue.jobs(now), 1);
        assert_eq!(queue.take(9, now)[0].directory, path("/d"));
        assert!(queue.take(9, now).is_empty());

        // The listing arrived a moment later, and is old again.
        let later = now + INTERVAL * 2;
        assert_eq!(absent(&mut queue, INTERVAL, later), OldAbsence::Answer);
        assert_eq!(queue.jobs(later), 1);
    }

    #[test]
    fn directories_looked_into_again_are_listed_once() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        for _ in 0..2 {
            queue.again(vec![path("/a"), path("/b")], INTERVAL, now);
        }
        assert_eq!(queue.jobs(now), 2);
        assert!(queue.is_awaited());
        assert_eq!(queue.take(1, now).len(), 1);
        assert_eq!(queue.take(9, now)[0].directory, path("/b"));
        assert!(!queue.is_awaited());
    }

    #[test]
    fn directories_looked_into_next_are_listed_before_those_written_to() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        for directory in ["/d", "/e"].map(path) {
            queue.changed(&directory, now);
            queue.absent(&directory, None, INTERVAL, now);
        }
        assert!(!queue.is_awaited());
        queue.again(vec![path("/a"), path("/e")], INTERVAL, now);
        let taken: Vec<_> = queue.take(9, now).into_iter().collect();
        let taken: Vec<_> = taken.iter().map(|it| it.directory.as_bytes()).collect();
        assert_eq!(taken, [b"/a", b"/e", b"/d"]);
    }

    #[test]
    fn the_server_is_asked_if_no_connection_was_spare_for_long() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        let overdue = INTERVAL * OVERDUE;
        queue.changed(&path("/d"), now);
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Answer);
        assert_eq!(queue.jobs(now + WAITING), 0, "it is given up");
        let later = now + overdue;
        queue.changed(&path("/d"), later);
        assert_eq!(absent(&mut queue, overdue * 2, later), OldAbsence::Ask);
        assert_eq!(queue.jobs(later), 0);
        // One that the program itself waited for counts as well.
        assert_eq!(absent(&mut queue, INTERVAL, later), OldAbsence::Answer);
        assert_eq!(queue.jobs(later), 1);
    }

    #[test]
    fn a_server_that_does_not_answer_is_left_alone_for_a_while() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        queue.unanswered(now);
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Answer);
        assert_eq!(queue.jobs(now), 0);
        assert!(queue.is_away(now));
        let later = now + AWAY;
        assert!(!queue.is_away(later));
        assert_eq!(absent(&mut queue, INTERVAL, later), OldAbsence::Ask);
    }

    #[test]
    fn with_writeback_every_directory_is_written_to() {
        let now = Instant::now();
        let mut queue = RelistQueue::new(true);
        assert_eq!(absent(&mut queue, INTERVAL, now), OldAbsence::Answer);
        assert_eq!(queue.jobs(now), 1);
    }

    #[test]
    fn a_listing_that_takes_long_is_fetched_less_often() {
        let took = |took| {
            Some(ListingAge {
                age: INTERVAL,
                took,
            })
        };
        assert_eq!(relist_interval(INTERVAL, None), INTERVAL);
        assert_eq!(relist_interval(INTERVAL, took(INTERVAL / 20)), INTERVAL);
        assert_eq!(relist_interval(INTERVAL, took(INTERVAL * 3)), INTERVAL * 30);
        assert_eq!(
            relist_interval(Duration::MAX, took(Duration::MAX)),
            Duration::MAX
        );
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let mut queue = RelistQueue::default();
        for number in 0..2 * MAX_DIRECTORIES {
            queue.changed(&path(&format!("/{number}")), now);
        }
        assert_eq!(queue.directories.len(), MAX_DIRECTORIES);
        queue.changed(&path("/new"), now + WRITING);
        assert_eq!(queue.directories.len(), 1);
    }
}
