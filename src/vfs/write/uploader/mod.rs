//! How a spool gets to the server: in one upload that follows the writer where a file is written
//! from start to end, else in one that begins when the file is closed or synced.
//!
//! An upload *claims* bytes before it reads them from the spool. A change of claimed bytes spoils
//! the upload, and a spoiled one is never committed: so what is committed is what the spool held.
//! Changes are told after they were made; one that was not told yet leaves the store dirty, and the
//! next commit brings it.
//!
//! The state's lock is the only one, and it is not held while anything is sent.

mod commit;
mod follow;
mod sequence;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;
use crate::remote::{Commit, Error, Stored};
use crate::vfs::local::spool::Spool;
use sequence::Sequence;

/// So much must stand there before an upload begins early: a small file is cheaper stored in one
/// go, and a program that patches the beginning has often done so by then.
const FOLLOW_FROM: u64 = 4 << 20;

/// A file of at most so many bytes is begun with them.
const WHOLE: u64 = 64 << 10;

/// What is claimed and sent at a time.
const PIECE: u64 = 1 << 20;

/// Longest wait for another thread's upload without it sending anything. A backstop: the network's
/// deadlines, which are much shorter, end a send that is stuck.
const STUCK: Duration = Duration::from_secs(1800);

/// Where a file can be stored.
pub(crate) trait UploadTarget: Send + Sync {
    /// Begins an upload, under a temporary name.
    fn begin(&self) -> Result<Box<dyn UploadStream>, Error>;

    /// Begins an upload of a small file, which is to have the first `length` bytes of `file` and no
    /// more: those may go with the command that begins it.
    fn begin_whole(&self, file: &File, length: u64) -> Result<Box<dyn UploadStream>, Error>;
}

/// An upload under way. Dropping it gives it up and removes what has come of it.
pub(crate) trait UploadStream: Send {
    /// Sends the next `length` bytes, which follow those sent before, of `file`.
    fn send(&mut self, file: &File, length: u64) -> Result<(), Error>;

    /// Bytes sent so far.
    fn sent(&self) -> u64;

    /// Waits until the server has all that was sent; sends again from `file` what was lost on the
    /// way. None where the file holds other bytes by now.
    fn arrive(&mut self, file: Option<&File>) -> Result<(), Error>;

    /// Makes it the file at `target`, as `commit` says. On an error the old file is whole.
    fn commit(self: Box<Self>, target: &RemotePath, commit: &Commit) -> Result<Stored, Error>;
}

/// Who waits for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A program.
    Foreground,
    /// Nobody: [`Uploader::interrupt`] ends it.
    Background,
}

/// One spool's way to the server.
pub(crate) struct Uploader {
    shared: Arc<UploaderShared>,
}

/// What the store's callers and its follower have in common.
struct UploaderShared {
    destination: Arc<dyn UploadTarget>,
    spool: Arc<Spool>,
    state: Mutex<State>,
    changed: Condvar,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "what holds of a commit, of a file and of a thread is independent"
)]
struct State {
    /// Counts the changes.
    generation: u64,
    /// The change up to which the server has all.
    stored: u64,
    sequence: Sequence,
    upload: UploadCursor,
    follower: StreamingUpload,
    /// Whether a commit is running; only one does at a time.
    committing: bool,
    /// The running commit is nobody's who waits for it: it may be interrupted.
    yields: bool,
    /// … and is to end.
    interrupted: bool,
    /// The file has no name any more.
    cancelled: bool,
    /// When an upload last moved.
    moved: Instant,
    /// The follower has something to send, and is not waiting for its writer.
    sending: bool,
}

/// What the upload under way has taken of the spool.
#[derive(Debug, Default)]
struct UploadCursor {
    /// Which upload it is; one that is no longer this one has nothing to send.
    id: u64,
    /// It has read, or is about to read, the bytes before this offset.
    taken: u64,
    /// Some of them have changed since.
    spoiled: bool,
}

/// The early upload.
enum StreamingUpload {
    /// None was needed so far.
    None,
    /// Its thread has the upload.
    Running,
    /// Its thread has ended and left the upload to the commit that asked for it.
    Handed(Box<dyn UploadStream>),
    /// It came to nothing; the next one may begin after a commit.
    Spent,
}

impl Uploader {
    /// Stores `spool` to `destination`. Nothing is dirty yet.
    pub(crate) fn new(destination: Arc<dyn UploadTarget>, spool: Arc<Spool>) -> Self {
        Self {
            shared: Arc::new(UploaderShared {
                destination,
                spool,
                state: Mutex::new(State {
                    generation: 0,
                    stored: 0,
                    sequence: Sequence::default(),
                    upload: UploadCursor::default(),
                    follower: StreamingUpload::None,
                    committing: false,
                    yields: false,
                    interrupted: false,
                    cancelled: false,
                    moved: Instant::now(),
                    sending: false,
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// `length` bytes at `offset` were written to the spool. Does not wait for the network.
    pub(crate) fn wrote(&self, offset: u64, length: u64) {
        let mut state = self.shared.lock();
        state.generation += 1;
        state.sequence.wrote(offset, offset.saturating_add(length));
        state.spoil(offset);
        if state.may_follow() {
            self.follow(&mut state);
        }
        self.shared.wake_follower(&state);
    }

    /// The spool was cut or lengthened to `length`.
    pub(crate) fn truncated(&self, length: u64) {
        let mut state = self.shared.lock();
        state.generation += 1;
        state.sequence.truncated(length);
        state.spoil(length);
        self.shared.wake_follower(&state);
    }

    /// The server does not have the file as it is, though no byte was written: it was just created.
    pub(crate) fn mark_dirty(&self) {
        self.shared.lock().generation += 1;
    }

    /// Counts the changes that were told.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    /// A number that changes while an upload gets on.
    pub(crate) fn progress(&self) -> u64 {
        let state = self.shared.lock();
        state
            .upload
            .id
            .wrapping_shl(40)
            .wrapping_add(state.upload.taken)
    }

    /// Ends a commit that nobody waits for, soon and without having stored anything; the store
    /// stays dirty.
    pub(crate) fn interrupt(&self) {
        let mut state = self.shared.lock();
        state.interrupted |= state.committing && state.yields;
    }

    /// Whether the next commit has something to do.
    pub(crate) fn is_dirty(&self) -> bool {
        self.shared.lock().is_dirty()
    }

    /// Gives the follower's connection back if it has sent nothing for `older_than`; the commit
    /// then uploads the whole file.
    pub(crate) fn release_idle(&self, older_than: Duration) {
        let mut state = self.shared.lock();
        let is_idle = !state.sending && state.moved.elapsed() >= older_than;
        if is_idle && matches!(state.follower, StreamingUpload::Running) && !state.committing {
            state.follower = StreamingUpload::Spent;
            state.next_upload();
            self.shared.changed.notify_all();
        }
    }

    /// The file was removed: nothing of it is stored from now on. Waits until a commit that is
    /// running has ended, so that it cannot bring the name back after the caller removed it.
    pub(crate) fn cancel(&self) {
        let mut state = self.shared.lock();
        state.cancelled = true;
        self.shared.changed.notify_all();
        let _ended = self.shared.wait_while(state, |state| state.committing);
    }

    /// Gives an early upload up and waits until it is off the server; the next commit begins anew.
    pub(crate) fn end_early_upload(&self) {
        let runs = |state: &State| matches!(state.follower, StreamingUpload::Running);
        let mut state = self.shared.lock();
        if runs(&state) && !state.committing {
            state.upload.spoiled = true;
            self.shared.changed.notify_all();
            let _ended = self.shared.wait_while(state, runs);
        }
    }

    fn follow(&self, state: &mut State) {
        let id = state.next_upload();
        state.follower = match follow::spawn(&self.shared, id) {
            Ok(()) => StreamingUpload::Running,
            Err(error) => {
                log::warn!("no thread for an early upload: {error}");
                StreamingUpload::Spent
            }
        };
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.next_upload();
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Uploader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("spool", &self.shared.spool)
            .finish_non_exhaustive()
    }
}

impl UploaderShared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the follower if there is something for it to do.
    fn wake_follower(&self, state: &State) {
        let has_work = state.upload.spoiled || state.ahead() >= PIECE;
        if has_work && matches!(state.follower, StreamingUpload::Running) {
            self.changed.notify_all();
        }
    }

    /// Waits as long as `waits` holds and uploads move. Says whether it holds no more.
    fn wait_while<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        waits: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let began = Instant::now();
        while waits(&state) {
            let since = state.moved.max(began);
            let Some(left) = STUCK.checked_sub(since.elapsed()) else {
                return (state, false);
            };
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        (state, true)
    }
}

impl State {
    fn is_dirty(&self) -> bool {
        self.generation != self.stored && !self.cancelled
    }

    /// Whether a running commit is to end.
    fn is_called_off(&self) -> bool {
        self.cancelled || self.interrupted
    }

    /// Bytes that were written in sequence and are not claimed yet.
    fn ahead(&self) -> u64 {
        self.sequence.end().saturating_sub(self.upload.taken)
    }

    /// The bytes from `offset` on are not what an upload may have read.
    fn spoil(&mut self, offset: u64) {
        if offset < self.upload.taken {
            self.upload.spoiled = true;
        }
    }

    /// A new upload, which has claimed nothing; the one before has nothing to send any more.
    fn next_upload(&mut self) -> u64 {
        self.moved = Instant::now();
        self.upload = UploadCursor {
            id: self.upload.id + 1,
            taken: 0,
            spoiled: false,
        };
        self.upload.id
    }

    /// Whether an early upload is to begin.
    fn may_follow(&self) -> bool {
        matches!(self.follower, StreamingUpload::None)
            && self.sequence.end() >= FOLLOW_FROM
            && !self.committing
            && !self.cancelled
    }
}
