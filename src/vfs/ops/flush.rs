//! `ftpfs flush`: stores the closed files below a path and waits for that.

use std::time::Duration;

use crate::ftp::RemotePath;
use crate::vfs::Vfs;

/// How often the caller learns how many files are left.
const REPORT: Duration = Duration::from_millis(500);

/// How long to look for a server that could not be reached when something must be stored now.
pub(in crate::vfs) const LOOK: Duration = Duration::from_secs(6);

/// The result of a flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FlushOutcome {
    /// Number of files that were waiting and are stored now.
    pub stored: usize,
    /// The files that could not be stored, and why.
    pub failures: Vec<(Option<RemotePath>, String)>,
}

impl Vfs {
    /// Stores the closed files at `path` and below it, with at least one attempt each. `go_on` is
    /// called with the number of files that are left, about twice a second; the wait ends early if
    /// it returns false.
    pub(crate) fn flush_below(
        &self,
        path: &RemotePath,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> FlushOutcome {
        let is_below = |ino| {
            let found = self.inodes.path(ino);
            found.is_ok_and(|found| found.below(path).is_some())
        };
        let files = self.writeback.files();
        let inos: Vec<_> = files
            .iter()
            .map(|file| file.ino())
            .filter(|ino| is_below(*ino))
            .collect();
        drop(files);
        if !inos.is_empty() {
            self.remote.look_for_server(LOOK);
        }
        self.unpark(path);
        let (places, _) = self.names.places(path, false);
        let changes = places.len();
        if inos.is_empty() && changes > 0 {
            self.remote.look_for_server(LOOK);
        }
        let attempts = self.writeback.expedite(&inos);
        let hurried = self.names.hurry(places);
        loop {
            let mut left = self.writeback.undecided(&attempts, REPORT);
            let patience = if left == 0 { REPORT } else { Duration::ZERO };
            left += self.names.open_among(&hurried, patience);
            if left == 0 || !go_on(left) {
                break;
            }
        }
        let waiting = self.writeback.statuses();
        let mut failures: Vec<_> = waiting
            .into_iter()
            .filter(|it| inos.contains(&it.file.ino()))
            .filter_map(|it| Some((self.inodes.path(it.file.ino()).ok(), it.failure?.reason)))
            .collect();
        let stored = inos.len().saturating_sub(failures.len());
        let failed = self.names.failures_below(path);
        failures.extend(failed.into_iter().map(|it| (Some(it.path), it.reason)));
        let held_up = self.names.held_up(&hurried);
        failures.extend(held_up.map(|(path, reason)| (Some(path), reason)));
        FlushOutcome { stored, failures }
    }
}
