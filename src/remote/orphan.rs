//! What may still be on the server under a temporary name though nobody works with it any more, because the connection
//! was lost when it should have been cleared away.
//!
//! A file moved aside is moved back only while nobody changes what has its old name: a change there first settles what
//! became of it ([`Remote::settle_before`]).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::{Operation, Task};
use super::retry::Dialogue;
use super::stat::{Look, look};
use super::{Error, Remote, change, rename};
use crate::ftp::RemotePath;

/// Longest wait for another thread that clears one away; the network's deadlines, which are shorter, end what is stuck.
const STUCK: Duration = Duration::from_secs(300);

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Orphan {
    /// An unfinished upload, or a file that was replaced.
    Part(RemotePath),
    /// A file that was moved aside, and from where.
    Aside(RemotePath, RemotePath),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    lists: Mutex<Lists>,
    cleared: Condvar,
}

#[derive(Debug, Default)]
struct Lists {
    waiting: Vec<Orphan>,
    /// Somebody is clearing these away.
    taken: Vec<Orphan>,
}

impl Orphan {
    fn path(&self) -> &RemotePath {
        match self {
            Self::Part(path) | Self::Aside(path, _) => path,
        }
    }

    /// Whether a change of the file or directory at `path` is about it, too.
    fn is_about(&self, path: &RemotePath) -> bool {
        let is_of_it = matches!(self, Self::Aside(_, target) if target == path);
        is_of_it || self.path().below(path).is_some_and(|rest| !rest.is_empty())
    }

    /// It is to be deleted, whatever else becomes of its old name.
    pub(super) fn condemn(&mut self, remote: &Remote) {
        if let Self::Aside(path, _) = self {
            remote.names().journal().part(path);
            *self = Self::Part(path.clone());
        }
    }

    /// Deletes it, or moves it back where nothing has its old name.
    pub(super) fn settle(
        &mut self,
        remote: &Remote,
        dialogue: &mut Dialogue<'_>,
    ) -> Result<(), Error> {
        if let Self::Aside(aside, target) = self {
            match look(remote, dialogue, target)? {
                Look::Found(_) => self.condemn(remote),
                Look::NoParent(_) => return Ok(()),
                Look::Absent => {
                    return match look(remote, dialogue, aside)? {
                        Look::Absent | Look::NoParent(_) => Ok(()),
                        Look::Found(_) => rename::put_back(remote, dialogue, aside, target),
                    };
                }
            }
        }
        delete_part(remote, dialogue, self.path())
    }
}

impl Orphans {
    pub(super) fn add(&self, orphan: Orphan) {
        self.lock().waiting.push(orphan);
    }

    fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Takes the next one.
    fn take(&self) -> Option<Orphan> {
        let mut lists = self.lock();
        let first = (!lists.waiting.is_empty()).then(|| lists.waiting.remove(0))?;
        lists.taken.push(first.clone());
        Some(first)
    }

    /// Takes the next one that is about `path`, when nobody clears such a one away any more.
    fn take_about(&self, path: &RemotePath) -> Option<Orphan> {
        let is_taken = |lists: &mut Lists| lists.taken.iter().any(|orphan| orphan.is_about(path));
        let waited = self
            .cleared
            .wait_timeout_while(self.lock(), STUCK, is_taken);
        let mut lists = waited.unwrap_or_else(PoisonError::into_inner).0;
        let at = lists
            .waiting
            .iter()
            .position(|orphan| orphan.is_about(path))?;
        let orphan = lists.waiting.remove(at);
        lists.taken.push(orphan.clone());
        Some(orphan)
    }

    /// What was taken as `taken` is cleared away, or is to be tried again as `left`.
    fn put(&self, taken: &Orphan, left: Option<Orphan>) {
        let mut lists = self.lock();
        lists.taken.retain(|orphan| orphan != taken);
        lists.waiting.extend(left);
        drop(lists);
        self.cleared.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // The lists are changed by single pushes and removals.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Remote {
    /// Clears away what could not be when it should have been, because the connection was lost. What cannot
    /// be now either waits for the next call; with no connection to be had, all of it does.
    pub fn clear_orphans(&self) {
        let mut dialogue = self.dialogue();
        for _ in 0..self.names().orphans().count() {
            // Whoever waits for one that is taken may hold a session that this would need.
            if dialogue.connect().is_err() {
                return;
            }
            let Some(orphan) = self.names().orphans().take() else {
                return;
            };
            match self.clear(&mut dialogue, &orphan) {
                Err(error) if error.kind.is_the_connection() => return,
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Before a change of the file or directory at `path`: what is left from an earlier one is not to come between.
    pub(super) fn settle_before(&self, dialogue: &mut Dialogue<'_>, path: &RemotePath) {
        while let Some(orphan) = self.names().orphans().take_about(path) {
            if self.clear(dialogue, &orphan).is_err() {
                return;
            }
        }
    }

    /// Deletes the unfinished upload at `path`, which may be gone already.
    ///
    /// # Errors
    /// Whether it is there is not known, or it is.
    pub fn delete_part(&self, path: &RemotePath) -> Result<(), Error> {
        delete_part(self, &mut self.dialogue(), path)
    }

    /// Moves the file at `aside` back to `target`, unless another has taken its place: then it is deleted.
    ///
    /// # Errors
    /// What became of it is not known.
    pub fn settle_aside(&self, aside: &RemotePath, target: &RemotePath) -> Result<(), Error> {
        Orphan::Aside(aside.clone(), target.clone()).settle(self, &mut self.dialogue())
    }

    fn clear(&self, dialogue: &mut Dialogue<'_>, taken: &Orphan) -> Result<(), Error> {
        let mut orphan = taken.clone();
        let cleared = orphan.settle(self, dialogue);
        let left = match &cleared {
            Ok(()) => {
                self.names().journal().gone(orphan.path());
                None
            }
            Err(fault) => {
                log::debug!("{} is still to be cleared away: {fault}", orphan.path());
                Some(orphan)
            }
        };
        self.names().orphans().put(taken, left);
        cleared
    }
}

fn delete_part(
    remote: &Remote,
    dialogue: &mut Dialogue<'_>,
    path: &RemotePath,
) -> Result<(), Error> {
    let Err(fault) = change::delete_in(remote, dialogue, path) else {
        return Ok(());
    };
    match look(remote, dialogue, path) {
        Ok(Look::Absent | Look::NoParent(_)) => Ok(()),
        Ok(Look::Found(_)) | Err(_) => {
            let task = Task::new(Operation::Delete, path);
            Err(remote.blame(dialogue, &task, &fault))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_is_about_its_old_name_and_about_the_directories_above_it() {
        let orphan = Orphan::Aside(path("/a/b/.old"), path("/a/b/c"));
        for (of, expected) in [
            ("/a/b/c", true),
            ("/a/b", true),
            ("/a", true),
            ("/a/b/d", false),
            ("/a/b/c/d", false),
        ] {
            assert_eq!(orphan.is_about(&path(of)), expected, "{of}");
        }
        assert!(!Orphan::Part(path("/a/.part")).is_about(&path("/a/.part")));
    }

    #[test]
    fn what_is_taken_is_waited_for_and_what_failed_is_taken_again() {
        let orphans = Orphans::default();
        let orphan = Orphan::Aside(path("/.old"), path("/a"));
        orphans.add(orphan.clone());
        let taken = orphans.take().unwrap();
        std::thread::scope(|scope| {
            let other = scope.spawn(|| orphans.take_about(&path("/a")));
            assert_eq!(orphans.take_about(&path("/b")), None, "not waited for");
            orphans.put(&taken, Some(orphan.clone()));
            assert_eq!(other.join().unwrap(), Some(orphan.clone()));
        });
        orphans.put(&orphan, None);
        assert_eq!(
            (orphans.count(), orphans.take_about(&path("/a"))),
            (0, None)
        );
    }
}
