//! Closing or syncing a file: sends what is missing and makes it the file on the server.

use std::fs::File;
use std::sync::MutexGuard;
use std::time::Instant;

use super::{
    PIECE, Priority, State, StreamingUpload, UploadStream, Uploader, UploaderShared, WHOLE,
};
use crate::ftp::RemotePath;
use crate::remote::{Commit, Error, ErrorKind, Stored};
use crate::vfs::local::quota::QuotaFile;
use crate::vfs::local::spool::Spool;

/// Fresh uploads after a connection that broke.
const RETRIES: u32 = 3;

/// Fresh uploads because the file was changed while it was sent. What was written before the commit
/// began is in every one of them; the last is good even if the writer never pauses.
const RESTARTS: u32 = 3;

/// How one upload of the whole file came out.
enum CommitPass {
    Stored(Stored),
    /// The file was changed where it had been sent already.
    Changed,
    /// The file was removed meanwhile, or nobody minds if it is stored later.
    Cancelled,
}

/// What an upload is to do next.
enum Claim {
    /// Send so many bytes.
    Send(u64),
    /// All were sent, and they are still what the spool holds.
    Complete,
    /// End without having stored anything.
    Void(CommitPass),
}

/// What an upload brings: the file as it is when this is taken.
struct UploadSnapshot {
    id: u64,
    generation: u64,
    length: u64,
    /// The bytes themselves, where the writer does not pause.
    frozen: Option<QuotaFile>,
}

impl UploadSnapshot {
    /// The file to send from.
    fn file<'a>(&'a self, spool: &'a Spool) -> &'a File {
        self.frozen.as_ref().map_or(spool.file(), QuotaFile::file)
    }
}

/// An upload, and what it is to bring.
type BegunUpload = (Box<dyn UploadStream>, UploadSnapshot);

/// The right to commit; while it lives no other commit runs and no early upload begins.
struct CommitGuard<'a>(&'a UploaderShared);

impl Drop for CommitGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.next_upload();
        state.committing = false;
        state.interrupted = false;
        state.sequence = super::Sequence::default();
        let left = std::mem::replace(&mut state.follower, StreamingUpload::None);
        self.0.changed.notify_all();
        drop(state);
        // Giving up an upload speaks to the server.
        drop(left);
    }
}

impl Uploader {
    /// Brings the spool, as it is now, to the server as the file `target`, with the mode and time
    /// of `commit`; its size is the spool's. Tells what the server says of the stored file; nothing
    /// where nothing was dirty, and so nothing sent, or where it was called off. Changes made while
    /// this runs leave the store dirty.
    ///
    /// # Errors
    /// What the server or the connection said, after a few fresh uploads where the connection
    /// broke. The store stays dirty, and the old file is whole.
    pub(crate) fn commit(
        &self,
        target: &RemotePath,
        commit: &Commit,
        priority: Priority,
    ) -> Result<Option<Stored>, Error> {
        let shared = &*self.shared;
        let state = shared.lock();
        let (mut state, is_free) = shared.wait_while(state, |state| state.committing);
        if !is_free {
            return Err(stuck(target));
        }
        if !state.is_dirty() {
            return Ok(None);
        }
        state.committing = true;
        state.yields = priority == Priority::Background;
        let _turn = CommitGuard(shared);
        shared.changed.notify_all();
        let early = shared.take_early(state);
        shared.store(early, target, commit)
    }
}

impl UploaderShared {
    /// The follower's upload, if it is good.
    fn take_early(&self, state: MutexGuard<'_, State>) -> Option<Box<dyn UploadStream>> {
        let runs = |state: &State| matches!(state.follower, StreamingUpload::Running);
        let (mut state, _) = self.wait_while(state, runs);
        match std::mem::replace(&mut state.follower, StreamingUpload::Spent) {
            StreamingUpload::Handed(upload) => Some(upload),
            StreamingUpload::None | StreamingUpload::Running | StreamingUpload::Spent => None,
        }
    }

    /// Uploads until it is done, or it is plain that it cannot be.
    fn store(
        &self,
        mut early: Option<Box<dyn UploadStream>>,
        target: &RemotePath,
        commit: &Commit,
    ) -> Result<Option<Stored>, Error> {
        let mut retries = 0;
        let mut restarts = 0;
        loop {
            let ignore_changes = restarts == RESTARTS;
            // What was lost with its command is not sent so again.
            let whole = retries == 0 && self.spool.len() <= WHOLE;
            match self.pass(early.take(), whole, target, commit, ignore_changes) {
                Ok(CommitPass::Stored(stored)) => return Ok(Some(stored)),
                Ok(CommitPass::Cancelled) => return Ok(None),
                Ok(CommitPass::Changed) => restarts += 1,
                Err(_) if self.lock().is_called_off() => return Ok(None),
                Err(error) if retries < RETRIES && may_go_better(error.kind) => {
                    log::debug!("{error}; storing {target} anew");
                    retries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One upload of the whole file, the rest of it where `early` has begun; with its command where
    /// it is `whole`. `ignore_changes` ignores changes: it sends a copy of the file, so that the
    /// server's digest is of the same bytes.
    fn pass(
        &self,
        early: Option<Box<dyn UploadStream>>,
        whole: bool,
        target: &RemotePath,
        commit: &Commit,
        ignore_changes: bool,
    ) -> Result<CommitPass, Error> {
        let (mut upload, snapshot) = match early {
            Some(upload) => (upload, self.snapshot(false, false, target)),
            None if whole => match self.begin_whole(ignore_changes, target)? {
                Ok(begun) => begun,
                Err(pass) => return Ok(pass),
            },
            None => {
                let upload = self.destination.begin()?;
                (upload, self.snapshot(true, ignore_changes, target))
            }
        };
        let file = snapshot.file(&self.spool);
        let mut has_arrived = false;
        loop {
            let done = match self.claim(&snapshot, ignore_changes) {
                Claim::Send(length) => upload.send(file, length),
                Claim::Complete if has_arrived => break,
                // What was lost on the way is read from the spool again: only the claim after it is
                // the last.
                Claim::Complete => {
                    has_arrived = true;
                    // Without a copy, what was sent may be nowhere any more.
                    let is_at_hand = !ignore_changes || snapshot.frozen.is_some();
                    upload.arrive(is_at_hand.then_some(file))
                }
                Claim::Void(pass) => return Ok(pass),
            };
            if let Err(error) = done {
                return self.unless_void(&snapshot, ignore_changes, error);
            }
        }
        let commit = Commit {
            size: snapshot.length,
            ..commit.clone()
        };
        let stored = upload.commit(target, &commit)?;
        self.lock().stored = snapshot.generation;
        Ok(CommitPass::Stored(stored))
    }

    /// Begins an upload of a small file with all its bytes; what could not go with the command is
    /// sent after it.
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
        let begun = self.destination.begin_whole(file, claimed);
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

    /// A cut file cannot be sent to its old end; that is no failure of the server's.
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
        // In this order: a change that is counted is in the length and in the copy, too.
        let frozen = is_frozen.then(|| self.spool.freeze());
        let (frozen, length) = match frozen {
            Some(Ok((frozen, length))) => (Some(frozen), length),
            Some(Err(error)) => {
                log::warn!("{target} is stored while it is written, with no copy of it: {error}");
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

/// Whether another upload of the whole file may succeed. One of the wrong size may be an upload
/// that was gone on with while the server still wrote what it had of it.
fn may_go_better(kind: ErrorKind) -> bool {
    kind.is_the_connection() || matches!(kind, ErrorKind::Truncated | ErrorKind::OtherWay)
}

fn stuck(target: &RemotePath) -> Error {
    Error {
        kind: ErrorKind::TimedOut,
        operation: "store",
        path: target.clone(),
        reason: "another store of the same file does not end".to_owned(),
    }
}
