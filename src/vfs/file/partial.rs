//! Files for which the local disk has no room: while they are written, their upload discards what
//! it has sent. The server has those bytes under a temporary name, and they are read back from
//! there.

use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use super::gate::Pass;
use super::{OpenFile, Position, Spooled};
use crate::cancel::{Blocking, Cancel};
use crate::ftp::{RemotePath, Version};
use crate::guarded;
use crate::remote::{self, ErrorKind, RemoteDownload};
use crate::vfs::errno::Errno;
use crate::vfs::local::error::SpoolError;
use crate::vfs::read::Bytes;
use crate::vfs::write::uploader::{AnnouncedWrite, KeptWhole, RoomFor, SentPart};

/// Number of attempts to read bytes that are still on their way to the server's file.
const ATTEMPTS: u32 = 25;
/// Pause before another attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// Maximum wait for the start of a download of a file that is being uploaded. vsftpd locks such a
/// file until its upload ends (`lock_upload_files`).
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Bytes read from the server's temporary file.
enum SentBytes {
    Read(Vec<u8>),
    /// The file has its final name by now.
    Committed,
}

impl OpenFile {
    /// Announces a change at `position` that waits for room on the local disk. As long as the
    /// result exists, the upload of what is being written sends nothing that it changes.
    pub(in crate::vfs) fn announce(&self, position: Position) -> Option<AnnouncedWrite> {
        let draft = self.whole_draft()?;
        match position {
            Position::At(offset) => Some(draft.store.wait_to_write(offset)),
            Position::End => None,
        }
    }

    /// Whether the upload of what is being written can make room on the local disk.
    pub(in crate::vfs) fn can_make_room(&self, what: RoomFor) -> bool {
        let draft = self.whole_draft();
        draft.is_some_and(|draft| draft.store.can_make_room(what))
    }

    /// Asks that upload to make room. Returns whether there will be some. Does not wait.
    pub(in crate::vfs) fn request_room(&self, what: RoomFor) -> bool {
        let draft = self.whole_draft();
        draft.is_some_and(|draft| draft.store.request_room(what))
    }

    /// Whether the local disk can never have room for a change that extends the file to `end`.
    pub(in crate::vfs) fn grows_too_much(&self, end: u64) -> bool {
        let size = self.visible_size();
        size.is_some_and(|size| !self.services.spools.can_hold(end.saturating_sub(size)))
    }

    /// Returns what is being written, if it is here from the beginning of the file on.
    fn whole_draft(&self) -> Option<Spooled> {
        let draft = self.state().contents.changeable().cloned();
        draft.filter(|draft| draft.tail.is_none())
    }

    /// Keeps everything that programs wrote on the local disk as long as the result exists. Returns
    /// `None` if it has only a part, or nothing.
    pub(in crate::vfs) fn keep_all(&self) -> Option<KeptWhole> {
        self.local()?.store.keep_all()
    }

    /// Whether several handles may still write.
    pub(in crate::vfs) fn has_other_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 1
    }

    /// Whether the local disk has only a part of what programs wrote.
    pub(in crate::vfs) fn is_partial(&self) -> bool {
        self.local().is_some_and(|local| local.spool.is_partial())
    }

    /// Fails if a truncation to `size` would change bytes that were sent, of which the local disk
    /// has only a part.
    pub(in crate::vfs) fn confirm_truncatable(&self, size: u64) -> Result<(), Errno> {
        if size == 0 {
            return Ok(());
        }
        self.confirm_changeable(Position::At(size))
    }

    /// Fails if a write at `position` would change bytes that were sent, of which the local disk
    /// has only a part.
    pub(in crate::vfs) fn confirm_changeable(&self, position: Position) -> Result<(), Errno> {
        match (position, self.local()) {
            (Position::At(offset), Some(local)) => Ok(local.store.confirm_changeable(offset)?),
            (Position::End, _) | (_, None) => Ok(()),
        }
    }

    /// Whether the file must be downloaded before a change at `position`, and is larger than all
    /// local files may be together.
    pub(in crate::vfs) fn is_too_large(&self, position: Position) -> bool {
        let must_come = |local: Spooled| !local.takes(position.into());
        self.local().is_none_or(must_come)
            && self.visible_size().is_some_and(|size| {
                !self.services.spools.can_hold(size) && !self.may_append(size, position.into())
            })
    }

    /// Waits until a running commit of a partial spool has ended. What is written during it could
    /// not be stored.
    pub(super) fn wait_for_commit(&self, cancel: &Cancel) -> Result<(), Errno> {
        drop(self.enter(cancel)?);
        Ok(())
    }

    /// Whether a partial spool is being committed.
    pub(super) fn commits_part(&self) -> bool {
        let local = self.local();
        // One that the server has is about to be replaced by a reader.
        local.is_some_and(|local| {
            local.spool.is_partial() && (local.store.is_committing() || !local.store.is_dirty())
        })
    }

    /// Reads up to `length` bytes of `spooled`; fewer at the end.
    pub(super) fn read_local(
        &self,
        spooled: &Spooled,
        offset: u64,
        length: usize,
        may: Blocking<'_>,
    ) -> Result<Bytes, Errno> {
        if let Some(tail) = &spooled.tail {
            return spooled.read_around(tail, offset, length, may);
        }
        match spooled.spool.read_at(offset, length) {
            Err(SpoolError::Discarded) => self.read_partial(spooled, offset, length, may.cancel()?),
            read => Ok(read?.into()),
        }
    }

    /// Reads bytes of `spooled`, some of which were discarded.
    fn read_partial(
        &self,
        spooled: &Spooled,
        offset: u64,
        length: usize,
        cancel: &Cancel,
    ) -> Result<Bytes, Errno> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let (at, missing) = (offset + bytes.len() as u64, length - bytes.len());
            match spooled.spool.read_at(at, missing) {
                // Fewer only at the end of the file.
                Ok(rest) => {
                    bytes.extend(rest);
                    break;
                }
                Err(SpoolError::Discarded) => {}
                Err(error) => return Err(error.into()),
            }
            let discarded = spooled.spool.discarded().saturating_sub(at);
            let count = (missing as u64).min(discarded) as usize;
            match spooled.store.sent_part() {
                None if spooled.spool.is_partial() => return Err(Errno::IO),
                None => {}
                Some(SentPart::Lost(error)) => return Err(error.kind.into()),
                Some(SentPart::At(path)) => match self.read_sent(&path, at, count, cancel)? {
                    SentBytes::Read(sent) => bytes.extend(sent),
                    SentBytes::Committed => return self.read_committed(offset, length, cancel),
                },
            }
        }
        Ok(bytes.into())
    }

    /// Reads exactly `count` bytes at `offset` of the server's temporary file.
    fn read_sent(
        &self,
        path: &RemotePath,
        offset: u64,
        count: usize,
        cancel: &Cancel,
    ) -> Result<SentBytes, Errno> {
        if self.services.locks_uploads.load(Ordering::Relaxed) {
            return Err(Errno::NOSPC);
        }
        let mut bytes = Vec::new();
        for _ in 0..ATTEMPTS {
            let at = offset + bytes.len() as u64;
            let mut download = match self.open_sent(path, at)? {
                Some(Err(error)) if error.kind == ErrorKind::NotFound => {
                    return Ok(SentBytes::Committed);
                }
                Some(opened) => opened?,
                None => {
                    log::warn!(
                        path;
                        "{path} cannot be read: the server locks a file that is uploaded"
                    );
                    self.services.locks_uploads.store(true, Ordering::Relaxed);
                    return Err(Errno::NOSPC);
                }
            };
            if download.start() != at {
                log::warn!(path; "{path} cannot be read from byte {at}: the server has no REST");
                return Err(Errno::NOSPC);
            }
            let mut piece = vec![0; count - bytes.len()];
            let mut filled = 0;
            while let Some(rest) = piece.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match download.read(rest)? {
                    0 => break,
                    read => filled += read,
                }
            }
            bytes.extend_from_slice(piece.get(..filled).unwrap_or_default());
            if bytes.len() == count {
                return Ok(SentBytes::Read(bytes));
            }
            drop(download);
            thread::sleep(PAUSE);
            if cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
        }
        log::warn!(path; "{path} has no bytes at {offset} yet, although they were sent");
        Err(Errno::IO)
    }

    /// Starts a download of the file at `path`, or returns `None` if it does not start soon. Its
    /// thread then waits for it, up to the timeout.
    fn open_sent(
        &self,
        path: &RemotePath,
        offset: u64,
    ) -> Result<Option<Result<RemoteDownload, remote::Error>>, Errno> {
        let (opened, waiting) = mpsc::channel();
        let (remote, path) = (self.services.remote.clone(), path.clone());
        let open = move || {
            // Fails if the wait is over.
            let _ = opened.send(remote.uncancelled().open_at(&path, offset));
        };
        guarded::spawn("read-back", open).map_err(|_| Errno::IO)?;
        Ok(waiting.recv_timeout(OPEN_WITHIN).ok())
    }

    fn read_committed(&self, offset: u64, length: usize, cancel: &Cancel) -> Result<Bytes, Errno> {
        self.wait_for_commit(cancel)?;
        let reader = self.state().contents.reader().cloned();
        match reader {
            Some(reader) => Ok(reader.read(offset, length, cancel)?),
            None => Err(Errno::IO),
        }
    }

    /// Aborts an early upload before its directory is renamed, and fetches a copy that the server
    /// has made.
    ///
    /// # Errors
    /// `BUSY` if it has discarded what it has sent, and cannot begin again.
    pub(in crate::vfs) fn end_early_upload(&self, _pass: &Pass<'_>) -> Result<(), Errno> {
        if let Some(spooled) = self.local() {
            let Some(_kept) = spooled.store.keep_all() else {
                return Err(Errno::BUSY);
            };
            spooled.store.end_early_upload();
        }
        if self.is_copied() {
            // Its temporary name is in that directory.
            self.fetch(&Cancel::never())?;
        }
        Ok(())
    }

    /// Makes programs read the server's file, of this version, after a partial spool was stored as
    /// it.
    pub(super) fn leave_partial(&self, spooled: &Spooled, version: Version) {
        if !spooled.spool.is_partial() {
            return;
        }
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let reader = Arc::new(self.services.reader(self.ino, version));
        let mut state = self.state();
        state.contents.leave(spooled, reader);
        // Its last bytes are not known any more.
        state.reached = None;
        // Another program may ask for the size before the listings are updated.
        state.is_unlisted = state.contents.reader().is_some();
    }
}
