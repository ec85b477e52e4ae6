//! Refusals to store files, remembered for a while, so that the next program learns of them when it
//! opens a file and not when it closes it. Many programs ignore the result of close(2).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;

/// Maximum number of refusals that are remembered.
const MOST: usize = 1000;

/// What the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusedStore {
    /// A new file. Others in its directory will probably be refused, too.
    New,
    /// A change of an existing file, which says nothing about new ones.
    Existing,
}

/// The paths of files that the server refused to store, with the time of the refusal.
#[derive(Debug)]
pub(super) struct Refusals {
    ttl: Duration,
    refused: Mutex<HashMap<RemotePath, (Instant, RefusedStore)>>,
}

impl Refusals {
    /// Creates an empty memory that remembers each refusal for `ttl`.
    pub(super) fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            refused: Mutex::default(),
        }
    }

    /// Records that the server denied storing the file at `path`.
    pub(super) fn refused(&self, path: &RemotePath, what: RefusedStore, now: Instant) {
        let mut refused = self.lock();
        if refused.len() >= MOST {
            refused.retain(|_, (since, _)| self.is_recent(*since, now));
        }
        if refused.len() < MOST {
            refused.insert(path.clone(), (now, what));
        }
    }

    /// Records that the server stored a file in `directory`, whose refusals are thereby obsolete.
    pub(super) fn stored_in(&self, directory: &RemotePath) {
        self.lock()
            .retain(|path, _| path.parent().as_ref() != Some(directory));
    }

    /// Forgets the refusals of the file or in the directory at `path`, whose mode or name changed.
    pub(super) fn changed(&self, path: &RemotePath) {
        self.lock()
            .retain(|other, _| other != path && other.parent().as_ref() != Some(path));
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Whether the file at `path` was refused recently.
    pub(super) fn is_refused(&self, path: &RemotePath, now: Instant) -> bool {
        let refused = self.lock();
        refused
            .get(path)
            .is_some_and(|(since, _)| self.is_recent(*since, now))
    }

    /// Whether a new file in `directory` was refused recently.
    pub(super) fn is_refused_in(&self, directory: &RemotePath, now: Instant) -> bool {
        self.lock().iter().any(|(path, (since, what))| {
            *what == RefusedStore::New
                && self.is_recent(*since, now)
                && path.parent().as_ref() == Some(directory)
        })
    }

    fn is_recent(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) < self.ttl
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RemotePath, (Instant, RefusedStore)>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_counts_for_a_while_and_until_a_success() {
        let path = |text: &[u8]| RemotePath::new(text).unwrap();
        let (start, ttl) = (Instant::now(), Duration::from_secs(20));
        let refusals = Refusals::new(ttl);
        refusals.refused(&path(b"/d/f"), RefusedStore::New, start);
        assert!(refusals.is_refused(&path(b"/d/f"), start));
        assert!(refusals.is_refused_in(&path(b"/d"), start));
        assert!(!refusals.is_refused(&path(b"/d/g"), start));
        assert!(!refusals.is_refused_in(&path(b"/"), start));
        assert!(!refusals.is_refused_in(&path(b"/d"), start + ttl));
        refusals.stored_in(&path(b"/"));
        assert!(refusals.is_refused_in(&path(b"/d"), start));
        refusals.stored_in(&path(b"/d"));
        assert!(!refusals.is_refused(&path(b"/d/f"), start));
    }

    #[test]
    fn a_refused_change_says_nothing_about_new_files() {
        let path = |text: &[u8]| RemotePath::new(text).unwrap();
        let now = Instant::now();
        let refusals = Refusals::new(Duration::from_secs(20));
        refusals.refused(&path(b"/d/f"), RefusedStore::Existing, now);
        assert!(refusals.is_refused(&path(b"/d/f"), now));
        assert!(!refusals.is_refused_in(&path(b"/d"), now));
        refusals.changed(&path(b"/d/f"));
        assert!(!refusals.is_refused(&path(b"/d/f"), now));
        refusals.refused(&path(b"/d/f"), RefusedStore::New, now);
        refusals.changed(&path(b"/d"));
        assert!(!refusals.is_refused_in(&path(b"/d"), now));
    }

    #[test]
    fn the_memory_is_bounded() {
        let refusals = Refusals::new(Duration::from_secs(20));
        let now = Instant::now();
        for number in 0..2 * MOST {
            let path = RemotePath::new(format!("/{number}").as_bytes()).unwrap();
            refusals.refused(&path, RefusedStore::New, now);
        }
        assert_eq!(refusals.lock().len(), MOST);
    }
}
