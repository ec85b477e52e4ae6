//! `-o writeback`: the closed files that are waiting to be stored, and when they are stored.
//!
//! One thread, the dispatcher, starts a thread for each file that is due, but only as many
//! simultaneously as leave a connection for the programs that wait for the server. A failure that
//! may be temporary is retried after increasing pauses. Any other failure waits until a program
//! closes or syncs the file again, or for the end of the mount. While the server cannot be reached,
//! nothing is tried: the pool looks for the server, and then all files are due.
//!
//! The lock of the queue is taken alone, and never held while waiting for anything else.

mod dispatcher;
mod queue;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::{Cancel, CancelListener};
use crate::sys;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::ino::Ino;
use queue::Queue;
pub(in crate::vfs) use queue::{EntryStatus, StoreAttempts, StoreFailure, StoreOutcome};

/// Maximum number of waiting files, each of which has an open descriptor. Closing a further one
/// stores it immediately, as without writeback.
const MAX_WAITING: usize = 256;

/// The same while the server cannot be reached. At most half of the process's descriptors are used.
const MAX_OFFLINE: usize = 100_000;

/// The same with `-o writeback=names`, where the files wait for their turn.
const MAX_IN_ORDER: usize = 16_384;

/// Delay before a closed file is stored. A program that has written a file under another name
/// renames it right away, and an upload that has already started would be in its way.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Delay for a file that was closed but is still open for writing, like a redirection of a shell,
/// because it may soon be closed again.
const STILL_OPEN: Duration = Duration::from_secs(1);

/// The waiting files.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Writeback {
    queue: Mutex<Queue>,
    /// Notified when a file was added, removed, or failed.
    changed: Condvar,
    /// Whether there is a dispatcher.
    is_on: AtomicBool,
    /// Number of calls of [`Writeback::look_again`].
    looks: AtomicU64,
    /// Maximum number of waiting files in tests; none if 0.
    #[cfg(test)]
    most: std::sync::atomic::AtomicUsize,
}

/// The next step of the dispatcher.
#[derive(Debug)]
pub(in crate::vfs) enum QueueNext {
    /// Store this file now.
    Upload(Arc<OpenFile>),
    /// A file is due, but the server cannot be reached.
    Offline,
    /// The mount has ended.
    Stopped,
}

/// Whether another upload may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum MayStart {
    Yes,
    /// The connections are needed for something else.
    NotYet,
    /// The server cannot be reached.
    Offline,
}

impl Writeback {
    /// Whether `file` may wait: there are not too many already, and there is a dispatcher. Without
    /// the server, more files may wait, because none can be stored.
    /// So it is if the files wait for their turn.
    pub(in crate::vfs) fn has_capacity_for(
        &self,
        file: &OpenFile,
        is_offline: bool,
        in_order: bool,
    ) -> bool {
        let descriptors = || usize::try_from(sys::descriptor_limit()).unwrap_or(usize::MAX) / 2;
        let most = match (is_offline, in_order) {
            (true, _) => descriptors().min(MAX_OFFLINE),
            (false, true) => descriptors().min(MAX_IN_ORDER),
            (false, false) => MAX_WAITING,
        };
        #[cfg(test)]
        let most = match self.most.load(Ordering::Relaxed) {
            0 => most,
            limit => most.min(limit),
        };
        let queue = self.lock();
        let is_served = self.is_on.load(Ordering::Relaxed) && !queue.has_ended();
        is_served && (queue.contains(file.ino()) || queue.len() < most)
    }

    /// Lets `most` files wait at most.
    #[cfg(test)]
    pub(in crate::vfs) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Adds `file`, which was closed. Returns whether it was not waiting before.
    pub(in crate::vfs) fn add(&self, file: &Arc<OpenFile>, is_still_open: bool) -> bool {
        let delay = if is_still_open { STILL_OPEN } else { DEBOUNCE };
        let now = Instant::now();
        let is_new = self.lock().add(file, now, now + delay);
        self.changed.notify_all();
        is_new
    }

    /// Number of waiting files.
    pub(in crate::vfs) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Wakes the dispatcher, because files may be stored now that had to wait.
    pub(in crate::vfs) fn look_again(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Makes `ino` due, because no program has it open for writing any more.
    pub(in crate::vfs) fn written(&self, ino: Ino) {
        self.lock().advance_deadline(ino, Instant::now() + DEBOUNCE);
        self.changed.notify_all();
    }

    /// Removes `ino`. Returns whether it was waiting.
    pub(in crate::vfs) fn remove(&self, ino: Ino) -> bool {
        let removed = self.lock().remove(ino);
        self.look_again();
        removed.is_some()
    }

    /// Whether storing `ino` failed and is not retried automatically.
    pub(in crate::vfs) fn is_refused(&self, ino: Ino) -> bool {
        self.lock().is_refused(ino)
    }

    /// Lets `ino` wait until a program asks for it, because of `failure`. A running attempt goes
    /// on.
    pub(in crate::vfs) fn refuse(&self, ino: Ino, failure: StoreFailure) {
        self.lock().refuse(ino, failure);
        self.changed.notify_all();
    }

    /// Whether the last attempt to store `ino` failed.
    pub(in crate::vfs) fn has_failed(&self, ino: Ino) -> bool {
        self.lock().failure(ino).is_some()
    }

    /// Returns all waiting files.
    pub(in crate::vfs) fn files(&self) -> Vec<Arc<OpenFile>> {
        self.lock().files()
    }

    /// Returns the status of all waiting files, the longest waiting first.
    pub(in crate::vfs) fn statuses(&self) -> Vec<EntryStatus> {
        self.lock().statuses(Instant::now())
    }

    /// Waits until a file should be stored. `may_start` returns whether the upload of a file may
    /// start besides the given number of running ones. `is_held` returns whether a file must wait,
    /// and `in_turn` the files for which others may be waiting.
    pub(in crate::vfs) fn next(
        &self,
        may_start: impl Fn(Ino, usize) -> MayStart,
        is_held: impl Fn(Ino) -> bool,
        in_turn: impl Fn() -> Vec<Ino>,
    ) -> QueueNext {
        /// How often `may_start` is checked.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let mut queue = self.lock();
        loop {
            if queue.has_ended() {
                return QueueNext::Stopped;
            }
            let looks = self.looks.load(Ordering::Relaxed);
            let patience = match queue.due(Instant::now()) {
                Ok(first) => {
                    let running = queue.running();
                    drop(queue);
                    let may = |ino| may_start(ino, running);
                    let (next, may_start) = self.choose(first, may, &is_held, &in_turn);
                    queue = self.lock();
                    match may_start {
                        MayStart::Offline => return QueueNext::Offline,
                        MayStart::NotYet => {}
                        MayStart::Yes => {
                            if let Some(file) = queue.start(next) {
                                return QueueNext::Upload(file);
                            }
                        }
                    }
                    Some(LOOK_AGAIN)
                }
                Err(next) => next,
            };
            if self.looks.load(Ordering::Relaxed) == looks {
                queue = self.wait(queue, patience);
            }
        }
    }

    /// Returns the file to store next, and whether it may start: `first`, which is due, or else one
    /// for which others may be waiting, or else any that need not wait.
    fn choose(
        &self,
        first: Ino,
        may_start: impl Fn(Ino) -> MayStart,
        is_held: impl Fn(Ino) -> bool,
        in_turn: impl Fn() -> Vec<Ino>,
    ) -> (Ino, MayStart) {
        let mut chosen = (first, MayStart::NotYet);
        let is_first_held = is_held(first);
        if !is_first_held {
            chosen.1 = may_start(first);
        }
        if chosen.1 == MayStart::NotYet {
            let mut due = in_turn();
            due.retain(|ino| !is_held(*ino));
            let queue = self.lock();
            due.retain(|ino| queue.is_due(*ino, Instant::now()));
            drop(queue);
            let of_due = due.into_iter().map(|ino| (ino, may_start(ino)));
            let may = of_due.into_iter().find(|(_, may)| *may != MayStart::NotYet);
            chosen = may.unwrap_or(chosen);
        }
        if chosen.1 == MayStart::NotYet && is_first_held {
            let some = self.lock().some_due(Instant::now());
            let found = some.iter().position(|ino| !is_held(*ino));
            self.lock().pass_over(found.unwrap_or(some.len()));
            if let Some(ino) = found.and_then(|at| some.get(at)) {
                chosen = (*ino, may_start(*ino));
            }
        }
        chosen
    }

    /// Records the result for a file that [`Writeback::next`] returned. Returns whether it is no
    /// longer waiting.
    pub(in crate::vfs) fn done(&self, ino: Ino, outcome: StoreOutcome) -> bool {
        let gone = self.lock().done(ino, outcome, Instant::now(), DEBOUNCE);
        self.look_again();
        gone.is_some()
    }

    /// Waits until each of `inos` was stored or failed, after at least one attempt from now on.
    /// Returns the errno of a failure, or `INTR` if the wait was cancelled.
    pub(in crate::vfs) fn wait_for(
        self: &Arc<Self>,
        inos: &[Ino],
        cancel: &Cancel,
    ) -> Option<Errno> {
        let _listener = self.wake_when_cancelled(cancel);
        let mut queue = self.lock();
        let tried = queue.expedite(inos, Instant::now());
        self.changed.notify_all();
        while inos.iter().any(|ino| queue.is_undecided(*ino, &tried)) {
            if cancel.is_cancelled() {
                return Some(Errno::INTR);
            }
            queue = self.wait(queue, None);
        }
        inos.iter().find_map(|ino| queue.failure(*ino))
    }

    /// Records that these files wait for something that could not be done because of `failure`, so
    /// that programs stop waiting for them.
    pub(in crate::vfs) fn block(&self, inos: &[Ino], failure: &StoreFailure) {
        self.lock().block(inos, failure);
        self.changed.notify_all();
    }

    /// Makes these files due now. Returns what was tried for each so far.
    pub(in crate::vfs) fn expedite(&self, inos: &[Ino]) -> HashMap<Ino, StoreAttempts> {
        let attempts = self.lock().expedite(inos, Instant::now());
        self.changed.notify_all();
        attempts
    }

    /// Waits for `patience` at most until all these files were stored or failed since
    /// [`Writeback::expedite`]. Returns the number of the others.
    pub(in crate::vfs) fn undecided(
        &self,
        attempts: &HashMap<Ino, StoreAttempts>,
        patience: Duration,
    ) -> usize {
        let deadline = Instant::now() + patience;
        let mut queue = self.lock();
        loop {
            let inos = attempts.keys();
            let left = inos
                .filter(|ino| queue.is_undecided(**ino, attempts))
                .count();
            let patience = deadline.saturating_duration_since(Instant::now());
            if left == 0 || patience.is_zero() {
                return left;
            }
            queue = self.wait(queue, Some(patience));
        }
    }

    /// Waits until a waiting file is stored and has freed its space. Returns false if none will be,
    /// the server has problems, or the wait was cancelled.
    pub(in crate::vfs) fn wait_for_room(self: &Arc<Self>, cancel: &Cancel) -> bool {
        let _listener = self.wake_when_cancelled(cancel);
        let mut queue = self.lock();
        let (gone, failures) = (queue.completed(), queue.failures());
        queue.expedite_all(Instant::now());
        self.changed.notify_all();
        loop {
            if queue.completed() != gone {
                return true;
            }
            let has_problems = queue.has_problems_since(failures);
            let waits_for_server = queue.is_parked() && queue.running() == 0;
            if has_problems || waits_for_server || !queue.has_runnable() || cancel.is_cancelled() {
                return false;
            }
            queue = self.wait(queue, None);
        }
    }

    /// Records that the server did not answer, so that no room is waited for.
    pub(in crate::vfs) fn note_unanswered(&self) {
        self.lock().note_unanswered();
        self.changed.notify_all();
    }

    /// Stores nothing until the server is back ([`Self::retry_now`]) or a program asks for it. For
    /// those that wait for an attempt, this is the `failure`.
    pub(in crate::vfs) fn park(&self, failure: &StoreFailure) {
        self.lock().park(failure);
        self.changed.notify_all();
    }

    /// Makes all files due that were not stored because the server could not be reached.
    pub(in crate::vfs) fn retry_now(&self) {
        self.lock().unpark(Instant::now());
        self.changed.notify_all();
    }

    /// Whether a waiting file will be stored without a request, as soon as connections are free.
    pub(in crate::vfs) fn has_runnable(&self) -> bool {
        let queue = self.lock();
        queue.has_runnable() && !queue.is_parked()
    }

    /// Stores all waiting files at the end of the mount, with a few attempts at most. Returns when
    /// nothing is left to try.
    pub(in crate::vfs) fn drain(&self) {
        let mut queue = self.lock();
        queue.ending(Instant::now());
        self.changed.notify_all();
        while queue.has_runnable() {
            queue = self.wait(queue, None);
        }
        drop(queue);
        self.end();
    }

    /// Whether the mount is ending.
    fn is_ending(&self) -> bool {
        self.lock().is_ending()
    }

    /// Stops storing in the background. No file can wait from now on.
    fn end(&self) {
        self.lock().end();
        self.changed.notify_all();
    }

    fn wake_when_cancelled(self: &Arc<Self>, cancel: &Cancel) -> CancelListener {
        let writeback = Arc::clone(self);
        cancel.on_cancel(move || {
            // A thread that has looked at `cancel` under the lock waits by now, and is woken.
            drop(writeback.lock());
            writeback.changed.notify_all();
        })
    }

    fn wait<'a>(
        &self,
        queue: MutexGuard<'a, Queue>,
        patience: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        match patience {
            None => self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner),
            Some(patience) => {
                let waited = self.changed.wait_timeout(queue, patience);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Each change is made under one lock by plain assignments.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
