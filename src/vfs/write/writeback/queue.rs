//! The queue of waiting files: since when they wait, and the results of the attempts to store them.
//! The current time is an argument.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::ino::Ino;

/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Number of attempts to store a file when the mount ends.
const TRIES_AT_THE_END: u32 = 3;

/// All waiting files.
#[derive(Debug)]
pub(super) struct Queue<F = OpenFile> {
    entries: BTreeMap<Ino, QueueEntry<F>>,
    running: usize,
    /// Number of files that left the queue.
    completed: u64,
    /// Number of failures that may be temporary, which are the server's, not the file's.
    transient_failures: u64,
    /// Number of those to which the server did not answer.
    unanswered: u64,
    /// Whether nothing is stored, because the server cannot be reached.
    is_parked: bool,
    /// Number of due files that were passed over, of all.
    looked: usize,
    end: QueuePhase,
}

/// Maximum number of due files that are looked at together: each is looked up in the order of the
/// changes, and a file is stored after each look.
const MOST_LOOKED: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueuePhase {
    /// The mount is running.
    Running,
    /// The mount is ending: files that can be stored are stored now.
    Draining,
    /// The mount has ended.
    Stopped,
}

#[derive(Debug)]
struct QueueEntry<F> {
    file: Arc<F>,
    /// When it was first closed.
    since: Instant,
    step: EntryState,
    /// Whether a program waits for its next attempt.
    is_awaited: bool,
    /// Number of finished attempts.
    tried: u32,
    /// How often it was found to wait for something that could not be done.
    blocked: u32,
    /// Number of consecutive failures.
    failures: u32,
    /// Why the last attempt failed.
    failure: Option<StoreFailure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryState {
    /// To be stored at this time.
    Due(Instant),
    /// Being stored; with the time of the next attempt if it was closed again in the meantime.
    Running(Option<Instant>),
    /// Failed; not retried until a program requests it.
    Failed,
}

/// Why a file was not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreFailure {
    /// The errno that a program receives.
    pub(crate) errno: Errno,
    /// The cause as text.
    pub(crate) reason: String,
}

/// The result of an attempt.
#[derive(Debug)]
pub(crate) enum StoreOutcome {
    /// The server has the file.
    Stored,
    /// The file was closed again in the meantime.
    Requeue,
    /// The upload was interrupted, by a change of its name. It does not count as an attempt.
    Interrupted,
    /// The attempt failed, and a later one may succeed.
    RetryLater(StoreFailure),
    /// The attempt failed, and another one would fail, too.
    Failed(StoreFailure),
}

impl StoreOutcome {
    /// The result of an attempt that panicked; a later one may succeed.
    pub(super) fn panicked() -> Self {
        Self::RetryLater(StoreFailure {
            errno: Errno::IO,
            reason: "storing it panicked, which is a bug in ftpfs".to_owned(),
        })
    }
}

/// What was tried for a waiting file before a program asked for it.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs) struct StoreAttempts {
    /// Number of attempts that do not count.
    tried: u32,
    blocked: u32,
}

/// The failures so far that may be temporary.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueFailures {
    transient: u64,
    unanswered: u64,
}

/// The status of a waiting file.
#[derive(Debug, Clone)]
pub(crate) struct EntryStatus<F = OpenFile> {
    /// The file.
    pub(crate) file: Arc<F>,
    /// Time since it was closed.
    pub(crate) age: Duration,
    /// Whether it is being stored.
    pub(crate) is_running: bool,
    /// Whether it is not retried automatically.
    pub(crate) is_refused: bool,
    /// Why the last attempt failed.
    pub(crate) failure: Option<StoreFailure>,
}

impl<F> Default for Queue<F> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            running: 0,
            completed: 0,
            transient_failures: 0,
            unanswered: 0,
            is_parked: false,
            looked: 0,
            end: QueuePhase::Running,
        }
    }
}

/// Has an inode number.
pub(super) trait Numbered {
    fn ino(&self) -> Ino;
}

impl Numbered for OpenFile {
    fn ino(&self) -> Ino {
        OpenFile::ino(self)
    }
}

impl<F: Numbered> Queue<F> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn contains(&self, ino: Ino) -> bool {
        self.entries.contains_key(&ino)
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    pub(super) fn completed(&self) -> u64 {
        self.completed
    }

    pub(super) fn failures(&self) -> QueueFailures {
        QueueFailures {
            transient: self.transient_failures,
            unanswered: self.unanswered,
        }
    }

    /// Whether no file is likely to be stored soon, because of what failed since there were these
    /// failures: the server did not answer, or each file has failed.
    pub(super) fn has_problems_since(&self, before: QueueFailures) -> bool {
        self.unanswered != before.unanswered
            || self.transient_failures != before.transient && !self.has_promising()
    }

    /// Records that the server did not answer.
    pub(super) fn note_unanswered(&mut self) {
        self.unanswered += 1;
    }

    /// Adds `file`, due at `due`. Returns whether it was not waiting before.
    pub(super) fn add(&mut self, file: &Arc<F>, now: Instant, due: Instant) -> bool {
        let due = if self.end == QueuePhase::Running {
            due
        } else {
            now
        };
        if let Some(entry) = self.entries.get_mut(&file.ino()) {
            entry.file = Arc::clone(file);
            entry.step = match entry.step {
                EntryState::Due(_) | EntryState::Failed => EntryState::Due(due),
                EntryState::Running(_) => EntryState::Running(Some(due)),
            };
            return false;
        }
        let entry = QueueEntry {
            file: Arc::clone(file),
            since: now,
            step: EntryState::Due(due),
            is_awaited: false,
            tried: 0,
            blocked: 0,
            failures: 0,
            failure: None,
        };
        self.entries.insert(file.ino(), entry);
        true
    }

    /// Makes `ino` due at `moment`, unless it is due earlier.
    pub(super) fn advance_deadline(&mut self, ino: Ino, moment: Instant) {
        if let Some(entry) = self.entries.get_mut(&ino)
            && entry.failures == 0
        {
            match &mut entry.step {
                EntryState::Due(due) | EntryState::Running(Some(due)) => *due = moment.min(*due),
                EntryState::Running(None) | EntryState::Failed => {}
            }
        }
    }

    /// Removes `ino`.
    pub(super) fn remove(&mut self, ino: Ino) -> Option<Arc<F>> {
        let entry = self.entries.remove(&ino)?;
        if matches!(entry.step, EntryState::Running(_)) {
            self.running -= 1;
        }
        self.completed += 1;
        Some(entry.file)
    }

    /// Lets `ino` wait until it is expedited, because of `failure`. A running attempt goes on.
    pub(super) fn refuse(&mut self, ino: Ino, failure: StoreFailure) {
        if let Some(entry) = self.entries.get_mut(&ino)
            && let EntryState::Due(_) = entry.step
        {
            entry.failures += 1;
            entry.tried += 1;
            entry.failure = Some(failure);
            entry.step = EntryState::Failed;
        }
    }

    pub(super) fn is_refused(&self, ino: Ino) -> bool {
        self.entries
            .get(&ino)
            .is_some_and(|entry| entry.step == EntryState::Failed)
    }

    pub(super) fn files(&self) -> Vec<Arc<F>> {
        let entries = self.entries.values();
        entries.map(|entry| Arc::clone(&entry.file)).collect()
    }

    pub(super) fn statuses(&self, now: Instant) -> Vec<EntryStatus<F>> {
        let mut standing: Vec<_> = self
            .entries
            .values()
            .map(|entry| EntryStatus {
                file: Arc::clone(&entry.file),
                age: now.saturating_duration_since(entry.since),
                is_running: matches!(entry.step, EntryState::Running(_)),
                is_refused: entry.step == EntryState::Failed,
                failure: entry.failure.clone(),
            })
            .collect();
        standing.sort_by_key(|standing| std::cmp::Reverse(standing.age));
        standing
    }

    /// Returns the file that has been due the longest, of those that a program waits for if any of
    /// them is due, otherwise the time until one is due.
    pub(super) fn due(&self, now: Instant) -> Result<Ino, Option<Duration>> {
        if self.is_parked {
            return Err(None);
        }
        let waiting = self
            .entries
            .iter()
            .filter_map(|(ino, entry)| match entry.step {
                EntryState::Due(due) => Some((due, entry, *ino)),
                EntryState::Running(_) | EntryState::Failed => None,
            });
        let first = waiting.min_by_key(|(due, entry, ino)| {
            let is_due = *due <= now;
            (
                !is_due,
                is_due && !entry.is_awaited,
                *due,
                entry.since,
                *ino,
            )
        });
        match first {
            Some((due, _, ino)) if due <= now => Ok(ino),
            Some((due, ..)) => Err(Some(due - now)),
            None => Err(None),
        }
    }

    /// Whether `ino` is due.
    pub(super) fn is_due(&self, ino: Ino, now: Instant) -> bool {
        let entry = self.entries.get(&ino).filter(|_| !self.is_parked);
        entry.is_some_and(|it| matches!(it.step, EntryState::Due(due) if due <= now))
    }

    /// Returns files that are due, [a few](MOST_LOOKED) at a time: those that a program waits for
    /// and the longest waiting first, or those behind the ones that were
    /// [passed over](Self::pass_over).
    pub(super) fn some_due(&mut self, now: Instant) -> Vec<Ino> {
        let is_due = |entry: &QueueEntry<F>| match entry.step {
            EntryState::Due(due) => due <= now,
            EntryState::Running(_) | EntryState::Failed => false,
        };
        let entries = self.entries.iter().filter(|(_, entry)| is_due(entry));
        let order = |(ino, entry): (&Ino, &QueueEntry<F>)| (!entry.is_awaited, entry.since, *ino);
        let mut due: Vec<_> = entries.map(order).collect();
        due.sort_unstable();
        if self.looked >= due.len() {
            self.looked = 0;
        }
        let some = due.into_iter().skip(self.looked).take(MOST_LOOKED);
        some.map(|(.., ino)| ino).collect()
    }

    /// Records that none of the first `count` files of [`Self::some_due`] can be stored now.
    pub(super) fn pass_over(&mut self, count: usize) {
        self.looked += count;
    }

    /// Marks `ino` as being stored, if it is still waiting.
    pub(super) fn start(&mut self, ino: Ino) -> Option<Arc<F>> {
        let entry = self.entries.get_mut(&ino)?;
        let EntryState::Due(_) = entry.step else {
            return None;
        };
        entry.step = EntryState::Running(None);
        entry.is_awaited = false;
        self.running += 1;
        Some(Arc::clone(&entry.file))
    }

    /// Records the end of an attempt to store `ino`. Returns the file if it is no longer waiting.
    pub(super) fn done(
        &mut self,
        ino: Ino,
        outcome: StoreOutcome,
        now: Instant,
        debounce: Duration,
    ) -> Option<Arc<F>> {
        let entry = self.entries.get_mut(&ino)?;
        let EntryState::Running(again) = entry.step else {
            return None;
        };
        self.running -= 1;
        if !matches!(outcome, StoreOutcome::Interrupted) {
            entry.tried += 1;
        }
        let is_far = self.end == QueuePhase::Running;
        match outcome {
            StoreOutcome::Stored | StoreOutcome::Requeue | StoreOutcome::Interrupted => {
                entry.failures = 0;
                entry.failure = None;
                let again = match outcome {
                    StoreOutcome::Stored => again,
                    _ if is_far => again.or(Some(now + debounce)),
                    _ => Some(now),
                };
                if let Some(due) = again {
                    entry.step = EntryState::Due(due);
                    return None;
                }
                self.completed += 1;
                return self.entries.remove(&ino).map(|entry| entry.file);
            }
            StoreOutcome::RetryLater(failure) => {
                self.transient_failures += 1;
                entry.failures += 1;
                entry.failure = Some(failure);
                entry.step = if is_far {
                    // A request during this attempt does not wait for the pause.
                    EntryState::Due(again.unwrap_or_else(|| now + pause(entry.failures)))
                } else if entry.failures < TRIES_AT_THE_END {
                    EntryState::Due(now + FIRST_PAUSE)
                } else {
                    EntryState::Failed
                };
            }
            StoreOutcome::Failed(failure) => {
                entry.failures += 1;
                entry.failure = Some(failure);
                entry.step = again.map_or(EntryState::Failed, EntryState::Due);
            }
        }
        None
    }

    /// Stores nothing until [`Self::unpark`] or [`Self::expedite`]: the server cannot be reached.
    /// For what is due, this is a failed attempt. At the end of the mount, it is the last one.
    pub(super) fn park(&mut self, failure: &StoreFailure) {
        let is_running = self.end == QueuePhase::Running;
        self.is_parked = is_running;
        for entry in self.entries.values_mut() {
            if let EntryState::Due(_) = entry.step {
                entry.failure.get_or_insert_with(|| failure.clone());
                if !is_running {
                    entry.step = EntryState::Failed;
                }
            }
        }
    }

    /// Makes all files due now, except failed ones, if they were not stored because the server
    /// could not be reached.
    pub(super) fn unpark(&mut self, now: Instant) {
        self.is_parked = false;
        self.expedite_all(now);
    }

    pub(super) fn is_parked(&self) -> bool {
        self.is_parked
    }

    /// Records that these files, or their uploads, wait for something that could not be done
    /// because of `failure`, so that waits for them end.
    pub(super) fn block(&mut self, inos: &[Ino], failure: &StoreFailure) {
        let mut has_blocked = false;
        for ino in inos {
            if let Some(entry) = self.entries.get_mut(ino)
                && entry.step != EntryState::Failed
            {
                entry.blocked += 1;
                entry.failure.get_or_insert_with(|| failure.clone());
                has_blocked = true;
            }
        }
        self.transient_failures += u64::from(has_blocked);
    }

    /// Makes these files due now, including failed ones. Returns what was tried so far.
    pub(super) fn expedite(&mut self, inos: &[Ino], now: Instant) -> HashMap<Ino, StoreAttempts> {
        self.is_parked = false;
        // They come before what was passed over.
        self.looked = 0;
        let mut tried = HashMap::new();
        for ino in inos {
            if let Some(entry) = self.entries.get_mut(ino) {
                // A running attempt may have started before the request.
                let under_way = u32::from(matches!(entry.step, EntryState::Running(_)));
                let before = StoreAttempts {
                    tried: entry.tried + under_way,
                    blocked: entry.blocked,
                };
                tried.insert(*ino, before);
                entry.is_awaited = true;
                entry.step = match entry.step {
                    EntryState::Due(_) | EntryState::Failed => EntryState::Due(now),
                    EntryState::Running(_) => EntryState::Running(Some(now)),
                };
            }
        }
        tried
    }

    /// Makes all files due now, except failed ones.
    pub(super) fn expedite_all(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if let EntryState::Due(due) = &mut entry.step {
                *due = now.min(*due);
            }
        }
    }

    /// Whether `ino` is waiting and was not attempted since `tried`, nor found to wait in vain.
    /// What has failed is decided: [`Self::expedite`] made it due, and an interrupted attempt
    /// before the failure is not counted.
    pub(super) fn is_undecided(&self, ino: Ino, tried: &HashMap<Ino, StoreAttempts>) -> bool {
        let (Some(entry), Some(before)) = (self.entries.get(&ino), tried.get(&ino)) else {
            return false;
        };
        let is_parked = self.is_parked && matches!(entry.step, EntryState::Due(_));
        entry.step != EntryState::Failed
            && entry.tried <= before.tried
            && entry.blocked <= before.blocked
            && !is_parked
            && self.end != QueuePhase::Stopped
    }

    pub(super) fn failure(&self, ino: Ino) -> Option<Errno> {
        let entry = self.entries.get(&ino)?;
        entry.failure.as_ref().map(|failure| failure.errno)
    }

    /// Whether a file is being stored or will be without a request.
    pub(super) fn has_runnable(&self) -> bool {
        self.end != QueuePhase::Stopped
            && self
                .entries
                .values()
                .any(|entry| entry.step != EntryState::Failed)
    }

    /// Whether a file is being stored or will be without a request, whose last attempt did not
    /// fail.
    fn has_promising(&self) -> bool {
        let mut entries = self.entries.values();
        entries.any(|entry| entry.step != EntryState::Failed && entry.failure.is_none())
    }

    /// Starts the end of the mount.
    pub(super) fn ending(&mut self, now: Instant) {
        self.end = QueuePhase::Draining;
        self.is_parked = false;
        for entry in self.entries.values_mut() {
            entry.failures = 0;
            entry.step = match entry.step {
                EntryState::Due(_) | EntryState::Failed => EntryState::Due(now),
                EntryState::Running(again) => EntryState::Running(again.map(|_| now)),
            };
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.end != QueuePhase::Running
    }

    pub(super) fn end(&mut self) {
        self.end = QueuePhase::Stopped;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end == QueuePhase::Stopped
    }
}

/// Returns the pause after this number of failures.
fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests;
