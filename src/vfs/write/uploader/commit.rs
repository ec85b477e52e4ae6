//! Commit of a file at close or sync: sends the missing bytes and makes them the file on the
//! server.

use std::fs::File;
use std::sync::MutexGuard;
use std::thread;
use std::time::Instant;

use super::room::Room;
use super::{
    CommitState, PIECE, Priority, State, StreamingUpload, UploadStream, Uploader, UploaderShared,
    WHOLE,
};
use crate::cancel::Cancel;
use crate::ftp::RemotePath;
use crate::journal::UnprovenUpload;
use crate::remote::{Attempts, CommitOptions, Error, ErrorKind, StoredFacts};
use crate::vfs::local::quota::QuotaFile;
use crate::vfs::local::spool::Spool;

/// Number of new uploads because the file was changed while it was sent. Each of them includes what
/// was written before the commit began. The last one succeeds even if the writer never pauses.
const RESTARTS: u32 = 3;

/// The result of one upload of the whole file.
enum CommitPass {
    Stored(StoredFacts),
    /// The file was changed in a part that was already sent.
    Changed,
    /// The file was removed, or the background upload was interrupted.
    Cancelled,
}

/// The next step of an upload.
enum Claim {
    /// Send this number of bytes.
    Send(u64),
    /// All bytes were sent, and the spool has not changed.
    Complete,
    /// End without storing anything.
    Void(CommitPass),
}

/// The state of the file that an upload stores.
struct UploadSnapshot {
    id: u64,
    generation: u64,
    length: u64,
    /// A copy of the contents, if the writer does not pause.
    frozen: Option<QuotaFile>,
}

impl UploadSnapshot {
    /// Returns the file to send from.
    fn file<'a>(&'a self, spool: &'a Spool) -> &'a File {
        self.frozen.as_ref().map_or(spool.file(), QuotaFile::file)
    }
}

/// A started upload, and the state that it stores.
type BegunUpload = (Box<dyn UploadStream>, UploadSnapshot);

/// The right to commit. While it exists, no other commit runs and no early upload starts.
pub(super) struct CommitGuard<'a>(pub(super) &'a UploaderShared);

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.next_upload();
        state.commit = CommitState::Idle;
        state.interrupt = Cancel::new();
        state.room = Room::Enough;
        if self.0.spool.is_partial() && state.is_dirty() {
            // The upload that could store this has ended.
            state.lose(None);
        }
        state.sequence = super::Sequence::default();
        let left = std::mem::replace(&mut state.follower, StreamingUpload::None);
        self.0.changed.notify_all();
        drop(state);
        // Aborting an upload uses the network.
        drop(left);
    }
}

impl Uploader {
    /// Stores the current contents of the spool as the file `target`, with the mode and time of
    /// `commit`; its size is the spool's. Returns what the server reports about the stored file, or
    /// `None` if there were no changes to send, or the commit was cancelled. Changes made in the
    /// meantime remain to be stored.
    ///
    /// # Errors
    /// The refusal of the server or the failure of the connection, after a few new uploads if the
    /// connection was lost. The changes remain to be stored, and the old file is intact.
    pub(crate) fn commit(
        &self,
        target: &RemotePath,
        commit: &CommitOptions,
        priority: Priority,
    ) -> Result<Option<StoredFacts>, Error> {
        let shared = &*self.shared;
        let state = shared.lock();
        let (mut state, is_free) = shared.wait_while(state, State::is_committing);
        if !is_free {
            return Err(stuck(target));
        }
        if !state.is_dirty() {
            return Ok(None);
        }
        if let Some(lost) = &state.lost {
            return Err(lost.clone());
        }
        state.commit = CommitState::Running(priority);
        let _turn = CommitGuard(shared);
        shared.changed.notify_all();
        let early = shared.take_early(state);
        shared.store(early, target, commit)
    }

    /// Takes what the server may have, because it did not answer a commit.
    pub(crate) fn take_unproven(&self) -> Vec<UnprovenUpload> {
        std::mem::take(&mut self.shared.lock().unproven)
    }
}

impl UploaderShared {
    /// Takes the early upload, if it is valid.
    fn take_early(&self, state: MutexGuard<'_, State>) -> Option<Box<dyn UploadStream>> {
        let (mut state, _) = self.wait_while(state, State::follows);
        match std::mem::replace(&mut state.follower, StreamingUpload::Spent) {
            StreamingUpload::Handed(upload) => Some(upload),
            StreamingUpload::None
            | StreamingUpload::Running { .. }
            | StreamingUpload::Spent
            | StreamingUpload::Failed => None,
        }
    }

    /// Uploads until it succeeds, or clearly cannot.
    fn store(
        &self,
        mut early: Option<Box<dyn UploadStream>>,
        target: &RemotePath,
        commit: &CommitOptions,
    ) -> Result<Option<StoredFacts>, Error> {
        let mut attempts = Attempts::from(self.destination.retry_mode(), 0);
        let mut restarts = 0;
        loop {
            if early.is_none() && self.spool.is_partial() {
                return Err(self.lock().lose(None));
            }
            let ignore_changes = restarts == RESTARTS;
            // A lost upload of this kind is not repeated in the same way.
            let whole = attempts.is_first() && self.spool.len() <= WHOLE;
            match self.pass(early.take(), whole, target, commit, ignore_changes) {
                Ok(CommitPass::Stored(stored)) => return Ok(Some(stored)),
                Ok(CommitPass::Cancelled) => return Ok(None),
                Ok(CommitPass::Changed) => restarts += 1,
                Err(_) if self.lock().is_called_off() => return Ok(None),
                Err(error) if self.spool.is_partial() => {
                    return Err(self.lock().lose(Some(error)));
                }
                Err(error) if attempts.again(error.kind.transience()) => {
                    log::debug!("{error}; uploading {target} again");
                    thread::sleep(attempts.pause());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Uploads the whole file once, or its rest if `early` has started. With `whole`, the data is
    /// sent with the command. `ignore_changes` sends a copy of the file, so that the server's
    /// digest matches.
    fn pass(
        &self,
        early: Option<Box<dyn UploadStream>>,
        whole: bool,
        target: &RemotePath,
        commit: &CommitOptions,
        ignore_changes: bool,
    ) -> Result<CommitPass, Error> {
        let (mut upload, snapshot) = match early {
            Some(upload) => (upload, self.snapshot(false, false, target)),
            None if whole => match self.begin_whole(ignore_changes, target)? {
                Ok(begun) => begun,
                Err(pass) => return Ok(pass),
            },
            None if self.lock().is_called_off() => return Ok(CommitPass::Cancelled),
            None => {
                let interrupt = self.lock().interrupt.clone();
                let upload = self.destination.begin(&interrupt)?;
                (upload, self.snapshot(true, ignore_changes, target))
            }
        };
        let file = snapshot.file(&self.spool);
        let mut has_arrived = false;
        loop {
            let done = match self.claim(&snapshot, ignore_changes) {
                Claim::Send(length) => upload.send(file, length),
                Claim::Complete if has_arrived => break,
                // Lost bytes are read from the spool again, so only the claim after this one is
                // final.
                Claim::Complete => {
                    has_arrived = true;
                    // Without a copy, the bytes that were sent may no longer exist.
                    let is_at_hand = !ignore_changes || snapshot.frozen.is_some();
                    upload.arrive(is_at_hand.then_some(file))
                }
                Claim::Void(pass) => return Ok(pass),
            };
            if let Err(error) = done {
                return self.unless_void(&snapshot, ignore_changes, error);
            }
        }
        let commit = CommitOptions {
            size: snapshot.length,
            ..commit.clone()
        };
        let priority = match self.lock().commit {
            CommitState::Running(priority) => priority,
            CommitState::Idle | CommitState::Interrupted(_) => Priority::Background,
        };
        let has_changed = || !ignore_changes && self.has_changed(&self.lock(), &snapshot);
        let is_over = || self.lock().is_called_off() || has_changed();
        let destination = &self.destination;
        let stored = match destination.commit(upload, target, &commit, priority, &is_over) {
            Ok(Some(stored)) => stored,
            Ok(None) if has_changed() => return Ok(CommitPass::Changed),
            Ok(None) => return Ok(CommitPass::Cancelled),
            Err(error) => {
                if error.kind.is_unanswered() {
                    self.note_unproven(file, snapshot.length, target);
                }
                return Err(error);
            }
        };
        let mut state = self.lock();
        state.unproven.clear();
        state.stored = snapshot.generation;
        state.is_persisted = false;
        Ok(CommitPass::Stored(stored))
    }

    /// Records that the server may have the first `length` bytes of `file`, because the answer to
    /// the commit was lost.
    fn note_unproven(&self, file: &File, length: u64, target: &RemotePath) {
        // A part cannot be read again, and is lost anyway.
        if self.spool.is_partial() {
            return;
        }
        match UnprovenUpload::of(file, length) {
            Ok(upload) => upload.add_to(&mut self.lock().unproven),
            Err(error) => log::debug!(
                path = target;
                "if the server has what was sent as {target}, that is not recognised: {error}"
            ),
        }
    }

    /// Starts an upload of a small file with all its bytes. Those that could not be sent with the
    /// command are sent after it.
    fn begin_whole(
        &self,
        ignore_changes: bool,
        target: &RemotePath,
    ) -> Result<Result<BegunUpload, CommitPass>, Error> {
        let snapshot = self.snapshot(true, ignore_changes, target);
        let claimed = match self.claim(&snapshot, ignore_changes) {
            Claim::Send(length) => length,
            Claim::Complete => 0,
            Claim::Void(pass) => return Ok(Err(pass)),
        };
        let file = snapshot.file(&self.spool);
        let interrupt = self.lock().interrupt.clone();
        let begun = self.destination.begin_whole(file, claimed, &interrupt);
        let sent = begun.and_then(|mut upload| {
            let left = claimed.saturating_sub(upload.sent());
            if left > 0 {
                upload.send(file, left)?;
            }
            Ok(upload)
        });
        match sent {
            Ok(upload) => Ok(Ok((upload, snapshot))),
            Err(error) => self.unless_void(&snapshot, ignore_changes, error).map(Err),
        }
    }

    /// A file that was truncated cannot be sent up to its old end, which is no failure of the
    /// server.
    fn unless_void(
        &self,
        snapshot: &UploadSnapshot,
        ignore_changes: bool,
        error: Error,
    ) -> Result<CommitPass, Error> {
        if !ignore_changes && self.has_changed(&self.lock(), snapshot) {
            return Ok(CommitPass::Changed);
        }
        Err(error)
    }

    fn snapshot(&self, is_new: bool, is_frozen: bool, target: &RemotePath) -> UploadSnapshot {
        let (id, generation) = {
            let mut state = self.lock();
            let id = if is_new {
                state.next_upload()
            } else {
                state.upload.id
            };
            (id, state.generation)
        };
        // The order matters: a change that is counted is then also in the length and in the copy.
        let frozen = is_frozen.then(|| self.spool.freeze());
        let (frozen, length) = match frozen {
            Some(Ok((frozen, length))) => (Some(frozen), length),
            Some(Err(error)) => {
                log::warn!(
                    path = target;
                    "storing {target} while it is being written, without a copy: {error}"
                );
                (None, self.spool.len())
            }
            None => (None, self.spool.len()),
        };
        UploadSnapshot {
            id,
            generation,
            length,
            frozen,
        }
    }

    /// Claims the next bytes to send.
    fn claim(&self, snapshot: &UploadSnapshot, ignore_changes: bool) -> Claim {
        let mut state = self.lock();
        state.moved = Instant::now();
        if state.is_called_off() {
            return Claim::Void(CommitPass::Cancelled);
        }
        if !ignore_changes && self.has_changed(&state, snapshot) {
            return Claim::Void(CommitPass::Changed);
        }
        match snapshot.length.saturating_sub(state.upload.taken) {
            0 => Claim::Complete,
            rest => {
                let length = rest.min(PIECE);
                state.upload.taken += length;
                Claim::Send(length)
            }
        }
    }

    fn has_changed(&self, state: &State, snapshot: &UploadSnapshot) -> bool {
        state.upload.id != snapshot.id
            || state.upload.spoiled
            || self.spool.len() < snapshot.length
            || snapshot.length < state.upload.taken
    }
}

pub(super) fn stuck(target: &RemotePath) -> Error {
    Error {
        kind: ErrorKind::TimedOut,
        operation: "store",
        path: target.clone(),
        reason: "another upload of the same file is stuck".to_owned(),
        reply: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::INTERRUPTION;
    use super::super::fake::{FakeServer, Plan};
    use super::super::tests::Open;
    use super::*;
    use crate::vfs::read::fake::PATIENCE;

    #[test]
    fn an_interrupted_commit_ends_although_the_server_is_silent() {
        let server = FakeServer::new(&[Plan::Silence]);
        let open = Open::on(&server);
        open.copy(0, 1000);
        let commit = || {
            let commit = CommitOptions::default();
            let root = RemotePath::root();
            open.store.commit(&root, &commit, Priority::Background)
        };
        thread::scope(|scope| {
            let committing = scope.spawn(commit);
            server.wait_for_begun(1);
            let began = Instant::now();
            while !committing.is_finished() {
                assert!(began.elapsed() < PATIENCE);
                open.store.interrupt();
                thread::sleep(Duration::from_millis(50));
            }
            assert!(began.elapsed() >= INTERRUPTION, "the server had time");
            assert!(committing.join().unwrap().unwrap().is_none());
        });
        assert!(open.store.is_dirty());
        commit().unwrap().unwrap();
        assert!(server.file() == open.bytes());
    }
}
