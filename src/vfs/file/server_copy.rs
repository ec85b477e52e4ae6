//! A new file whose contents the server copies from another of its files, so that they are not
//! transferred.
//!
//! 1. [`OpenFile::copy_on_server`]: the server copies a whole file to a temporary name. Programs
//!    see the file with its size.
//! 2. [`OpenFile::store_copy`], at close: the copy is renamed to the file's name.
//!
//! A program that reads the file before, or changes it, needs its bytes here:
//! [`OpenFile::fetch_copy`] downloads the copy, and the file is an ordinary draft from then on.
//! That also happens if the server cannot give the copy its name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use super::fill;
use super::{Naming, OpenFile, Spooled, State, UploadFailure};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::{RemotePath, Version};
use crate::guarded::OnDrop;
use crate::remote::{self, Attempts, CommitOptions, ErrorKind, RemoteCopy};
use crate::vfs::attr::to_seconds;
use crate::vfs::errno::Errno;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::state::LateAttributes;

/// A copy that the server has made under a temporary name. Clones are the same copy. It is deleted
/// when the last one is dropped.
#[derive(Debug, Clone)]
pub(super) struct ServerCopy(Arc<CopyState>);

#[derive(Debug)]
struct CopyState {
    /// `None` while it is being renamed, and afterwards.
    copy: Mutex<Option<RemoteCopy>>,
    /// Its temporary path.
    path: RemotePath,
    source: CopySource,
    /// Number of bytes that programs see: the kernel requests a large file in parts.
    shown: AtomicU64,
}

/// The file from which the server copies.
#[derive(Debug, Clone, Copy)]
pub(in crate::vfs) struct CopySource {
    pub(in crate::vfs) ino: Ino,
    /// The version that its handle has opened. Its size is known.
    pub(in crate::vfs) version: Version,
}

impl CopySource {
    /// Returns the size in bytes.
    pub(in crate::vfs) fn size(&self) -> u64 {
        self.version.size.unwrap_or(0)
    }
}

impl ServerCopy {
    /// Returns the number of bytes that programs see.
    pub(super) fn shown(&self) -> u64 {
        self.0.shown.load(Ordering::Relaxed)
    }

    /// Deletes the copy on the server.
    pub(super) fn discard(&self) {
        drop(self.take());
    }

    fn is_whole(&self) -> bool {
        self.shown() == self.0.source.size()
    }

    fn take(&self) -> Option<RemoteCopy> {
        let mut copy = self.0.copy.lock().unwrap_or_else(PoisonError::into_inner);
        copy.take()
    }

    fn put_back(&self, copy: RemoteCopy) {
        *self.0.copy.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
    }
}

impl OpenFile {
    /// Whether the contents are a copy that the server has under a temporary name.
    pub(in crate::vfs) fn is_copied(&self) -> bool {
        self.copied().is_some()
    }

    /// Returns the version of the file if the server has exactly what programs see, under the
    /// file's name and with a known size.
    pub(in crate::vfs) fn copy_source(&self) -> Option<CopySource> {
        let state = self.state();
        let is_stored = state.naming.is_linked()
            && !state.is_dirty()
            && !state.is_replaced
            && !state.has_changed()
            && state.contents.sealed().is_none()
            && !state.contents.has_upload()
            && state.failure == UploadFailure::None;
        let version = state.base.filter(|_| is_stored)?;
        version.size?;
        Some(CopySource {
            ino: self.ino,
            version,
        })
    }

    /// Whether the file is new or was truncated, so that it can become a copy.
    pub(in crate::vfs) fn may_be_copied_to(&self) -> bool {
        may_be_copied_to(&self.state())
    }

    /// Makes the server copy `source`, at `from`, to this empty file, of which programs see the
    /// first `length` bytes from then on. Returns that length.
    ///
    /// # Errors
    /// `OPNOTSUPP` if the server cannot copy it, or the file is no longer empty. Nothing has
    /// changed then.
    pub(in crate::vfs) fn copy_on_server(
        &self,
        source: CopySource,
        from: &RemotePath,
        length: u64,
        cancel: &Cancel,
    ) -> Result<u64, Errno> {
        let _pass = self.enter(cancel)?;
        if !self.may_be_copied_to() {
            return Err(Errno::OPNOTSUPP);
        }
        let to = self.services.inodes.path(self.ino)?;
        self.copying.store(true, Ordering::Relaxed);
        let copied = {
            let _done = OnDrop::new(|| self.copying.store(false, Ordering::Relaxed));
            let remote = self.services.remote.with(cancel);
            remote.copy(from, &to, &source.version)
        };
        let copy = copied.map_err(|error| refused(&error))?;
        if cancel.is_cancelled() {
            // The program believes that nothing was copied.
            return Err(Errno::INTR);
        }
        let length = length.min(source.size());
        let copy = ServerCopy(Arc::new(CopyState {
            path: copy.path().clone(),
            copy: Mutex::new(Some(copy)),
            source,
            shown: AtomicU64::new(length),
        }));
        if self.become_copy(copy.clone()) {
            self.touch();
            Ok(length)
        } else {
            copy.discard();
            Err(Errno::OPNOTSUPP)
        }
    }

    /// Makes the file empty again after its copy, because the program does not learn of that.
    pub(in crate::vfs) fn undo_copy(&self) {
        if self.is_copied()
            && let Err(errno) = self.truncate(0, &Cancel::never())
        {
            log::debug!("cannot undo a copy: {errno:?}");
        }
    }

    /// Shows `length` bytes from `offset` on, if the file is a copy of `source` of which programs
    /// have requested everything before. Returns how many of them there are.
    pub(in crate::vfs) fn continue_copy(
        &self,
        source: Ino,
        version: &Version,
        offset: u64,
        length: u64,
    ) -> Option<u64> {
        let state = self.state();
        let copy = state.contents.copied()?;
        let (shown, size) = (copy.shown(), copy.0.source.size());
        let is_next = copy.0.source.ino == source
            && copy.0.source.version.agrees(version)
            && offset == shown
            && shown < size;
        if !is_next {
            return None;
        }
        let count = length.min(size - shown);
        copy.0.shown.store(shown + count, Ordering::Relaxed);
        Some(count)
    }

    /// Returns the copy on the server, if programs see that.
    pub(super) fn copied(&self) -> Option<ServerCopy> {
        self.state().contents.copied().cloned()
    }

    /// Replaces the empty draft with `copy`. Returns false if the file is no longer empty.
    fn become_copy(&self, copy: ServerCopy) -> bool {
        let _alone = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let draft = {
            let mut state = self.state();
            if !may_be_copied_to(&state) {
                return false;
            }
            state.contents.copied_instead(copy)
        };
        draft.is_some()
    }

    /// Downloads `copy` into a spool, which programs see from then on. The caller holds the gate.
    pub(super) fn fetch_copy(&self, copy: &ServerCopy, cancel: &Cancel) -> Result<(), Errno> {
        let path = &copy.0.path;
        let spool = Arc::new(self.services.spools.create_from(path, 0)?);
        let store = Arc::new(self.services.store(self.ino, &spool));
        let spooled = Spooled {
            spool,
            store,
            tail: None,
        };
        let size = copy.0.source.size();
        spooled.spool.expect(size)?;
        self.state().filling = Some(Arc::clone(&spooled.spool));
        let _filled = OnDrop::new(|| self.state().filling = None);
        let version = Version {
            size: Some(size),
            ..Version::default()
        };
        let source = self.services.source_at(path.clone());
        fill::fill(&spooled.spool, &source, version, cancel)?;
        let shown = copy.shown();
        if shown < spooled.spool.len() {
            spooled.spool.set_len(shown)?;
        }
        spooled.store.filled(shown);
        spooled.store.mark_dirty();
        self.state().contents.begin_draft(spooled);
        copy.discard();
        Ok(())
    }

    /// Gives the copy the file's name. Returns the attributes of the stored file, or `None` if the
    /// contents were downloaded instead and must be uploaded. The caller holds the gate.
    ///
    /// # Errors
    /// The copy still exists, and the old file is intact.
    pub(super) fn store_copy(
        &self,
        copy: &ServerCopy,
        cancel: &Cancel,
    ) -> Result<Option<Attributes>, remote::Error> {
        let target = self.services.inodes.path(self.ino);
        let Ok(target) = target else {
            return Err(self.remote_error(ErrorKind::NotFound, "the directory no longer exists"));
        };
        if !copy.is_whole() || self.services.names.is_on() && self.is_compared_first() {
            return self.download_instead(copy, cancel);
        }
        let Some(mut remote_copy) = copy.take() else {
            return Err(self.remote_error(ErrorKind::Other, "the copy no longer exists"));
        };
        let late = self.late_attributes();
        let now = remote_copy
            .keeps_time()
            .then(|| to_seconds(SystemTime::now()));
        let commit = CommitOptions {
            size: copy.0.source.size(),
            modified: late.modified.or(now),
            mode: late.mode,
        };
        self.forget_cached(&target);
        let mut attempts = Attempts::from(self.services.remote.retry_mode(), 0);
        let stored = loop {
            match remote_copy.commit(&target, &commit) {
                Ok(stored) => break stored,
                Err(error) if attempts.again(error.kind.transience()) => {
                    log::debug!("{error}; renaming the copy again");
                    thread::sleep(attempts.pause());
                }
                Err(error) => {
                    copy.put_back(remote_copy);
                    if error.kind == ErrorKind::OtherWay {
                        return self.download_instead(copy, cancel);
                    }
                    return Err(error);
                }
            }
        };
        drop(remote_copy);
        let pending = crate::journal::Pending {
            target,
            commit,
            base: None,
            appended_from: None,
            unproven: Vec::new(),
        };
        Ok(Some(self.on_copy_stored(&pending, stored, late)))
    }

    /// Records that the server has the copy under the file's name. `sent` are the attributes that
    /// were set with the rename. Returns the new attributes.
    fn on_copy_stored(
        &self,
        pending: &crate::journal::Pending,
        stored: remote::StoredFacts,
        sent: LateAttributes,
    ) -> Attributes {
        let mut attributes = self.state().attributes.clone();
        attributes.size = Some(pending.commit.size);
        super::commit::merge_stored(&mut attributes, pending, stored);
        // Those that were set meanwhile.
        let now = self.late_attributes();
        let late = LateAttributes {
            modified: now.modified.filter(|_| now.modified != sent.modified),
            mode: now.mode.filter(|_| now.mode != sent.mode),
        };
        self.set_late(&pending.target, late, stored, &mut attributes);
        let version = super::commit::version_after(&attributes, stored);
        let reader = Arc::new(self.services.reader(self.ino, version));
        let mut state = self.state();
        state.failure = UploadFailure::None;
        state.attributes = attributes.clone();
        state.base = Some(version);
        state.checked = self.services.clock.now();
        state.reached = None;
        state.contents.set_late_modified(None);
        state.contents.leave_copied(reader);
        attributes
    }

    /// Returns the attributes that programs have set.
    fn late_attributes(&self) -> LateAttributes {
        let state = self.state();
        LateAttributes {
            modified: state.contents.late().modified,
            mode: state.attributes.mode,
        }
    }

    fn download_instead(
        &self,
        copy: &ServerCopy,
        cancel: &Cancel,
    ) -> Result<Option<Attributes>, remote::Error> {
        self.fetch_copy(copy, cancel)
            .map(|()| None)
            .map_err(|errno| {
                let reason = format!("cannot fetch the copy: {errno:?}");
                self.remote_error(ErrorKind::Local, &reason)
            })
    }

    fn remote_error(&self, kind: ErrorKind, reason: &str) -> remote::Error {
        let path = self.services.inodes.path(self.ino);
        remote::Error {
            kind,
            operation: "store",
            path: path.unwrap_or_else(|_| RemotePath::root()),
            reason: reason.to_owned(),
            reply: None,
        }
    }
}

fn may_be_copied_to(state: &State) -> bool {
    let is_empty = |draft: &Spooled| draft.spool.len() == 0 && !draft.spool.is_partial();
    matches!(state.naming, Naming::Linked)
        && state.contents.is_only_draft()
        && state.contents.changeable().is_some_and(is_empty)
}

/// Returns the errno of a copy that failed. The kernel copies by reading and writing instead,
/// except if that would fail as well.
fn refused(error: &remote::Error) -> Errno {
    match error.kind {
        ErrorKind::NoSpace | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            error.clone().into()
        }
        ErrorKind::Interrupted => Errno::INTR,
        _ => {
            log::debug!("{error}; copying it through this machine");
            Errno::OPNOTSUPP
        }
    }
}
