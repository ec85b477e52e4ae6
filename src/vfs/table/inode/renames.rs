//! Renames under way on the server. Until the inodes have their new paths, what the server says
//! about an old one may be about no file, or about another one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Inodes;
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::vfs::table::ino::Ino;

/// Interval at which a wait checks whether it is cancelled.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Maximum number of times that the server is asked about a file because it was renamed meanwhile.
pub(in crate::vfs) const MOST_QUESTIONS: usize = 8;

/// The paths that renames under way change, with everything below them.
#[derive(Debug, Default)]
pub(super) struct OngoingRenames {
    paths: Mutex<Vec<RemotePath>>,
    ended: Condvar,
}

/// A rename under way. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(in crate::vfs) struct RenameGuard<'a> {
    renames: &'a OngoingRenames,
    paths: Vec<RemotePath>,
}

impl OngoingRenames {
    /// Begins a rename that changes what is at `paths` and below them.
    fn begin(&self, paths: &[&RemotePath]) -> RenameGuard<'_> {
        let paths: Vec<_> = paths.iter().copied().cloned().collect();
        self.lock().extend(paths.iter().cloned());
        RenameGuard {
            renames: self,
            paths,
        }
    }

    /// Whether a rename that changes what is at `path` is under way.
    fn affect(&self, path: &RemotePath) -> bool {
        affects(&self.lock(), path)
    }

    /// Waits until no rename that changes what is at `path` is under way, or `cancel` is cancelled.
    fn wait(&self, path: &RemotePath, cancel: &Cancel) {
        let mut paths = self.lock();
        while affects(&paths, path) && !cancel.is_cancelled() {
            let waited = self.ended.wait_timeout(paths, LOOK_UP);
            paths = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RemotePath>> {
        // Every change is one call.
        self.paths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inodes {
    /// Announces a rename on the server that changes what is at `paths` and below them, until the
    /// inodes have their new paths.
    pub(in crate::vfs) fn begin_rename(&self, paths: &[&RemotePath]) -> RenameGuard<'_> {
        self.renames.begin(paths)
    }

    /// Whether a rename that changes what is at `path` is under way on the server.
    pub(in crate::vfs) fn is_being_renamed(&self, path: &RemotePath) -> bool {
        self.renames.affect(path)
    }

    /// Whether what the server has just said about `path`, which was the path of `ino`, may be
    /// about another file: a rename is under way, or has given `ino` another path.
    pub(in crate::vfs) fn may_have_been_renamed(&self, ino: Ino, path: &RemotePath) -> bool {
        self.is_being_renamed(path) || self.path(ino).is_ok_and(|now| now != *path)
    }

    /// Waits until no rename that changes what is at `path` is under way, or `cancel` is cancelled.
    pub(in crate::vfs) fn wait_for_renames(&self, path: &RemotePath, cancel: &Cancel) {
        self.renames.wait(path, cancel);
    }
}

fn affects(renames: &[RemotePath], path: &RemotePath) -> bool {
    renames.iter().any(|renamed| path.below(renamed).is_some())
}

impl Drop for RenameGuard<'_> {
    fn drop(&mut self) {
        let mut renames = self.renames.lock();
        for path in &self.paths {
            if let Some(at) = renames.iter().position(|it| it == path) {
                renames.swap_remove(at);
            }
        }
        drop(renames);
        self.renames.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RemotePath {
        RemotePath::new(path.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_affects_what_is_below_its_paths_until_it_ends() {
        let renames = OngoingRenames::default();
        let (from, to) = (path("/d"), path("/e"));
        let first = renames.begin(&[&from, &to]);
        let second = renames.begin(&[&from]);
        let is_affected = |name| renames.affect(&path(name));
        assert!(is_affected("/d") && is_affected("/d/f/g") && is_affected("/e/f"));
        assert!(!is_affected("/dd") && !is_affected("/") && !is_affected("/f"));
        drop(first);
        assert!(is_affected("/d/f") && !is_affected("/e/f"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| renames.wait(&path("/d/f"), &Cancel::never()));
            drop(second);
            waiting.join().unwrap();
        });
        assert!(!is_affected("/d/f"));
    }
}
