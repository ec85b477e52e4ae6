//! What may still be on the server under a temporary name though nothing works with it any more:
//! the connection was lost when it should have been cleared away, or the server refused. What is
//! refused is tried again more and more rarely.
//!
//! A file moved aside is moved back only while nobody changes what has its old name: a change there
//! first settles what became of it ([`Remote::resolve_leftovers`]).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::absence::lookup_reliably;
use super::error::{ErrorContext, Operation, meaning};
use super::retry::Exchange;
use super::stat::{Lookup, lookup};
use super::temporary::saved_path;
use super::{Error, ErrorKind, Remote, Version, change, rename};
use crate::ftp::{Entry, Kind, RemotePath};
use crate::journal::Successor;

/// Longest wait for another thread that clears one away; the network's deadlines, which are
/// shorter, end what is stuck.
const STUCK: Duration = Duration::from_secs(300);

/// The pause after the first refusal. Each further one doubles it.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// A leftover on the server, as `ftpfs status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its temporary name.
    pub path: RemotePath,
    /// How long from now it is tried again to clear it away.
    pub next: Duration,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Orphan {
    /// An unfinished upload, or a file that was replaced.
    Part(RemotePath),
    /// A file that was moved aside, from where, and what is to take its place.
    Aside(RemotePath, RemotePath, Option<Successor>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    lists: Mutex<Lists>,
    cleared: Condvar,
}

#[derive(Debug, Default)]
struct Lists {
    waiting: Vec<Attempt>,
    /// A thread is clearing these away.
    taken: Vec<Orphan>,
}

/// An orphan and when it is tried again to clear it away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    orphan: Orphan,
    due: Instant,
    /// How often the server refused so far.
    refusals: u32,
}

/// How it came out to clear an orphan away.
#[derive(Debug)]
enum Cleared {
    Done,
    /// The server was not asked, or its answer was lost.
    Unasked(Orphan),
    Refused(Orphan),
}

impl Attempt {
    fn is_due(&self, now: Option<Instant>) -> bool {
        now.is_none_or(|now| self.due <= now)
    }

    /// This attempt's successor, which ended at `now` as `cleared` says. None where nothing is
    /// left.
    fn next(&self, cleared: Cleared, now: Instant) -> Option<Self> {
        match cleared {
            Cleared::Done => None,
            Cleared::Unasked(orphan) => Some(Self {
                orphan,
                ..self.clone()
            }),
            Cleared::Refused(orphan) => Some(Self {
                orphan,
                due: now + pause_after(self.refusals),
                refusals: self.refusals.saturating_add(1),
            }),
        }
    }
}

/// The pause after a refusal that `refusals` came before.
fn pause_after(refusals: u32) -> Duration {
    let factor = 1_u32.checked_shl(refusals).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(MAX_PAUSE)
}

impl Orphan {
    fn path(&self) -> &RemotePath {
        match self {
            Self::Part(path) | Self::Aside(path, ..) => path,
        }
    }

    /// Whether a change of the file or directory at `path` is about it, too.
    fn is_about(&self, path: &RemotePath) -> bool {
        let is_of_it = matches!(self, Self::Aside(_, target, _) if target == path);
        is_of_it || self.path().below(path).is_some_and(|rest| !rest.is_empty())
    }

    /// It is to be deleted, whatever else becomes of its old name.
    pub(super) fn mark_for_deletion(&mut self, remote: &Remote) {
        if let Self::Aside(path, ..) = self {
            remote.names().journal().part(path);
            *self = Self::Part(path.clone());
        }
    }

    /// Deletes it, or moves it back where nothing has its old name. A file moved aside is deleted
    /// only where the file at its old name proves to be its successor; where that is another
    /// client's, it stays under a name that is shown.
    pub(super) fn resolve(
        &mut self,
        remote: &Remote,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Error> {
        if let Self::Aside(aside, target, successor) = self {
            // In this order: a server may still move the file after it refused to, and what has its
            // old name is another file only once it has the new one.
            let seen = match lookup(remote, exchange, aside) {
                // The directory may come back: it is on a disk that is not mounted, or was renamed
                // for a moment.
                Ok(Lookup::NoParent(kind)) => return Err(no_directory(aside, kind)),
                Ok(Lookup::Found(_)) => Ok(true),
                Ok(Lookup::Absent) => Ok(false),
                Err(error) if error.kind.is_the_connection() => return Err(error),
                Err(error) => Err(error),
            };
            match (lookup_reliably(remote, exchange, target)?, seen) {
                (Lookup::NoParent(kind), Ok(true) | Err(_)) => {
                    return Err(no_directory(aside, kind));
                }
                (Lookup::NoParent(_) | Lookup::Found(_), Ok(false)) => return Ok(()),
                (Lookup::Found(found), Ok(true)) if is_successor(*successor, &found) => {
                    self.mark_for_deletion(remote);
                }
                (Lookup::Found(_), Ok(true)) => return save(remote, exchange, aside, target),
                (Lookup::Found(_), Err(error)) => return Err(error),
                (Lookup::Absent, Ok(true)) => {
                    return rename::put_back(remote, exchange, aside, target);
                }
                // The server may hide the name from every look, but not from RNFR.
                (Lookup::Absent, Ok(false) | Err(_)) => {
                    if rename::put_back_if_there(remote, exchange, aside, target)? {
                        return Ok(());
                    }
                    return confirm_directory(remote, exchange, aside);
                }
            }
        }
        delete_part(remote, exchange, self.path())
    }
}

/// Fails where the directory of `aside` is missing: many servers refuse a name in such a directory
/// as they refuse a missing name.
fn confirm_directory(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    aside: &RemotePath,
) -> Result<(), Error> {
    let Some(directory) = aside.parent() else {
        return Ok(());
    };
    match lookup_reliably(remote, exchange, &directory)? {
        Lookup::Found(entry) if entry.kind != Kind::File => Ok(()),
        Lookup::Found(_) => Err(no_directory(aside, ErrorKind::NotDirectory)),
        Lookup::Absent => Err(no_directory(aside, ErrorKind::NotFound)),
        Lookup::NoParent(kind) => Err(no_directory(aside, kind)),
    }
}

fn no_directory(aside: &RemotePath, kind: ErrorKind) -> Error {
    ErrorContext::new(Operation::Rename, aside).error(kind, &"its directory is not there")
}

/// Whether what was `found` proves to be this successor.
fn is_successor(successor: Option<Successor>, found: &Entry) -> bool {
    successor.is_some_and(|successor| {
        found.kind != Kind::Directory
            && Version::from(successor).is_proven_by(&Version::from(found))
    })
}

/// Gives the file at `aside` a name that is shown: it may be the only copy of what it holds.
fn save(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    aside: &RemotePath,
    target: &RemotePath,
) -> Result<(), Error> {
    let Some(saved) = saved_path(aside, target) else {
        return Err(
            ErrorContext::new(Operation::Rename, aside).error(ErrorKind::InvalidName, &"no name")
        );
    };
    rename::put_back(remote, exchange, aside, &saved)?;
    log::warn!("{target} is another client's file now; the one that ftpfs replaced is {saved}");
    Ok(())
}

impl Orphans {
    /// Adds one that is first cleared away at `due`.
    pub(super) fn add(&self, orphan: Orphan, due: Instant) {
        let attempt = Attempt {
            orphan,
            due,
            refusals: 0,
        };
        self.lock().waiting.push(attempt);
    }

    fn count(&self) -> usize {
        self.lock().waiting.len()
    }

    fn has_due(&self, now: Option<Instant>) -> bool {
        self.lock()
            .waiting
            .iter()
            .any(|attempt| attempt.is_due(now))
    }

    /// Those that wait, the next first.
    fn leftovers(&self, now: Instant) -> Vec<Leftover> {
        let lists = self.lock();
        let mut leftovers: Vec<_> = lists
            .waiting
            .iter()
            .map(|attempt| Leftover {
                path: attempt.orphan.path().clone(),
                next: attempt.due.saturating_duration_since(now),
            })
            .collect();
        drop(lists);
        leftovers.sort_by_key(|leftover| leftover.next);
        leftovers
    }

    /// Takes the next one that is due at `now`; where there is no such time, the next one.
    fn take(&self, now: Option<Instant>) -> Option<Attempt> {
        let mut lists = self.lock();
        let at = lists
            .waiting
            .iter()
            .position(|attempt| attempt.is_due(now))?;
        Some(lists.take(at))
    }

    /// Takes the next one that is about `path`, due or not, when no thread clears such a one away
    /// any more.
    fn take_about(&self, path: &RemotePath) -> Option<Attempt> {
        let is_taken = |lists: &mut Lists| lists.taken.iter().any(|orphan| orphan.is_about(path));
        let waited = self
            .cleared
            .wait_timeout_while(self.lock(), STUCK, is_taken);
        let mut lists = waited.unwrap_or_else(PoisonError::into_inner).0;
        let is_about = |attempt: &Attempt| attempt.orphan.is_about(path);
        let at = lists.waiting.iter().position(is_about)?;
        Some(lists.take(at))
    }

    /// What was taken as `taken` was cleared away, or `cleared` says what is left of it.
    fn put(&self, taken: &Attempt, cleared: Cleared, now: Instant) {
        let mut lists = self.lock();
        lists.taken.retain(|orphan| *orphan != taken.orphan);
        lists.waiting.extend(taken.next(cleared, now));
        drop(lists);
        self.cleared.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // The lists are changed by single pushes and removals.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lists {
    fn take(&mut self, at: usize) -> Attempt {
        let attempt = self.waiting.remove(at);
        self.taken.push(attempt.orphan.clone());
        attempt
    }
}

impl Remote {
    /// Clears away all that could not be when it should have been. What cannot be now either waits
    /// for the next call; without a connection, all of it does.
    pub fn clear_orphans(&self) {
        self.clear_orphans_due(None);
    }

    /// The same of what is due at `now`: what the server refuses to clear away is due 5 s later,
    /// then after pauses that double, up to an hour.
    pub fn clear_due_orphans(&self, now: Instant) {
        self.clear_orphans_due(Some(now));
    }

    /// What is still to be cleared away, the next first.
    pub fn leftovers(&self) -> Vec<Leftover> {
        self.names().orphans().leftovers(Instant::now())
    }

    /// Takes over the unfinished upload at `path`, which an earlier mount left and the server does
    /// not delete now. False where this mount keeps no journal, which must know of it.
    pub fn adopt_part(&self, path: &RemotePath) -> bool {
        let journal = self.names().journal();
        journal.part(path);
        self.adopt(Orphan::Part(path.clone()))
    }

    /// The same of the file at `aside`, which was moved there from `target`.
    pub fn adopt_aside(
        &self,
        aside: &RemotePath,
        target: &RemotePath,
        successor: Option<Successor>,
    ) -> bool {
        let journal = self.names().journal();
        journal.aside(aside, target, successor);
        self.adopt(Orphan::Aside(aside.clone(), target.clone(), successor))
    }

    fn adopt(&self, orphan: Orphan) -> bool {
        let is_kept = self.names().journal().is_enabled();
        if is_kept {
            self.names()
                .orphans()
                .add(orphan, Instant::now() + FIRST_PAUSE);
        }
        is_kept
    }

    fn clear_orphans_due(&self, now: Option<Instant>) {
        let mut exchange = self.exchange();
        for _ in 0..self.names().orphans().count() {
            if !self.names().orphans().has_due(now) {
                return;
            }
            // A thread that waits for one that is taken may hold a session that this would need.
            if exchange.ensure_session().is_err() {
                return;
            }
            let Some(taken) = self.names().orphans().take(now) else {
                return;
            };
            match self.clear(&mut exchange, &taken) {
                Err(error) if error.kind.is_the_connection() => return,
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Before a change of the file or directory at `path`: what is left from an earlier one is not
    /// to come between.
    pub(super) fn resolve_leftovers(&self, exchange: &mut Exchange<'_>, path: &RemotePath) {
        while let Some(orphan) = self.names().orphans().take_about(path) {
            if self.clear(exchange, &orphan).is_err() {
                return;
            }
        }
    }

    /// Deletes the unfinished upload at `path`, which may be gone already.
    ///
    /// # Errors
    /// Whether it is there is not known, or it is.
    pub fn delete_part(&self, path: &RemotePath) -> Result<(), Error> {
        delete_part(self, &mut self.exchange(), path)
    }

    /// Moves the file at `aside`, which an earlier mount left, back to `target`. Where its
    /// successor has that name, it is deleted; where another file has, it gets a name that is
    /// shown.
    ///
    /// # Errors
    /// What became of it is not known, or its directory is missing, which may come back.
    pub fn resolve_aside(
        &self,
        aside: &RemotePath,
        target: &RemotePath,
        successor: Option<Successor>,
    ) -> Result<(), Error> {
        let mut orphan = Orphan::Aside(aside.clone(), target.clone(), successor);
        orphan.resolve(self, &mut self.exchange())
    }

    fn clear(&self, exchange: &mut Exchange<'_>, taken: &Attempt) -> Result<(), Error> {
        let mut orphan = taken.orphan.clone();
        let result = orphan.resolve(self, exchange);
        let cleared = match &result {
            Ok(()) => {
                self.names().journal().clear(orphan.path());
                Cleared::Done
            }
            Err(fault) => {
                log::debug!("{} is still to be cleared away: {fault}", orphan.path());
                if fault.kind.is_the_connection() {
                    Cleared::Unasked(orphan)
                } else {
                    Cleared::Refused(orphan)
                }
            }
        };
        self.names().orphans().put(taken, cleared, Instant::now());
        result
    }
}

fn delete_part(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<(), Error> {
    let Err(fault) = change::delete_in(remote, exchange, path) else {
        return Ok(());
    };
    match lookup_reliably(remote, exchange, path) {
        Ok(Lookup::Absent | Lookup::NoParent(_)) => Ok(()),
        Err(_) if meaning(&fault, path) == Some(ErrorKind::NotFound) => Ok(()),
        Ok(Lookup::Found(_)) | Err(_) => {
            let context = ErrorContext::new(Operation::Delete, path);
            Err(remote.diagnose(exchange, &context, &fault))
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
        let orphan = Orphan::Aside(path("/a/b/.old"), path("/a/b/c"), None);
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
        let (orphans, now) = (Orphans::default(), Instant::now());
        let orphan = Orphan::Aside(path("/.old"), path("/a"), None);
        orphans.add(orphan.clone(), now);
        let taken = orphans.take(Some(now)).unwrap();
        let again = std::thread::scope(|scope| {
            let other = scope.spawn(|| orphans.take_about(&path("/a")));
            assert_eq!(orphans.take_about(&path("/b")), None, "not waited for");
            orphans.put(&taken, Cleared::Refused(orphan.clone()), now);
            other.join().unwrap().unwrap()
        });
        assert_eq!(again.orphan, orphan);
        orphans.put(&again, Cleared::Done, now);
        assert_eq!(
            (orphans.count(), orphans.take_about(&path("/a"))),
            (0, None)
        );
    }

    #[test]
    fn what_is_refused_is_tried_more_and_more_rarely() {
        let (orphans, start) = (Orphans::default(), Instant::now());
        let (stubborn, other) = (
            Orphan::Part(path("/stubborn.part")),
            Orphan::Part(path("/other.part")),
        );
        orphans.add(stubborn.clone(), start);
        let (mut now, mut pauses) = (start, Vec::new());
        for _ in 0..12 {
            let taken = orphans.take(Some(now)).unwrap();
            orphans.put(&taken, Cleared::Refused(stubborn.clone()), now);
            assert_eq!(orphans.take(Some(now)), None);
            let pause = orphans.leftovers(now)[0].next;
            pauses.push(pause.as_secs());
            now += pause;
        }
        let expected = [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600];
        assert_eq!(pauses, expected);

        let taken = orphans.take(Some(now)).unwrap();
        orphans.put(&taken, Cleared::Unasked(stubborn.clone()), now);
        assert!(orphans.take(Some(now)).is_some(), "it was not asked");
        orphans.put(&taken, Cleared::Refused(stubborn.clone()), now);
        orphans.add(other.clone(), now);
        let due = orphans.take(Some(now)).unwrap();
        assert_eq!(due.orphan, other, "each has its own pauses");
        assert_eq!(orphans.take(None).unwrap().orphan, stubborn, "at the end");
        assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
    }
}
