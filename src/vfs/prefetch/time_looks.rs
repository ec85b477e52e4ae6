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

/// Maximum number of directories remembered in which files were read, and for how long.
const MAX_READ: usize = 16;
const READ_LATELY: Duration = Duration::from_secs(10);

/// The look-ups of files whose times are known only to the minute or the day.
#[derive(Debug, Default)]
pub(super) struct TimeLooks {
    /// The directories of the last ones, the last one at the back.
    looked: VecDeque<(RemotePath, Instant)>,
    /// The directories whose exact times were requested, the last one at the back.
    requested: VecDeque<(RemotePath, Instant)>,
    /// The directories in which files were read, the last one at the back.
    read: VecDeque<(RemotePath, Instant)>,
}

impl TimeLooks {
    /// Records a look-up in `directory`. Returns whether to request the exact times there: it is
    /// not the first one, or those of a directory beside it were requested a moment ago.
    pub(super) fn looks(&mut self, directory: &RemotePath, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.requested.retain(|(_, at)| since(*at) < REQUEST_AGAIN);
        if self.requested.iter().any(|(path, _)| path == directory) || self.is_read(directory, now)
        {
            return false;
        }
        let before = self.looked.iter().position(|(path, _)| path == directory);
        let before = before.and_then(|place| self.looked.remove(place));
        self.looked.push_back((directory.clone(), now));
        if self.looked.len() > MAX_LOOKED {
            self.looked.pop_front();
        }
        let is_beside = |path: &RemotePath| path.parent() == directory.parent();
        let mut requested = self.requested.iter();
        before.is_some_and(|(_, at)| since(at) < SOON)
            || requested.any(|(path, at)| since(*at) < SOON && is_beside(path))
    }

    /// Records that the exact times in `directory` are requested.
    pub(super) fn requested(&mut self, directory: &RemotePath, now: Instant) {
        self.requested.push_back((directory.clone(), now));
        if self.requested.len() > MAX_REQUESTED {
            self.requested.pop_front();
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
        self.looked.retain(|(path, _)| path != directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_times_are_requested_once_for_files_looked_up_one_after_the_other() {
        let [one, other] = ["/a", "/b"].map(|path| RemotePath::new(path.as_bytes()).unwrap());
        let (mut looks, now) = (TimeLooks::default(), Instant::now());
        assert!(!looks.looks(&one, now));
        assert!(!looks.looks(&other, now));
        assert!(looks.looks(&one, now));
        looks.requested(&one, now);
        assert!(!looks.looks(&one, now), "requested");
        assert!(looks.looks(&other, now), "the next directory");
        assert!(!looks.looks(&other, now + SOON), "a while later");
        assert!(looks.looks(&other, now + SOON));
        let later = now + REQUEST_AGAIN;
        assert!(!looks.looks(&one, later));
        looks.opened(&one);
        assert!(!looks.looks(&one, later), "it reads the directory");
        assert!(looks.looks(&one, later));
    }

    #[test]
    fn times_of_files_that_are_read_are_not_requested() {
        let [top, below] = ["/a", "/a/b"].map(|path| RemotePath::new(path.as_bytes()).unwrap());
        let (mut looks, now) = (TimeLooks::default(), Instant::now());
        looks.reads(&top, now);
        for directory in [&top, &below] {
            assert!(!looks.looks(directory, now) && !looks.looks(directory, now));
        }
        let later = now + READ_LATELY;
        assert!(!looks.looks(&top, later) && looks.looks(&top, later));
        looks.reads(&below, later);
        assert!(looks.looks(&top, later), "not there");
    }
}
