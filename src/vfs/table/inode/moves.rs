//! Renames under way on the server. Until the inodes have their new paths, what the server says
//! about an old one may be about no file, or about another one.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Inodes;
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::vfs::table::ino::Ino;

/// Interval at which a wait looks whether it is cancelled.
const LOOK_UP: Duration = Duration::from_millis(100);

/// The paths that renames under way change, with everything below them.
#[derive(Debug, Default)]
pub(super) struct Moves {
    paths: Mutex<Vec<RemotePath>>,
    ended: Condvar,
}

/// A rename under way. Dropping it ends it.
#[derive(Debug)]
#[must_use]
pub(in crate::vfs) struct MoveGuard<'a> {
    moves: &'a Moves,
    paths: Vec<RemotePath>,
}

impl Moves {
    /// Begins a rename that changes what is at `paths` and below them.
    fn begin(&self, paths: &[&RemotePath]) -> MoveGuard<'_> {
        let paths: Vec<_> = paths.iter().copied().cloned().collect();
        self.lock().extend(paths.iter().cloned());
        MoveGuard { moves: self, paths }
    }

    /// Whether a rename that changes what is at `path` is under way.
    fn concern(&self, path: &RemotePath) -> bool {
        concern(&self.lock(), path)
    }

    /// Waits until no rename that changes what is at `path` is under way, or `cancel` is cancelled.
    fn wait(&self, path: &RemotePath, cancel: &Cancel) {
        let mut paths = self.lock();
        while concern(&paths, path) && !cancel.is_cancelled() {
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
    pub(in crate::vfs) fn begin_move(&self, paths: &[&RemotePath]) -> MoveGuard<'_> {
        self.moves.begin(paths)
    }

    /// Whether what the server has just said about `path`, which was the path of `ino`, may be
    /// about another file: a rename is under way, or has given `ino` another path.
    pub(in crate::vfs) fn may_have_moved(&self, ino: Ino, path: &RemotePath) -> bool {
        self.moves.concern(path) || self.path(ino).is_ok_and(|now| now != *path)
    }

    /// Waits until no rename that changes what is at `path` is under way, or `cancel` is cancelled.
    pub(in crate::vfs) fn wait_for_moves(&self, path: &RemotePath, cancel: &Cancel) {
        self.moves.wait(path, cancel);
    }
}

fn concern(moves: &[RemotePath], path: &RemotePath) -> bool {
    moves.iter().any(|moved| path.below(moved).is_some())
}

impl Drop for MoveGuard<'_> {
    fn drop(&mut self) {
        let mut moves = self.moves.lock();
        for path in &self.paths {
            if let Some(at) = moves.iter().position(|it| it == path) {
                moves.swap_remove(at);
            }
        }
        drop(moves);
        self.moves.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> RemotePath {
        RemotePath::new(path.as_bytes()).unwrap()
    }

    #[test]
    fn a_rename_concerns_what_it_moves_until_it_ends() {
        let moves = Moves::default();
        let (from, to) = (path("/d"), path("/e"));
        let first = moves.begin(&[&from, &to]);
        let second = moves.begin(&[&from]);
        let concerned = |name| moves.concern(&path(name));
        assert!(concerned("/d") && concerned("/d/f/g") && concerned("/e/f"));
        assert!(!concerned("/dd") && !concerned("/") && !concerned("/f"));
        drop(first);
        assert!(concerned("/d/f") && !concerned("/e/f"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| moves.wait(&path("/d/f"), &Cancel::never()));
            drop(second);
            waiting.join().unwrap();
        });
        assert!(!concerned("/d/f"));
    }
}
