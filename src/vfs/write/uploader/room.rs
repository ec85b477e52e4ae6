//! Room on the local disk for the rest of a file: the early upload discards what it has sent.
//!
//! From the first discarded byte on, the upload cannot begin again. If it fails and cannot be
//! resumed, or bytes change that it has sent, the file is *lost*: its next write and its close
//! report that, and the server keeps the old file.

use std::sync::Arc;
use std::time::Duration;

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
    /// Asks for room on the local disk. Returns whether there will be some, as long as the early
    /// upload does not fail. Does not wait.
    pub(crate) fn request_room(&self) -> bool {
        let shared = &self.shared;
        let mut state = shared.lock();
        // After the commit of a close, the upload of what follows can make room.
        if state.is_committing() || state.keepers > 0 || state.room == Room::Made {
            return true;
        }
        if state.room == Room::Refused || state.is_persisted || state.cancelled {
            return false;
        }
        if state.lost.is_some() {
            return false;
        }
        // What was discarded cannot be sent again.
        let begins = !shared.spool.is_partial()
            && matches!(
                state.follower,
                StreamingUpload::None | StreamingUpload::Spent
            );
        let sequence = if begins {
            &state.written
        } else {
            &state.sequence
        };
        if sequence.end().saturating_sub(shared.spool.discarded()) < DISCARD_UNIT {
            return false;
        }
        if begins {
            state.sequence = state.written.clone();
            self.follow(&mut state);
        }
        if !state.follows() {
            return false;
        }
        // A spoiled one ends now, and the next request begins another.
        if state.room == Room::Enough && !state.upload.spoiled {
            state.room = Room::Wanted;
            shared.changed.notify_all();
        }
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
        let state = self.shared.lock();
        match &state.lost {
            Some(lost) => Err(lost.clone().into()),
            None if offset < state.upload.taken => Err(SpoolError::Discarded.into()),
            None => Ok(()),
        }
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
    fn may_discard(&self) -> bool {
        self.keepers == 0 && !self.is_persisted
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
mod tests {
    use std::thread;

    use super::*;
    use crate::journal::Journal;
    use crate::remote::CommitOptions;
    use crate::vfs::local::spool::Spool;
    use crate::vfs::local::spool_dir::SpoolDir;
    use crate::vfs::read::fake::{PATIENCE, sample};
    use crate::vfs::write::uploader::Priority;
    use crate::vfs::write::uploader::fake::{FakeDestination, FakeServer, Moment, Plan};
    use std::time::Instant;

    const M: u64 = 1 << 20;

    /// A file that is written with little room on the local disk.
    struct Writing {
        server: Arc<FakeServer>,
        spool: Arc<Spool>,
        store: Uploader,
        at: u64,
    }

    impl Writing {
        fn on(plans: &[Plan]) -> Self {
            let server = FakeServer::new(plans);
            let spools = SpoolDir::new(Journal::disabled(None), Some(8 * M));
            let spool = Arc::new(spools.create(&RemotePath::root()).unwrap());
            let destination = Arc::new(FakeDestination(Arc::clone(&server)));
            let store = Uploader::new(destination, Arc::clone(&spool));
            Self {
                server,
                spool,
                store,
                at: 0,
            }
        }

        /// Writes `bytes`, waiting for room. Returns false if there will be none.
        fn write(&mut self, bytes: &[u8]) -> bool {
            let started = Instant::now();
            for piece in bytes.chunks(128 << 10) {
                while self.spool.write_at(self.at, piece).is_err() {
                    if !self.store.request_room() {
                        return false;
                    }
                    assert!(started.elapsed() < PATIENCE);
                    thread::sleep(Duration::from_millis(1));
                }
                self.store.wrote(self.at, piece.len() as u64);
                self.at += piece.len() as u64;
            }
            true
        }

        fn commit(&self) -> Result<(), Error> {
            let options = CommitOptions::default();
            let commit = self
                .store
                .commit(&RemotePath::root(), &options, Priority::Foreground);
            commit.map(drop)
        }
    }

    #[test]
    fn a_file_larger_than_the_room_is_stored() {
        let mut file = Writing::on(&[]);
        let bytes = sample(30 * M as usize + 5);
        assert!(file.write(&bytes));
        assert!(file.spool.is_partial());
        assert!(matches!(file.store.sent_part(), Some(SentPart::At(_))));
        file.commit().unwrap();
        assert!(file.server.file() == bytes);
        assert_eq!(file.server.begun(), 1);
    }

    #[test]
    fn what_was_sent_cannot_change_and_the_rest_can() {
        let mut file = Writing::on(&[]);
        assert!(file.store.confirm_changeable(0).is_ok());
        assert!(file.write(&sample(20 * M as usize)));
        let sent = file.store.confirm_changeable(0);
        assert!(matches!(sent, Err(Unchangeable::Sent(_))));
        assert!(file.store.confirm_changeable(file.at).is_ok());
        file.commit().unwrap();
    }

    #[test]
    fn a_file_whose_upload_fails_is_lost_until_it_is_emptied() {
        let mut file = Writing::on(&[Plan::Break(12 * M, ErrorKind::NoSpace)]);
        assert!(!file.write(&sample(30 * M as usize)));
        assert_eq!(file.commit().unwrap_err().kind, ErrorKind::NoSpace);
        assert!(matches!(file.store.sent_part(), Some(SentPart::Lost(_))));
        let lost = file.store.confirm_changeable(file.at);
        assert!(matches!(lost, Err(Unchangeable::Lost(_))));
        assert_eq!(file.server.commits(), 0);

        file.spool.set_len(0).unwrap();
        file.store.truncated(0);
        file.at = 0;
        let bytes = sample(20 * M as usize);
        assert!(file.write(&bytes));
        file.commit().unwrap();
        assert!(file.server.file() == bytes);
    }

    #[test]
    fn a_commit_that_fails_is_not_repeated_from_the_beginning() {
        let mut file = Writing::on(&[Plan::Fail(ErrorKind::ConnectionLost)]);
        assert!(file.write(&sample(20 * M as usize)));
        assert_eq!(file.commit().unwrap_err().kind, ErrorKind::ConnectionLost);
        assert_eq!(file.commit().unwrap_err().kind, ErrorKind::ConnectionLost);
        assert_eq!((file.server.begun(), file.server.commits()), (1, 0));
    }

    #[test]
    fn a_writer_goes_on_after_a_commit_of_what_fills_the_room() {
        let mut file = Writing::on(&[]);
        let bytes = sample(30 * M as usize);
        let (first, rest) = bytes.split_at(8 * M as usize);
        assert!(file.write(first));
        file.commit().unwrap();
        assert!(file.write(rest));
        file.commit().unwrap();
        assert!(file.server.file() == bytes);
    }

    #[test]
    fn nothing_is_discarded_that_must_stay() {
        let mut file = Writing::on(&[]);
        file.server.keep_all();
        assert!(!file.write(&sample(20 * M as usize)));
        assert!(!file.spool.is_partial());
        file.commit().unwrap();
        assert_eq!(file.server.file().len() as u64, file.at);
    }

    #[test]
    fn nothing_is_discarded_while_the_whole_file_is_needed() {
        let mut file = Writing::on(&[]);
        assert!(file.write(&sample(8 * M as usize)));
        let kept = file.store.keep_all().unwrap();
        assert!(file.store.request_room(), "it will be made later");
        file.server.wait_for_sent(8 * M);
        assert!(!file.spool.is_partial());
        drop(kept);
        assert!(file.write(&sample(M as usize)));
        assert!(file.store.keep_all().is_none());
        file.commit().unwrap();
    }

    #[test]
    fn nothing_is_discarded_that_the_next_mount_would_store() {
        let mut file = Writing::on(&[]);
        file.server.allow(Some(2 * M));
        assert!(file.write(&sample(8 * M as usize)));
        assert!(file.store.request_room());
        // It is closed with writeback before the upload gets on.
        assert!(!file.store.set_persisted(true));
        file.server.allow(None);
        file.server.wait_for_sent(8 * M);
        assert!(!file.store.request_room());
        thread::sleep(Duration::from_millis(20));
        assert!(!file.spool.is_partial());
        file.commit().unwrap();
        assert!(file.store.sent_part().is_none());
    }

    #[test]
    fn what_is_written_during_the_commit_of_a_part_is_lost_and_not_sent_as_zeros() {
        let mut file = Writing::on(&[]);
        assert!(file.write(&sample(20 * M as usize)));
        let (store, at) = (Arc::new(file.store), file.at);
        let late = Arc::downgrade(&store);
        file.server.hook(move |moment| {
            if moment == Moment::Commit {
                late.upgrade().unwrap().wrote(at, 4);
            }
        });
        let commit = || {
            let options = CommitOptions::default();
            store.commit(&RemotePath::root(), &options, Priority::Foreground)
        };
        commit().unwrap();
        assert!(!store.request_room());
        assert!(matches!(
            store.confirm_changeable(at),
            Err(Unchangeable::Lost(_))
        ));
        assert!(commit().is_err());
        assert_eq!((file.server.begun(), file.server.commits()), (1, 1));
    }

    #[test]
    fn an_upload_that_was_given_up_for_a_change_begins_again_for_room() {
        let mut file = Writing::on(&[]);
        let mut bytes = sample(30 * M as usize);
        let (first, rest) = bytes.split_at_mut(6 * M as usize);
        assert!(file.write(first));
        file.server.wait_for_sent(6 * M);
        file.spool.write_at(0, b"header").unwrap();
        file.store.wrote(0, 6);
        first[..6].copy_from_slice(b"header");
        assert!(file.write(rest));
        file.commit().unwrap();
        assert!(file.server.file() == bytes);
        assert_eq!(file.server.begun(), 2);
    }

    #[test]
    fn half_of_what_is_here_stays_up_to_a_limit() {
        assert_eq!(discard_before(0, 8 * M), Some(4 * M));
        assert_eq!(discard_before(4 * M, 12 * M), Some(8 * M));
        assert_eq!(discard_before(0, 100 * M), Some(84 * M));
    }

    #[test]
    fn little_is_discarded_wholly_and_less_than_a_unit_not_at_all() {
        assert_eq!(discard_before(0, 4 * M), Some(4 * M));
        assert_eq!(
            discard_before(4 * M, 4 * M + DISCARD_UNIT + 5),
            Some(4 * M + DISCARD_UNIT)
        );
        assert_eq!(discard_before(4 * M, 4 * M + DISCARD_UNIT - 1), None);
        assert_eq!(discard_before(4 * M, 4 * M), None);
    }

    #[test]
    fn requests_go_on_until_nothing_is_left() {
        let mut discarded = 0;
        while let Some(end) = discard_before(discarded, 64 * M) {
            discarded = end;
        }
        assert_eq!(discarded, 64 * M);
    }
}
