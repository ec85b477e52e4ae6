//! Room on the local disk for the rest of a file: the early upload discards what it has sent.
//!
//! From the first discarded byte on, the upload cannot begin again. If it fails and cannot be
//! resumed, or bytes change that it has sent, the file is *lost*: its next write and its close
//! report that, and the server keeps the old file.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::sequence::Sequence;
use super::{State, StreamingUpload, UploadStream, Uploader, UploaderShared};
use crate::ftp::{Cause, RemotePath};
use crate::remote::{Error, ErrorKind};
use crate::vfs::local::error::SpoolError;
use crate::vfs::local::spool::DISCARD_UNIT;

/// Maximum number of sent bytes that stay. What a broken connection has not delivered is sent again
/// from them.
const MAX_KEPT: u64 = 16 << 20;

/// If a file takes no more than this, everything that was sent is discarded.
const ALL: u64 = 4 << 20;

/// Pause before the server is asked again whether it has received what was sent. Each further one
/// is twice as long, up to the maximum.
const PAUSE: Duration = Duration::from_millis(20);
/// Maximum pause.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Whether the early upload should discard what it has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// There is no reason to.
    Enough,
    /// A writer waits for room.
    Wanted,
    /// A writer waits for room, and the server must receive more first.
    Awaited,
    /// It is discarding.
    Made,
    /// It cannot.
    Refused,
}

/// The whole file stays in the spool.
#[must_use]
pub(crate) struct KeptWhole(Arc<UploaderShared>);

impl Drop for KeptWhole {
    fn drop(&mut self) {
        self.0.lock().keepers -= 1;
        self.0.changed.notify_all();
    }
}

/// Why a change cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unchangeable {
    /// The bytes were sent, and the upload cannot begin again.
    #[error(transparent)]
    Sent(#[from] SpoolError),
    /// The file is lost: its upload failed.
    #[error(transparent)]
    Lost(#[from] Error),
}

/// A write that is being made, or waits for room. As long as this exists, the early upload neither
/// sends what the write changes nor discards it: a part that was sent and discarded cannot change
/// any more.
#[must_use]
pub(crate) struct AnnouncedWrite {
    /// The spool may be replaced and dropped while the write waits for its room.
    shared: Weak<UploaderShared>,
    write: (u64, WriteStage),
}

/// How far an announced write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteStage {
    Waiting,
    BeingMade,
}

impl Drop for AnnouncedWrite {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let mut state = shared.lock();
        let mut writes = state.announced.iter();
        if let Some(at) = writes.position(|write| *write == self.write) {
            state.announced.swap_remove(at);
        }
        shared.wake_follower(&state);
    }
}

/// What needs room on the local disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoomFor {
    /// A write to this file, which changes nothing before the offset.
    WriteAt(u64),
    /// A write to another file. What no program wrote to this one stays: a program may be about to
    /// change it.
    AnotherFile,
}

impl RoomFor {
    /// Returns the offset from which on everything must stay.
    fn end(self) -> u64 {
        match self {
            Self::WriteAt(offset) => offset,
            Self::AnotherFile => u64::MAX,
        }
    }
}

impl Room {
    /// Whether a writer waits for room.
    pub(super) fn is_wanted(self) -> bool {
        matches!(self, Self::Wanted | Self::Awaited)
    }
}

/// The bytes that a spool no longer has.
#[derive(Debug, Clone)]
pub(crate) enum SentPart {
    /// The server has them under this temporary name.
    At(RemotePath),
    /// They are lost: the upload failed.
    Lost(Error),
}

/// Returns the offset before which bytes are discarded, of those up to `sent`.
fn discard_before(discarded: u64, sent: u64) -> Option<u64> {
    let here = sent.saturating_sub(discarded);
    let kept = if here <= ALL {
        0
    } else {
        (here / 2).min(MAX_KEPT)
    };
    let end = sent.saturating_sub(kept) / DISCARD_UNIT * DISCARD_UNIT;
    Some(end).filter(|end| *end > discarded)
}

impl Uploader {
    /// Announces a write at `offset` that waits for room.
    pub(crate) fn wait_to_write(&self, offset: u64) -> AnnouncedWrite {
        let mut state = self.shared.lock();
        self.shared
            .announce(&mut state, (offset, WriteStage::Waiting))
    }

    /// Announces that the file is emptied, which is possible after bytes were discarded, too.
    pub(crate) fn begin_emptying(&self) -> AnnouncedWrite {
        let mut state = self.shared.lock();
        self.shared.announce(&mut state, (0, WriteStage::BeingMade))
    }

    /// Announces a write at `offset`, if it can be made.
    ///
    /// # Errors
    /// As of [`Self::confirm_changeable`].
    pub(crate) fn begin_write(&self, offset: u64) -> Result<AnnouncedWrite, Unchangeable> {
        let mut state = self.shared.lock();
        self.shared.confirm_changeable(&state, offset)?;
        let write = (offset, WriteStage::BeingMade);
        Ok(self.shared.announce(&mut state, write))
    }

    /// Whether there will be room on the local disk once it is [requested](Self::request_room).
    pub(crate) fn can_make_room(&self, what: RoomFor) -> bool {
        self.shared.can_make_room(&self.shared.lock(), what)
    }

    /// Asks for room on the local disk. Returns whether there will be some, as long as the early
    /// upload does not fail. Does not wait.
    pub(crate) fn request_room(&self, what: RoomFor) -> bool {
        let shared = &self.shared;
        let mut state = shared.lock();
        if !shared.can_make_room(&state, what) {
            return false;
        }
        if !state.is_committing() && !shared.spool.is_partial() {
            // An upload that has sent more cannot store the file after the change.
            state.spoil(what.end());
        }
        if state.is_making_room() {
            shared.wake_follower(&state);
            return true;
        }
        let begins = shared.begins_for_room(&state);
        state.sequence = UploaderShared::sendable(&state, what).clone();
        if begins {
            self.follow(&mut state);
        }
        if !state.follows() {
            return false;
        }
        // A spoiled one ends now, and the next request begins another.
        if state.room == Room::Enough && !state.upload.spoiled {
            state.room = Room::Wanted;
        }
        shared.wake_follower(&state);
        true
    }

    /// Prevents that anything is discarded as long as the result exists. Returns `None` if
    /// something was discarded already.
    pub(crate) fn keep_all(&self) -> Option<KeptWhole> {
        let mut state = self.shared.lock();
        if self.shared.spool.is_partial() {
            return None;
        }
        state.keepers += 1;
        Some(KeptWhole(Arc::clone(&self.shared)))
    }

    /// Records whether the journal has the spool. The next mount would store it whole, so nothing
    /// is discarded before the server has it. Returns whether the journal had it before.
    pub(crate) fn set_persisted(&self, is_persisted: bool) -> bool {
        let mut state = self.shared.lock();
        std::mem::replace(&mut state.is_persisted, is_persisted)
    }

    /// Fails if bytes from `offset` on must not change, because they were sent and the upload
    /// cannot begin again; or if the file is lost.
    ///
    /// # Errors
    /// Which of the two, with the error of the upload.
    pub(crate) fn confirm_changeable(&self, offset: u64) -> Result<(), Unchangeable> {
        if !self.shared.spool.is_partial() {
            return Ok(());
        }
        self.shared.confirm_changeable(&self.shared.lock(), offset)
    }

    /// Returns where the discarded bytes are, if any were discarded.
    pub(crate) fn sent_part(&self) -> Option<SentPart> {
        if !self.shared.spool.is_partial() {
            return None;
        }
        let state = self.shared.lock();
        let lost = state.lost.clone().map(SentPart::Lost);
        lost.or_else(|| state.sent_to.clone().map(SentPart::At))
    }
}

impl UploaderShared {
    fn announce(self: &Arc<Self>, state: &mut State, write: (u64, WriteStage)) -> AnnouncedWrite {
        state.announced.push(write);
        AnnouncedWrite {
            shared: Arc::downgrade(self),
            write,
        }
    }

    fn confirm_changeable(&self, state: &State, offset: u64) -> Result<(), Unchangeable> {
        if !self.spool.is_partial() {
            return Ok(());
        }
        match &state.lost {
            Some(lost) => Err(lost.clone().into()),
            None if offset < state.upload.taken => Err(SpoolError::Discarded.into()),
            None => Ok(()),
        }
    }

    /// Whether bytes can be discarded now or later.
    fn can_make_room(&self, state: &State, what: RoomFor) -> bool {
        if state.is_making_room() {
            return true;
        }
        let is_impossible = state.room == Room::Refused || state.is_persisted || state.cancelled;
        if is_impossible || state.lost.is_some() {
            return false;
        }
        if !state.follows() && !self.begins_for_room(state) {
            return false;
        }
        let mut end = Self::sendable(state, what).end().min(what.end());
        if what == RoomFor::AnotherFile {
            // Two writes that wait for each other's file would wait for ever.
            let writes = state.announced.iter();
            let waiting = writes.filter(|(_, stage)| *stage == WriteStage::Waiting);
            end = waiting.map(|(offset, _)| *offset).fold(end, u64::min);
        }
        end.saturating_sub(self.spool.discarded()) >= DISCARD_UNIT
    }

    /// Returns what an upload that makes room sends.
    fn sendable(state: &State, what: RoomFor) -> &Sequence {
        if what == RoomFor::AnotherFile && state.is_filled {
            &state.sequence
        } else {
            &state.written
        }
    }

    /// Whether an early upload would begin to make room. What was discarded cannot be sent again.
    fn begins_for_room(&self, state: &State) -> bool {
        let is_over = matches!(
            state.follower,
            StreamingUpload::None | StreamingUpload::Spent
        );
        is_over && !self.spool.is_partial()
    }

    /// Returns the offset before which to discard now. The upload then [makes
    /// room](Self::make_room).
    pub(super) fn next_discard(&self, state: &mut State) -> Option<u64> {
        // The server is asked again when it has more to receive.
        let can_wait = state.room == Room::Awaited && state.ahead() > 0;
        if !state.may_discard() || !state.room.is_wanted() || can_wait {
            return None;
        }
        let end = discard_before(self.spool.discarded(), state.upload.taken)?;
        state.room = Room::Made;
        Some(end)
    }

    /// Discards what `upload`, which has this `id`, has sent before `end`. Nothing is discarded
    /// before the server has received it, or if it must stay.
    ///
    /// # Errors
    /// The upload failed.
    pub(super) fn make_room(
        &self,
        upload: &mut dyn UploadStream,
        id: u64,
        end: u64,
    ) -> Result<(), Error> {
        let kept = upload.keep_from(self.spool.file(), end);
        let is_enough = |end: u64| end / DISCARD_UNIT * DISCARD_UNIT > self.spool.discarded();
        let kept = kept.map(|end| end.filter(|end| is_enough(*end)));
        let mut state = self.lock();
        if state.upload.id != id {
            // Another upload has replaced this one.
            return Ok(());
        }
        state.room = match &kept {
            // The bytes may have changed meanwhile.
            Ok(_) if state.upload.spoiled || !state.may_discard() => Room::Enough,
            Ok(None) => {
                state.pause = (state.pause * 2).clamp(PAUSE, MAX_PAUSE);
                Room::Awaited
            }
            Ok(Some(end)) => {
                state.pause = Duration::ZERO;
                state.sent_to = Some(upload.temporary_path());
                // Only releases blocks of a local file: no change is reported in the meantime.
                match self.spool.discard(*end) {
                    Ok(()) => Room::Enough,
                    Err(error) => refused(&error),
                }
            }
            Err(error) => refused(error),
        };
        drop(state);
        self.changed.notify_all();
        match kept {
            Err(error) if error.kind != ErrorKind::Unsupported => Err(error),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

fn refused(why: &dyn Cause) -> Room {
    log::info!(reply = why.quoted_reply(); "the local disk must hold the whole file: {why}");
    Room::Refused
}

impl State {
    /// Whether there will be room without another request: after the commit of a close, the upload
    /// of what follows can make some.
    fn is_making_room(&self) -> bool {
        self.is_committing() || self.keepers > 0 || self.room == Room::Made
    }

    fn may_discard(&self) -> bool {
        let changes = |(offset, _): &(u64, WriteStage)| *offset < self.upload.taken;
        self.keepers == 0 && !self.is_persisted && !self.announced.iter().any(changes)
    }

    /// Records that the file cannot be stored any more, because of `error` or a change of bytes
    /// that were sent.
    pub(super) fn lose(&mut self, error: Option<Error>) -> Error {
        let lost = self.lost.take().unwrap_or_else(|| {
            let path = self.sent_to.clone().unwrap_or_else(RemotePath::root);
            let reason = error.as_ref().map_or_else(
                || "it changed after a part was sent".to_owned(),
                |error| error.reason.clone(),
            );
            let reply = error.as_ref().and_then(|error| error.reply.clone());
            let lost = Error {
                kind: lost_kind(error.as_ref()),
                operation: "store",
                path: error.map_or(path, |error| error.path),
                reason: format!(
                    "{reason}; the upload cannot begin again, as the local disk has only a part of the file"
                ),
                reply,
            };
            log::error!(path = lost.path, reply = lost.reply; "{lost}");
            lost
        });
        self.lost = Some(lost.clone());
        lost
    }

    /// Forgets what was sent, because the file is empty now.
    pub(super) fn begin_again(&mut self) {
        self.lost = None;
        self.sent_to = None;
        self.is_filled = false;
        self.allow_room();
        let has_ended = matches!(
            self.follower,
            StreamingUpload::Spent | StreamingUpload::Failed
        );
        if has_ended && !self.is_committing() {
            self.follower = StreamingUpload::None;
        }
    }

    /// Allows discarding again.
    pub(super) fn allow_room(&mut self) {
        if self.room != Room::Made {
            self.room = Room::Enough;
        }
    }
}

/// A refusal of the server has its own errno; a failed connection is an I/O error, as no new
/// attempt can help.
fn lost_kind(error: Option<&Error>) -> ErrorKind {
    match error.map(|error| error.kind) {
        Some(
            kind @ (ErrorKind::NoSpace
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::PermissionDenied),
        ) => kind,
        _ => ErrorKind::ConnectionLost,
    }
}

#[cfg(test)]
mod tests;
