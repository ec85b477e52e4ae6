//! Uploads of a spool: one that follows the writer if a file is written from start to end,
//! otherwise one that starts when the file is closed or synced.
//!
//! An upload *claims* bytes before it reads them from the spool. A change of claimed bytes spoils
//! the upload, and a spoiled upload is never committed, so a committed file always equals the
//! spool. Changes are reported after they were made. A change that is not reported yet is still
//! dirty, and the next commit stores it.
//!
//! If the local disk has no room for the rest of a file, the early upload discards what it has sent
//! (`room`). From then on it is the only one that can store the file. Of a file that is appended
//! to, only the new bytes are in the spool and sent (`append`).
//!
//! There is only one lock, that of the state, and it is not held while data is sent.

mod append;
mod commit;
mod follow;
mod room;
mod sequence;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::journal::UnprovenUpload;
use crate::remote::{CommitOptions, Error, RemoteUpload, RetryMode, StoredFacts};
use crate::vfs::local::spool::Spool;
pub(crate) use room::{AnnouncedWrite, KeptWhole, RoomFor, SentPart, Unchangeable};
use room::{Room, WriteStage};
use sequence::Sequence;

/// Number of bytes that must be written before an early upload starts. Small files are cheaper to
/// store in one go, and programs that patch the beginning have often done so by then.
const FOLLOW_FROM: u64 = 4 << 20;

/// Maximum size in bytes of a file that is sent together with the command.
pub(super) const WHOLE: u64 = 64 << 10;

/// Number of bytes claimed and sent at a time.
const PIECE: u64 = 1 << 20;

/// Maximum wait for another thread's upload that makes no progress. A safety net: the network
/// deadlines, which are much shorter, end a blocked send.
const STUCK: Duration = Duration::from_secs(1800);

/// How long an interrupted commit may go on before its connection is closed. A server that is
/// neither away nor busy answers within that time, and the connection can be used again.
const INTERRUPTION: Duration = Duration::from_secs(2);

/// Where a file can be stored.
pub(crate) trait UploadTarget: Send + Sync {
    /// Starts an upload under a temporary name. `interrupt` ends its waits until all data is
    /// acknowledged.
    fn begin(&self, interrupt: &Cancel) -> Result<Box<dyn UploadStream>, Error>;

    /// Whether an upload may begin before the file is closed. One that overwrites the file waits
    /// for the changes before it.
    fn may_begin_early(&self) -> bool {
        true
    }

    /// Makes `upload` the file at `target`, as `commit` describes, behind the changes before it.
    /// Returns `None` if `is_over` returned true while it waited for its turn.
    ///
    /// # Errors
    /// Those of [`UploadStream::commit`].
    fn commit(
        &self,
        upload: Box<dyn UploadStream>,
        target: &RemotePath,
        commit: &CommitOptions,
        _priority: Priority,
        _is_over: &dyn Fn() -> bool,
    ) -> Result<Option<StoredFacts>, Error> {
        upload.commit(target, commit).map(Some)
    }

    /// Returns how long uploads wait for a server that is away.
    fn retry_mode(&self) -> RetryMode {
        RetryMode::Soft
    }

    /// Starts an upload of a small file that will consist of exactly the first `length` bytes of
    /// `file`. They may be sent with the command. `interrupt` as for [`Self::begin`].
    fn begin_whole(
        &self,
        file: &File,
        length: u64,
        interrupt: &Cancel,
    ) -> Result<Box<dyn UploadStream>, Error>;
}

/// An upload in progress. Dropping it aborts it and removes its remains.
pub(crate) trait UploadStream: Send {
    /// Sends the next `length` bytes of `file`, which follow those sent before.
    fn send(&mut self, file: &File, length: u64) -> Result<(), Error>;

    /// Returns the number of bytes sent.
    fn sent(&self) -> u64;

    /// Announces that the bytes of `file` before `offset`, which were sent, will be discarded.
    /// Returns the offset before which they may be, or `None` if the server must receive more
    /// first.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::remote::ErrorKind::Unsupported) if they must stay
    /// available. Otherwise the upload failed.
    fn keep_from(&mut self, file: &File, offset: u64) -> Result<Option<u64>, Error>;

    /// Returns the path under which the server has what was sent.
    fn temporary_path(&self) -> RemotePath;

    /// Waits until the server has everything that was sent. Sends lost bytes again from `file`,
    /// which is `None` if it has changed since.
    fn arrive(&mut self, file: Option<&File>) -> Result<(), Error>;

    /// Returns the upload itself, if it is one to a server.
    fn into_remote(self: Box<Self>) -> Option<RemoteUpload> {
        None
    }

    /// Makes the upload the file at `target`, as `commit` describes. After an error, the old file
    /// is intact.
    fn commit(
        self: Box<Self>,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<StoredFacts, Error>;
}

/// Who waits for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Priority {
    /// A program.
    Foreground,
    /// No program: [`Uploader::interrupt`] ends it.
    Background,
}

/// The uploader of one spool.
pub(crate) struct Uploader {
    shared: Arc<UploaderShared>,
}

/// State shared by the callers and the follower.
struct UploaderShared {
    destination: Arc<dyn UploadTarget>,
    spool: Arc<Spool>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Number of changes.
    generation: u64,
    /// The change up to which the server has everything.
    stored: u64,
    /// What was written since the last commit.
    sequence: Sequence,
    /// What the spool has.
    written: Sequence,
    /// Whether the spool has bytes that no program wrote to it.
    is_filled: bool,
    upload: UploadCursor,
    follower: StreamingUpload,
    commit: CommitState,
    /// Ends the waits of the upload to be committed.
    interrupt: Cancel,
    room: Room,
    /// Offsets of the writes that are being made, or wait for room. The early upload takes nothing
    /// from the lowest one on.
    announced: Vec<(u64, WriteStage)>,
    /// Pause before the server is asked again what it has received.
    pause: Duration,
    /// Number of threads that need the whole file in the spool.
    keepers: u32,
    /// Whether the journal has the spool, which the next mount needs whole.
    is_persisted: bool,
    /// Where the server has the bytes that were discarded.
    sent_to: Option<RemotePath>,
    /// Why the file cannot be stored any more: its upload failed after a part was discarded.
    lost: Option<Error>,
    /// What was sent when the server did not answer the commit.
    unproven: Vec<UnprovenUpload>,
    /// Whether the file no longer has a name.
    cancelled: bool,
    /// When an upload last made progress.
    moved: Instant,
}

/// The commit of a file; there is at most one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CommitState {
    Idle,
    Running(Priority),
    /// Running in the background, and to end soon without storing anything, since this time.
    Interrupted(Instant),
}

/// What the current upload has read of the spool.
#[derive(Debug, Default)]
struct UploadCursor {
    /// The current upload. Earlier ones must not send any more.
    id: u64,
    /// Offset up to which it has read, or is about to read.
    taken: u64,
    /// Whether some of these bytes have changed since.
    spoiled: bool,
}

/// The state of the early upload.
enum StreamingUpload {
    /// None was needed so far.
    None,
    /// Its thread has the upload, and sends instead of waiting for its writer.
    Running { is_sending: bool },
    /// Its thread has ended and left the upload to the commit that requested it.
    Handed(Box<dyn UploadStream>),
    /// It was given up because bytes changed or the writer paused. The next one may start after a
    /// commit, or to make room.
    Spent,
    /// It failed. The next one may start after a commit.
    Failed,
}

impl Uploader {
    /// Creates an uploader of `spool` to `destination`, without changes to store.
    pub(crate) fn new(destination: Arc<dyn UploadTarget>, spool: Arc<Spool>) -> Self {
        Self {
            shared: Arc::new(UploaderShared {
                destination,
                spool,
                state: Mutex::new(State {
                    generation: 0,
                    stored: 0,
                    sequence: Sequence::default(),
                    written: Sequence::default(),
                    is_filled: false,
                    upload: UploadCursor::default(),
                    follower: StreamingUpload::None,
                    commit: CommitState::Idle,
                    interrupt: Cancel::new(),
                    room: Room::Enough,
                    announced: Vec::new(),
                    pause: Duration::ZERO,
                    keepers: 0,
                    is_persisted: false,
                    sent_to: None,
                    lost: None,
                    unproven: Vec::new(),
                    cancelled: false,
                    moved: Instant::now(),
                }),
                changed: Condvar::new(),
            }),
        }
    }

    /// Reports that `length` bytes at `offset` were written to the spool. Does not wait for the
    /// network.
    pub(crate) fn wrote(&self, offset: u64, length: u64) {
        let mut state = self.shared.lock();
        state.generation += 1;
        let end = offset.saturating_add(length);
        state.sequence.wrote(offset, end);
        state.written.wrote(offset, end);
        state.spoil(offset);
        if state.may_follow() && !self.shared.spool.is_partial() {
            self.follow(&mut state);
        }
        self.shared.wake_follower(&state);
    }

    /// Reports that the spool has the first `length` bytes, which no program wrote to it.
    pub(crate) fn filled(&self, length: u64) {
        let mut state = self.shared.lock();
        state.written.wrote(0, length);
        state.is_filled |= length > 0;
    }

    /// Reports that the spool was truncated or extended to `length`.
    pub(crate) fn truncated(&self, length: u64) {
        let mut state = self.shared.lock();
        state.generation += 1;
        state.sequence.truncated(length);
        state.written.truncated(length);
        state.spoil(length);
        if length == 0 {
            state.begin_again();
        }
        self.shared.wake_follower(&state);
    }

    /// Marks the file as changed although no byte was written, because it was just created.
    pub(crate) fn mark_dirty(&self) {
        self.shared.lock().generation += 1;
    }

    /// Marks the contents as of `generation` as stored, because the server was found to have them.
    pub(crate) fn mark_stored(&self, generation: u64) {
        let mut state = self.shared.lock();
        state.stored = generation;
        state.is_persisted = false;
    }

    /// Returns the number of reported changes.
    pub(crate) fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    /// Returns a number that changes while an upload makes progress.
    pub(crate) fn progress(&self) -> u64 {
        let state = self.shared.lock();
        state
            .upload
            .id
            .wrapping_shl(40)
            .wrapping_add(state.upload.taken)
    }

    /// Interrupts a commit that no program waits for. It ends soon without storing anything, and
    /// the changes remain. If this is called again and the commit still goes on after a while, its
    /// connection is closed, unless the server has acknowledged all data, or the upload overwrites
    /// the file in place.
    pub(crate) fn interrupt(&self) {
        let mut state = self.shared.lock();
        match state.commit {
            CommitState::Running(Priority::Background) => {
                state.commit = CommitState::Interrupted(Instant::now());
            }
            CommitState::Interrupted(since) if since.elapsed() >= INTERRUPTION => {
                let interrupt = state.interrupt.clone();
                drop(state);
                interrupt.cancel();
            }
            CommitState::Idle | CommitState::Running(_) | CommitState::Interrupted(_) => {}
        }
    }

    /// Whether there are changes to commit.
    pub(crate) fn is_dirty(&self) -> bool {
        self.shared.lock().is_dirty()
    }

    /// Whether a commit is running.
    pub(crate) fn is_committing(&self) -> bool {
        self.shared.lock().is_committing()
    }

    /// Returns the follower's connection if it has sent nothing for `older_than`. The commit then
    /// uploads the whole file.
    pub(crate) fn release_idle(&self, older_than: Duration) {
        let mut state = self.shared.lock();
        let is_waiting = matches!(
            state.follower,
            StreamingUpload::Running { is_sending: false }
        );
        let is_idle = is_waiting && state.moved.elapsed() >= older_than;
        let makes_room = state.room.is_wanted() || state.room == Room::Made;
        let is_wanted = makes_room || self.shared.spool.is_partial();
        if is_idle && !state.is_committing() && !is_wanted {
            state.follower = StreamingUpload::Spent;
            state.next_upload();
            self.shared.changed.notify_all();
        }
    }

    /// Cancels all uploads after the file was removed. Waits until a running commit has ended, so
    /// that it cannot restore the name after the caller removed it.
    pub(crate) fn cancel(&self) {
        let mut state = self.shared.lock();
        state.cancelled = true;
        self.shared.changed.notify_all();
        let _ended = self.shared.wait_while(state, State::is_committing);
    }

    /// Aborts an early upload and waits until it is removed from the server. The next commit starts
    /// from the beginning, if everything is still here.
    pub(crate) fn end_early_upload(&self) {
        let mut state = self.shared.lock();
        if state.follows() && !state.is_committing() {
            state.upload.spoiled = true;
            self.shared.changed.notify_all();
            let _ended = self.shared.wait_while(state, State::follows);
        }
    }

    fn follow(&self, state: &mut State) {
        let id = state.next_upload();
        state.follower = match follow::spawn(&self.shared, id) {
            Ok(()) => StreamingUpload::Running { is_sending: false },
            Err(error) => {
                log::warn!("cannot start a thread for an early upload: {error}");
                StreamingUpload::Failed
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
        let has_work = state.upload.spoiled || state.ahead() >= PIECE || state.room.is_wanted();
        if has_work && state.follows() {
            self.changed.notify_all();
        }
    }

    /// Waits while `waits` returns true and uploads make progress. Returns whether `waits` has
    /// become false.
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
            state = self.wait(state, left);
        }
        (state, true)
    }

    /// Waits until something changes, at most `patience`.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, patience);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    fn is_dirty(&self) -> bool {
        self.generation != self.stored && !self.cancelled
    }

    fn is_committing(&self) -> bool {
        self.commit != CommitState::Idle
    }

    /// Whether a running commit should end.
    fn is_called_off(&self) -> bool {
        self.cancelled || matches!(self.commit, CommitState::Interrupted(_))
    }

    /// Whether the thread of an early upload is running.
    fn follows(&self) -> bool {
        matches!(self.follower, StreamingUpload::Running { .. })
    }

    /// Records whether that thread sends instead of waiting for its writer.
    fn set_sending(&mut self, now: bool) {
        if let StreamingUpload::Running { is_sending } = &mut self.follower {
            *is_sending = now;
        }
    }

    /// Returns the number of bytes that were written in sequence, are not claimed yet, and are not
    /// about to change.
    fn ahead(&self) -> u64 {
        let written = self.sequence.end();
        let announced = self.announced.iter().map(|(offset, _)| *offset).min();
        let stable = announced.map_or(written, |offset| written.min(offset));
        stable.saturating_sub(self.upload.taken)
    }

    /// Spoils the upload if it may have read bytes from `offset` on.
    fn spoil(&mut self, offset: u64) {
        if offset < self.upload.taken {
            self.upload.spoiled = true;
        }
    }

    /// Starts a new upload, which has claimed nothing. The previous one must not send any more.
    fn next_upload(&mut self) -> u64 {
        self.moved = Instant::now();
        self.upload = UploadCursor {
            id: self.upload.id + 1,
            taken: 0,
            spoiled: false,
        };
        self.upload.id
    }

    /// Whether an early upload should start.
    fn may_follow(&self) -> bool {
        matches!(self.follower, StreamingUpload::None)
            && self.sequence.end() >= FOLLOW_FROM
            && !self.is_committing()
            && !self.cancelled
    }
}
