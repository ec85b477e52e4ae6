//! Files under temporary names that nothing uses any more: the connection was lost when they should
//! have been deleted, or the server refused. Refused attempts are repeated with increasing pauses.
//!
//! A file that was moved aside is moved back only while nothing changes the file at its old name. A
//! change there first resolves the leftover ([`Remote::resolve_leftovers`]).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::absence::lookup_reliably;
use super::error::{ErrorContext, Operation, meaning};
use super::name_lookup::Lookup;
use super::retry::Exchange;
use super::stat::lookup;
use super::temporary_name::saved_path;
use super::{Error, ErrorKind, Remote, RemoteHandle, change, rename};
use crate::ftp::{Entry, Kind, RemotePath, Version};
use crate::pool::Purpose;

/// Maximum wait for another thread that resolves a leftover. The network deadlines are shorter and
/// end a blocked one earlier.
const STUCK: Duration = Duration::from_secs(300);

/// Pause after the first refusal. Each further refusal doubles it.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(3600);

/// A leftover on the server, as shown by `ftpfs status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its temporary name.
    pub path: RemotePath,
    /// Time until the next attempt to clean it up.
    pub next: Duration,
}

/// A file that remains to be cleaned up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Orphan {
    /// An unfinished upload, or a file that was replaced.
    Part(RemotePath),
    /// A file that was moved aside, its original path, and the version that was to replace it.
    Aside(RemotePath, RemotePath, Option<Version>),
}

/// All leftovers of a mount.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    lists: Mutex<Lists>,
    cleared: Condvar,
}

#[derive(Debug, Default)]
struct Lists {
    waiting: Vec<Attempt>,
    /// Leftovers that a thread is cleaning up.
    taken: Vec<Orphan>,
}

/// An orphan and the time of the next attempt to clean it up.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    orphan: Orphan,
    due: Instant,
    /// Number of refusals so far, and of attempts that found nothing.
    refusals: u32,
    /// Time until which the server may create the file, if it may.
    may_appear_until: Option<Instant>,
}

/// The result of an attempt to clean up an orphan.
#[derive(Debug)]
enum Cleared {
    Done,
    /// The server was not asked, or its reply was lost.
    Unasked(Orphan),
    Refused(Orphan),
    /// Nothing is there, but the server may still create it.
    NotYetThere(Orphan),
}

impl Attempt {
    fn is_due(&self, now: Option<Instant>) -> bool {
        now.is_none_or(|now| self.due <= now)
    }

    /// Returns the next attempt after this one, which ended at `now` with `cleared`. `None` if
    /// nothing is left. The pause grows only after attempts that were due: one that a change of the
    /// file forces says nothing about how long the server needs.
    fn next(&self, cleared: Cleared, now: Instant) -> Option<Self> {
        match cleared {
            Cleared::Done => None,
            Cleared::Refused(orphan) if self.is_due(Some(now)) => Some(Self {
                orphan,
                due: now + pause_after(self.refusals),
                refusals: self.refusals.saturating_add(1),
                may_appear_until: self.may_appear_until,
            }),
            Cleared::NotYetThere(orphan) if self.is_due(Some(now)) => {
                let due = now + pause_after(self.refusals);
                Some(Self {
                    orphan,
                    due: self.may_appear_until.map_or(due, |until| due.min(until)),
                    refusals: self.refusals.saturating_add(1),
                    may_appear_until: self.may_appear_until,
                })
            }
            Cleared::Unasked(orphan) | Cleared::Refused(orphan) | Cleared::NotYetThere(orphan) => {
                Some(Self {
                    orphan,
                    ..self.clone()
                })
            }
        }
    }
}

/// Returns the pause after a refusal that `refusals` others preceded.
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

    /// Returns the path from which it was moved aside.
    fn original(&self) -> Option<&RemotePath> {
        match self {
            Self::Part(_) => None,
            Self::Aside(_, original, _) => Some(original),
        }
    }

    /// Whether a change of the file or directory at `path` affects it.
    fn is_about(&self, path: &RemotePath) -> bool {
        let is_of_it = matches!(self, Self::Aside(_, target, _) if target == path);
        is_of_it || self.path().below(path).is_some_and(|rest| !rest.is_empty())
    }

    /// Marks it for deletion, whatever happens to its old name.
    pub(super) fn mark_for_deletion(&mut self, remote: &Remote) {
        if let Self::Aside(path, ..) = self {
            remote.names().journal().part(path);
            *self = Self::Part(path.clone());
        }
    }

    /// Deletes it, or moves it back if nothing has its old name. A file that was moved aside is
    /// deleted only if the file at its old name is proven to be its successor. If that is another
    /// client's file, this one gets a visible name.
    pub(super) fn resolve(
        &mut self,
        remote: &Remote,
        exchange: &mut Exchange<'_>,
    ) -> Result<(), Error> {
        if let Self::Aside(aside, target, successor) = self {
            // The order matters: a server may still move the file after it refused to, and the file
            // at the old name is another one only once this file has the new name.
            let seen = match lookup(remote, exchange, aside) {
                // The directory may come back: its disk is not mounted, or it was renamed for a
                // moment.
                Ok(Lookup::NoParent(kind)) => return Err(no_directory(aside, kind)),
                Ok(Lookup::Found(_)) => Ok(true),
                Ok(Lookup::Absent) => Ok(false),
                Err(error) if error.kind.is_unanswered() => return Err(error),
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
                // The server may hide the name from every lookup, but not from RNFR. Its reply
                // means something only if the directory is there before and after: it may come back
                // meanwhile.
                (Lookup::Absent, Ok(false) | Err(_)) => {
                    confirm_directory(remote, exchange, aside)?;
                    if rename::put_back_if_there(remote, exchange, aside, target)? {
                        return Ok(());
                    }
                    return confirm_directory(remote, exchange, aside);
                }
            }
        }
        delete_part(remote, exchange, self.path()).map(drop)
    }
}

/// Fails if the directory of `aside` does not exist: many servers refuse a name in such a directory
/// as if the name were missing.
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
    ErrorContext::new(Operation::Rename, aside).error(kind, &"its directory does not exist")
}

/// Whether `found` is proven to be this successor.
fn is_successor(successor: Option<Version>, found: &Entry) -> bool {
    successor.is_some_and(|successor| {
        found.kind != Kind::Directory && successor.is_proven_by(&Version::from(found))
    })
}

/// Gives the file at `aside` a visible name, because it may be the only copy of its contents.
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
    log::warn!(path = target; "{target} is another client's file now; the one that ftpfs replaced is {saved}");
    Ok(())
}

impl Orphans {
    /// Adds an orphan whose first attempt is at `due`.
    pub(super) fn add(&self, orphan: Orphan, due: Instant) {
        self.add_attempt(orphan, due, None);
    }

    /// Adds an orphan that the server may create within `patience`, because a command that creates
    /// it was lost.
    pub(super) fn add_late(&self, orphan: Orphan, now: Instant, patience: Duration) {
        self.add_attempt(
            orphan,
            now + FIRST_PAUSE.min(patience),
            Some(now + patience),
        );
    }

    fn add_attempt(&self, orphan: Orphan, due: Instant, may_appear_until: Option<Instant>) {
        let attempt = Attempt {
            orphan,
            due,
            refusals: 0,
            may_appear_until,
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

    /// Returns the waiting leftovers, the next first.
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

    /// Takes the next one that is due at `now`, or simply the next one if `now` is `None`.
    fn take(&self, now: Option<Instant>) -> Option<Attempt> {
        let mut lists = self.lock();
        let at = lists
            .waiting
            .iter()
            .position(|attempt| attempt.is_due(now))?;
        Some(lists.take(at))
    }

    /// Takes the next one that affects `path`, due or not, after waiting until no thread cleans up
    /// such a one. Leaves those that were `asked` about.
    fn take_about(&self, path: &RemotePath, asked: &[Orphan]) -> Option<Attempt> {
        let is_taken = |lists: &mut Lists| lists.taken.iter().any(|orphan| orphan.is_about(path));
        let waited = self
            .cleared
            .wait_timeout_while(self.lock(), STUCK, is_taken);
        let mut lists = waited.unwrap_or_else(PoisonError::into_inner).0;
        let is_about =
            |attempt: &Attempt| attempt.orphan.is_about(path) && !asked.contains(&attempt.orphan);
        let at = lists.waiting.iter().position(is_about)?;
        Some(lists.take(at))
    }

    /// Takes the next one that is due at `now` and was moved aside from a path that `is_it`
    /// accepts.
    fn take_aside(&self, now: Instant, is_it: &dyn Fn(&RemotePath) -> bool) -> Option<Attempt> {
        let mut lists = self.lock();
        let at = lists.waiting.iter().position(|attempt| {
            attempt.is_due(Some(now)) && attempt.orphan.original().is_some_and(is_it)
        })?;
        Some(lists.take(at))
    }

    /// Returns those that were moved aside from a path that `is_it` accepts: where they are, and
    /// where they were.
    pub(super) fn asides(
        &self,
        is_it: &dyn Fn(&RemotePath) -> bool,
    ) -> Vec<(RemotePath, RemotePath)> {
        let lists = self.lock();
        let waiting = lists.waiting.iter().map(|attempt| &attempt.orphan);
        waiting
            .chain(&lists.taken)
            .filter_map(|orphan| Some((orphan.path(), orphan.original()?)))
            .filter(|(_, original)| is_it(original))
            .map(|(aside, original)| (aside.clone(), original.clone()))
            .collect()
    }

    /// Returns `taken` with the result of its attempt.
    fn put(&self, taken: &Attempt, cleared: Cleared, now: Instant) {
        let mut lists = self.lock();
        lists.taken.retain(|orphan| *orphan != taken.orphan);
        lists.waiting.extend(taken.next(cleared, now));
        drop(lists);
        self.cleared.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Lists> {
        // The lists are changed only by single pushes and removals.
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

impl RemoteHandle {
    /// Returns the remaining leftovers, the next first.
    pub fn leftovers(&self) -> Vec<Leftover> {
        self.names().orphans().leftovers(Instant::now())
    }
}

impl Remote {
    /// Cleans up everything that could not be cleaned up earlier. What fails again waits for the
    /// next call; without a connection, everything does.
    pub fn clear_orphans(&self) {
        self.clear_orphans_due(&mut self.exchange(), None);
    }

    /// Like [`Remote::clear_orphans`], for those that are due at `now`, if a connection is free
    /// soon. A refused one is due again after 5 s, then after pauses that double, up to an hour.
    pub fn clear_due_orphans(&self, now: Instant) {
        if self.names().orphans().has_due(Some(now))
            && let Some(mut exchange) = self.brief_exchange()
        {
            self.clear_orphans_due(&mut exchange, Some(now));
        }
    }

    /// Takes over the unfinished upload at `path`, which an earlier mount left. It is due. Returns
    /// false if this mount keeps no journal, which must record it.
    pub fn adopt_part(&self, path: &RemotePath) -> bool {
        let journal = self.names().journal();
        journal.part(path);
        self.adopt(Orphan::Part(path.clone()))
    }

    /// Like [`Remote::adopt_part`], for the file at `aside`, which was moved there from `target`.
    pub fn adopt_aside(
        &self,
        aside: &RemotePath,
        target: &RemotePath,
        successor: Option<Version>,
    ) -> bool {
        let journal = self.names().journal();
        journal.aside(aside, target, successor);
        self.adopt(Orphan::Aside(aside.clone(), target.clone(), successor))
    }

    fn adopt(&self, orphan: Orphan) -> bool {
        let is_kept = self.names().journal().is_enabled();
        if is_kept {
            self.names().orphans().add(orphan, Instant::now());
        }
        is_kept
    }

    fn clear_orphans_due(&self, exchange: &mut Exchange<'_>, now: Option<Instant>) {
        for _ in 0..self.names().orphans().count() {
            if !self.names().orphans().has_due(now) {
                return;
            }
            // A thread that waits for a taken one may hold a session that this one would need.
            if exchange.ensure_session(Purpose::Command).is_err() {
                return;
            }
            let Some(taken) = self.names().orphans().take(now) else {
                return;
            };
            // Without a time, it is the last attempt of this mount.
            match self.clear(exchange, &taken, now.is_none()) {
                Err(error) if error.kind.is_unanswered() => return,
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Resolves the leftovers that a change of the file or directory at `path` would affect.
    pub(super) fn resolve_leftovers(&self, exchange: &mut Exchange<'_>, path: &RemotePath) {
        // One that the server may still create remains.
        let mut asked = Vec::new();
        while let Some(taken) = self.names().orphans().take_about(path, &asked) {
            if self.clear(exchange, &taken, false).is_err() {
                return;
            }
            asked.push(taken.orphan);
        }
    }

    /// Moves files back that were moved aside from paths that `is_it` accepts, if that is due.
    /// Returns those that the server does not move now: where they are, and where they were. To
    /// programs they are still there.
    pub(super) fn restore_asides(
        &self,
        exchange: &mut Exchange<'_>,
        is_it: &dyn Fn(&RemotePath) -> bool,
    ) -> Vec<(RemotePath, RemotePath)> {
        let orphans = self.names().orphans();
        while let Some(taken) = orphans.take_aside(Instant::now(), is_it) {
            if self.clear(exchange, &taken, false).is_err() {
                break;
            }
        }
        orphans.asides(is_it)
    }

    /// Asks about the file at `path`, or at the path where it is if it was moved aside and cannot
    /// be moved back now.
    ///
    /// # Errors
    /// Those of `ask`.
    pub(super) fn ask_wherever<T>(
        &self,
        path: &RemotePath,
        ask: impl Fn(&RemotePath) -> Result<T, Error>,
    ) -> Result<T, Error> {
        // The session must be free again for the question.
        let asides = self.restore_asides(&mut self.exchange(), &|original| original == path);
        match (ask(path), asides.first()) {
            (Err(error), Some((aside, _))) if error.kind == ErrorKind::NotFound => ask(aside),
            (answer, _) => answer,
        }
    }

    /// Deletes the unfinished upload at `path`, which may already be deleted.
    ///
    /// # Errors
    /// The file still exists, or that is unknown.
    pub fn delete_part(&self, path: &RemotePath) -> Result<(), Error> {
        delete_part(self, &mut self.exchange(), path).map(drop)
    }

    /// Moves the file at `aside`, which an earlier mount left, back to `target`. If its successor
    /// has that name, the file is deleted; if another file has it, the file gets a visible name.
    ///
    /// # Errors
    /// The result is unknown, or the directory does not exist and may come back.
    pub fn resolve_aside(
        &self,
        aside: &RemotePath,
        target: &RemotePath,
        successor: Option<Version>,
    ) -> Result<(), Error> {
        let mut orphan = Orphan::Aside(aside.clone(), target.clone(), successor);
        orphan.resolve(self, &mut self.exchange())
    }

    /// Makes the attempt, which may be the last one of this mount.
    fn clear(
        &self,
        exchange: &mut Exchange<'_>,
        taken: &Attempt,
        is_last: bool,
    ) -> Result<(), Error> {
        let mut orphan = taken.orphan.clone();
        let may_appear = taken
            .may_appear_until
            .is_some_and(|until| Instant::now() < until);
        let was_there = match &mut orphan {
            Orphan::Part(path) => delete_part(self, exchange, path),
            aside @ Orphan::Aside(..) => aside.resolve(self, exchange).map(|()| true),
        };
        let cleared = match &was_there {
            // The journal still has it: the next mount looks again.
            Ok(false) if may_appear && is_last => Cleared::Done,
            Ok(false) if may_appear => Cleared::NotYetThere(orphan),
            Ok(_) => {
                self.names().journal().clear(orphan.path());
                Cleared::Done
            }
            Err(fault) => {
                log::debug!("cannot clean up {} yet: {fault}", orphan.path());
                if fault.kind.is_unanswered() {
                    Cleared::Unasked(orphan)
                } else {
                    Cleared::Refused(orphan)
                }
            }
        };
        self.names().orphans().put(taken, cleared, Instant::now());
        was_there.map(drop)
    }
}

/// Deletes the file at `path`. Returns whether it was there.
fn delete_part(
    remote: &Remote,
    exchange: &mut Exchange<'_>,
    path: &RemotePath,
) -> Result<bool, Error> {
    let Err(fault) = change::delete_in(remote, exchange, path) else {
        return Ok(true);
    };
    match lookup_reliably(remote, exchange, path) {
        Ok(Lookup::Absent | Lookup::NoParent(_)) => Ok(false),
        Err(_) if meaning(&fault, path) == Some(ErrorKind::NotFound) => Ok(false),
        Ok(Lookup::Found(_)) | Err(_) => {
            let context = ErrorContext::new(Operation::Delete, path);
            Err(remote.diagnose(exchange, &context, &fault))
        }
    }
}

#[cfg(test)]
mod tests;
