//! Changes that were not made: each is reported once.

use super::Names;
use crate::ftp::RemotePath;
use crate::vfs::errno::Errno;

/// Maximum number of failures that are remembered.
pub(super) const MOST_FAILURES: usize = 1_000;

/// A change that was not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::vfs) struct NameFailure {
    /// The name.
    pub(in crate::vfs) path: RemotePath,
    /// The errno that a program receives.
    pub(in crate::vfs) errno: Errno,
    /// The cause as text.
    pub(in crate::vfs) reason: String,
}

impl Names {
    /// Returns the errno of a change of `path` that was not made; only once.
    pub(in crate::vfs) fn take_failure(&self, path: &RemotePath) -> Option<Errno> {
        self.take_failure_of(|failed| failed == path)
    }

    /// Returns the errno of the first change below `directory` that was not made; only once.
    pub(in crate::vfs) fn take_failure_below(&self, directory: &RemotePath) -> Option<Errno> {
        self.take_failure_of(|failed| failed.below(directory).is_some())
    }

    /// Whether a change of `path` or of one above it was not made, and that was not reported.
    pub(in crate::vfs) fn has_failed_at(&self, path: &RemotePath) -> bool {
        let state = self.lock();
        let mut failures = state.failures.iter();
        failures.any(|failed| path.below(&failed.path).is_some())
    }

    fn take_failure_of(&self, is_it: impl Fn(&RemotePath) -> bool) -> Option<Errno> {
        let mut state = self.lock();
        let first = state.failures.iter().find(|it| is_it(&it.path));
        let first = first.map(|failure| failure.errno);
        state.failures.retain(|it| !is_it(&it.path));
        first
    }

    /// Returns the changes below `directory` that were not made; only once.
    pub(in crate::vfs) fn failures_below(&self, directory: &RemotePath) -> Vec<NameFailure> {
        let mut state = self.lock();
        let is_below = |failure: &NameFailure| failure.path.below(directory).is_some();
        let (below, others) = std::mem::take(&mut state.failures)
            .into_iter()
            .partition(is_below);
        state.failures = others;
        below
    }

    /// Returns the changes that were not made and not reported, the oldest first.
    pub(in crate::vfs) fn failures(&self) -> Vec<NameFailure> {
        self.lock().failures.clone()
    }
}
