//! Which programs compare the times of files. Pure bookkeeping.
//!
//! A program that looks up one file of a directory after the other without opening the directory
//! has a list of its own, with times (rsync at its target, make). A program that reads files
//! there has no use for exact times, and the kernel would drop what it has read when it sees them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;

/// Maximum number of directories remembered in which files were looked up: several programs may
/// work side by side.
const MAX_LOOKED: usize = 8;
/// Maximum time between two look-ups of the same program.
const SOON: Duration = Duration::from_secs(3);
/// Maximum number of directories remembered whose times were requested.
const MAX_REQUESTED: usize = 64;
/// Time after which they are requested again, if the listing still shows coarse ones.
const REQUEST_AGAIN: Duration = Duration::from_secs(20);
/// The same if the server reported none that are the listed ones.
const FOUND_NONE: Duration = Duration::from_secs(600);
/// Maximum number of directories remembered in which files were read, and for how long.
const MAX_READ: usize = 16;
const READ_LATELY: Duration = Duration::from_secs(10);

/// The look-ups of files whose times are known only to the minute or the day.
#[derive(Debug, Default)]
pub(super) struct TimeLooks {
    /// The last ones, one of each directory, the last one at the back.
    looked: VecDeque<TimeLook>,
    /// The directories whose exact times were requested, the last one at the back.
    requested: VecDeque<TimesRequest>,
    /// The directories in which files were read, the last one at the back.
    read: VecDeque<(RemotePath, Instant)>,
}

/// The last look-up in a directory.
#[derive(Debug)]
struct TimeLook {
    directory: RemotePath,
    name: Box<[u8]>,
    at: Instant,
    /// Whether another one preceded it.
    is_next: bool,
}

/// A request for the exact times in a directory.
#[derive(Debug)]
struct TimesRequest {
    directory: RemotePath,
    at: Instant,
    /// When they may be requested again.
    until: Instant,
}

impl TimeLooks {
    /// Records a look-up of `name` in `directory`. Returns whether to request the exact times
    /// there: another name was looked up before, or those of a directory beside it were requested
    /// a moment ago.
    pub(super) fn looks(&mut self, directory: &RemotePath, name: &[u8], now: Instant) -> bool {
        let is_soon = |at: Instant| now.saturating_duration_since(at) < SOON;
        self.requested.retain(|request| now < request.until);
        let mut requested = self.requested.iter();
        if requested.any(|it| it.directory == *directory) || self.is_read(directory, now) {
            return false;
        }
        let before = self.looked.iter().position(|it| it.directory == *directory);
        let before = before.and_then(|place| self.looked.remove(place));
        let before = before.filter(|it| is_soon(it.at));
        // The same look-up may come again, in a thread that may wait.
        let is_next = before.is_some_and(|it| it.is_next || *it.name != *name);
        self.looked.push_back(TimeLook {
            directory: directory.clone(),
            name: name.into(),
            at: now,
            is_next,
        });
        if self.looked.len() > MAX_LOOKED {
            self.looked.pop_front();
        }
        let parent = directory.parent();
        let mut requested = self.requested.iter();
        is_next || requested.any(|it| is_soon(it.at) && it.directory.parent() == parent)
    }

    /// Records that the exact times in `directory` are requested.
    pub(super) fn requested(&mut self, directory: &RemotePath, now: Instant) {
        self.requested.push_back(TimesRequest {
            directory: directory.clone(),
            at: now,
            until: now + REQUEST_AGAIN,
        });
        if self.requested.len() > MAX_REQUESTED {
            self.requested.pop_front();
        }
    }

    /// Records that the server reported none in `directory` that are the listed ones.
    pub(super) fn found_none(&mut self, directory: &RemotePath, now: Instant) {
        let mut requested = self.requested.iter_mut();
        if let Some(request) = requested.find(|it| it.directory == *directory) {
            request.until = now + FOUND_NONE;
        }
    }

    /// Records that a program reads a file in `directory`.
    pub(super) fn reads(&mut self, directory: &RemotePath, now: Instant) {
        self.read.retain(|(path, _)| path != directory);
        self.read.push_back((directory.clone(), now));
        if self.read.len() > MAX_READ {
            self.read.pop_front();
        }
    }

    /// Whether a program read a file in `directory`, or in the one above, a moment ago.
    pub(super) fn is_read(&self, directory: &RemotePath, now: Instant) -> bool {
        let above = directory.parent();
        self.read.iter().any(|(path, at)| {
            let is_near = path == directory || Some(path) == above.as_ref();
            is_near && now.saturating_duration_since(*at) < READ_LATELY
        })
    }

    /// Records that a program opened `directory`: it looks up the names that it reads there.
    pub(super) fn opened(&mut self, directory: &RemotePath) {
        self.looked.retain(|it| it.directory != *directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths() -> [RemotePath; 2] {
        ["/a", "/b"].map(|path| RemotePath::new(path.as_bytes()).unwrap())
    }

    #[test]
    fn exact_times_are_requested_once_for_files_looked_up_one_after_the_other() {
        let [one, other] = paths();
        let (mut looks, now) = (TimeLooks::default(), Instant::now());
        assert!(!looks.looks(&one, b"1", now));
        assert!(!looks.looks(&other, b"1", now));
        assert!(!looks.looks(&one, b"1", now), "the same file");
        assert!(looks.looks(&one, b"2", now));
        assert!(looks.looks(&one, b"2", now), "the same look-up again");
        looks.requested(&one, now);
        assert!(!looks.looks(&one, b"3", now), "requested");
        assert!(looks.looks(&other, b"1", now), "the next directory");
        assert!(!looks.looks(&other, b"2", now + SOON), "a while later");
        assert!(looks.looks(&other, b"3", now + SOON));
    }

    #[test]
    fn they_are_requested_again_and_much_later_if_there_were_none() {
        let [one, other] = paths();
        let (mut looks, now) = (TimeLooks::default(), Instant::now());
        looks.requested(&one, now);
        looks.requested(&other, now);
        looks.found_none(&other, now);
        for (later, directory, is_requested) in [
            (REQUEST_AGAIN, &one, true),
            (REQUEST_AGAIN, &other, false),
            (FOUND_NONE, &other, true),
        ] {
            looks.looks(directory, b"1", now + later);
            assert_eq!(looks.looks(directory, b"2", now + later), is_requested);
        }
    }

    #[test]
    fn times_of_files_that_are_read_or_listed_are_not_requested() {
        let [top, other] = paths();
        let below = RemotePath::new(b"/a/b").unwrap();
        let (mut looks, now) = (TimeLooks::default(), Instant::now());
        looks.reads(&top, now);
        for directory in [&top, &below] {
            assert!(!looks.looks(directory, b"1", now) && !looks.looks(directory, b"2", now));
        }
        assert!(!looks.looks(&other, b"1", now) && looks.looks(&other, b"2", now));
        looks.opened(&other);
        assert!(!looks.looks(&other, b"3", now), "it reads the directory");
        let later = now + READ_LATELY;
        assert!(!looks.looks(&top, b"1", later) && looks.looks(&top, b"2", later));
    }
}
