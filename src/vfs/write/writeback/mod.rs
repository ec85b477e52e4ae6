//! `-o writeback`: the files that were closed and wait to be stored, and who stores them when.
//!
//! One thread, the dispatcher, hands each file that is due to a thread of its own; so many at once
//! that the programs that wait for the server always find a connection. A failure that may pass is
//! tried again after a pause that grows; any other waits until a program closes or syncs the file
//! again, or for the mount's end.
//!
//! The queue's lock stands alone: no other is taken under it, and nothing is waited for with it.

mod background;
mod queue;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;
use crate::vfs::table::inode::Ino;
use queue::Queue;
pub(in crate::vfs) use queue::{EntryStatus, StoreFailure, StoreOutcome};

/// Most files that wait, each with an open descriptor; closing one more stores it at once, as
/// without writeback.
const MAX_WAITING: usize = 256;

/// A program that has written a file under another name renames it right away; an upload that has
/// begun by then is in its way.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// A file that was closed and is still open for writing, as a redirection of a shell is, may soon
/// be closed again.
const STILL_OPEN: Duration = Duration::from_secs(1);

/// The files that wait.
#[derive(Debug, Default)]
pub(in crate::vfs) struct Writeback {
    queue: Mutex<Queue>,
    /// A file came, went, or failed.
    changed: Condvar,
    /// There is a dispatcher.
    is_on: AtomicBool,
}

/// What is to become of a file that is due.
#[derive(Debug)]
pub(in crate::vfs) enum QueueNext {
    /// It is to be stored now.
    Upload(Arc<OpenFile>),
    /// The mount has ended.
    Stopped,
}

impl Writeback {
    /// Whether `file` may wait: not where too many do already, or where nobody would store it.
    pub(in crate::vfs) fn has_capacity_for(&self, file: &OpenFile) -> bool {
        let queue = self.lock();
        let is_served = self.is_on.load(Ordering::Relaxed) && !queue.has_ended();
        is_served && (queue.contains(file.ino()) || queue.len() < MAX_WAITING)
    }

    /// `file` was closed and waits; whether it did not before.
    pub(in crate::vfs) fn add(&self, file: &Arc<OpenFile>, is_still_open: bool) -> bool {
        let delay = if is_still_open { STILL_OPEN } else { DEBOUNCE };
        let now = Instant::now();
        let is_new = self.lock().add(file, now, now + delay);
        self.changed.notify_all();
        is_new
    }

    /// Nobody writes to `ino` any more.
    pub(in crate::vfs) fn written(&self, ino: Ino) {
        self.lock().advance_deadline(ino, Instant::now() + DEBOUNCE);
        self.changed.notify_all();
    }

    /// Nothing of `ino` waits any more; whether something did.
    pub(in crate::vfs) fn remove(&self, ino: Ino) -> bool {
        let removed = self.lock().remove(ino);
        self.changed.notify_all();
        removed.is_some()
    }

    /// Whether storing `ino` failed for good, as far as this can tell.
    pub(in crate::vfs) fn is_refused(&self, ino: Ino) -> bool {
        self.lock().is_refused(ino)
    }

    /// Whether the last try to store `ino` failed.
    pub(in crate::vfs) fn has_failed(&self, ino: Ino) -> bool {
        self.lock().failure(ino).is_some()
    }

    /// All files that wait.
    pub(in crate::vfs) fn files(&self) -> Vec<Arc<OpenFile>> {
        self.lock().files()
    }

    /// How all of them stand, the longest waiting first.
    pub(in crate::vfs) fn statuses(&self) -> Vec<EntryStatus> {
        self.lock().statuses(Instant::now())
    }

    /// Waits until something is to be stored now. `may_start` says whether one may be, beside so
    /// many that are being stored.
    pub(in crate::vfs) fn next(&self, may_start: impl Fn(usize) -> bool) -> QueueNext {
        /// So often it is looked whether there is room again.
        const LOOK_AGAIN: Duration = Duration::from_millis(50);
        let mut queue = self.lock();
        loop {
            if queue.has_ended() {
                return QueueNext::Stopped;
            }
            let due = queue.due(Instant::now());
            let patience = match due {
                Ok(ino) => {
                    let running = queue.running();
                    drop(queue);
                    let may_start = may_start(running);
                    queue = self.lock();
                    if may_start && let Some(file) = queue.start(ino) {
                        return QueueNext::Upload(file);
                    }
                    Some(LOOK_AGAIN)
                }
                Err(next) => next,
            };
            queue = self.wait(queue, patience);
        }
    }

    /// A file that [`Writeback::next`] gave came out like this; whether it waits no more.
    pub(in crate::vfs) fn done(&self, ino: Ino, outcome: StoreOutcome) -> bool {
        let gone = self.lock().done(ino, outcome, Instant::now(), DEBOUNCE);
        self.changed.notify_all();
        gone.is_some()
    }

    /// Waits until each of `inos` was stored or failed, tried once from now on at the least; why
    /// not, where one failed.
    pub(in crate::vfs) fn wait_for(&self, inos: &[Ino]) -> Option<Errno> {
        let mut queue = self.lock();
        let tried = queue.expedite(inos, Instant::now());
        self.changed.notify_all();
        while inos.iter().any(|ino| queue.is_undecided(*ino, &tried)) {
            queue = self.wait(queue, None);
        }
        inos.iter().find_map(|ino| queue.failure(*ino))
    }

    /// Waits until one that waits is stored, for whoever lacks room; false where none will be, or
    /// the server is in trouble.
    pub(in crate::vfs) fn wait_for_room(&self) -> bool {
        let mut queue = self.lock();
        let (gone, transient_failures) = (queue.completed(), queue.transient_failures());
        queue.expedite_all(Instant::now());
        self.changed.notify_all();
        loop {
            if queue.completed() != gone {
                return true;
            }
            if queue.transient_failures() != transient_failures || !queue.has_runnable() {
                return false;
            }
            queue = self.wait(queue, None);
        }
    }

    /// Whether something waits that will be stored unasked.
    pub(in crate::vfs) fn has_runnable(&self) -> bool {
        self.lock().has_runnable()
    }

    /// The mount ends: all that waits is tried now, a few times at the most. Returns when nothing
    /// is left to try.
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

    /// Nothing is stored in the background from now on, and nothing waits for it.
    fn end(&self) {
        self.lock().end();
        self.changed.notify_all();
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
        // Each change of it is made under one lock, by plain assignments.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
