//! The contents of an open file, shared by all handles of its inode: read from the server until the
//! first write, and in a spool file from then on.
//!
//! Operations on the whole file (fetching it into a spool, storing it, removing or renaming it) go
//! through the gate, one at a time. The lock of the state is held only briefly and never across
//! I/O.
//!
//! `commit` stores the contents on the server, `sealed` holds contents that wait for that after a
//! close, `naming` handles files that lose their name, and `follow` files that grow while they are
//! read.

mod attributes;
mod commit;
pub(super) mod fill;
mod follow;
pub(super) mod gate;
mod left;
mod naming;
mod partial;
pub(super) mod remote_file;
mod sealed;
pub(super) mod server_copy;
mod status;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Attributes;
use crate::cancel::{Blocking, Cancel};
use crate::ftp::Version;
use crate::guarded::OnDrop;

use super::attr::to_seconds;
use super::errno::Errno;
use super::local::spool::Spool;
use super::read::{Bytes, Reader};
use super::table::ino::Ino;
use super::write::state::{LocalCopy, Visible, WriteState};
use super::write::uploader::Uploader;
pub(super) use follow::Following;
use follow::ReachedEnd;
use gate::{Gate, Pass, Patience};
use left::ClosedBy;
pub(super) use left::LeftContents;
use naming::Naming;
use remote_file::FileServices;
use server_copy::ServerCopy;

/// What an open file contains, and its upload.
type FileContents = WriteState<Arc<Reader>, Spooled, ServerCopy>;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    ino: Ino,
    services: Arc<FileServices>,
    /// Number of open handles.
    handles: AtomicU32,
    /// Number of handles that may write.
    writers: AtomicU32,
    gate: Gate,
    /// Makes finding the end and writing there atomic; held only for local I/O.
    append: Mutex<()>,
    /// Shared by threads that change the spool, exclusive for replacing the spool; held only for
    /// local I/O.
    changing: RwLock<()>,
    /// Whether the server is copying another file to this one.
    copying: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contents: FileContents,
    /// The spool being filled from the server.
    filling: Option<Arc<Spool>>,
    /// The attributes that the server reported or this mount set last.
    attributes: Attributes,
    /// The version that the server has under this name, or `None` if it has no file.
    base: Option<Version>,
    naming: Naming,
    failure: UploadFailure,
    origin: ClosedBy,
    /// How far the file was read, if a program has reached its end.
    reached: Option<ReachedEnd>,
    /// When the server last confirmed the version.
    checked: Instant,
    /// Whether the server has another file under the name.
    is_replaced: bool,
}

/// Whether the contents could not be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum UploadFailure {
    None,
    /// Closed contents could not be stored, and no program knows.
    Unreported(Errno),
    /// A program got the error, so that release does not try again.
    Reported,
}

/// A spool and its uploader.
#[derive(Debug, Clone)]
struct Spooled {
    spool: Arc<Spool>,
    store: Arc<Uploader>,
}

/// How much of the previous contents a change needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    All,
    Nothing,
}

/// The position of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    At(u64),
    /// O_APPEND: the end of the file at the time of the write.
    End,
}

impl OpenFile {
    /// Creates the open file for a file on the server with these attributes.
    pub(super) fn existing(services: &Arc<FileServices>, ino: Ino, attributes: Attributes) -> Self {
        let reader = Arc::new(services.reader(ino, Version::from(&attributes)));
        let base = Version::from(&attributes);
        let contents = WriteState::clean(reader);
        Self::new(services, ino, contents, attributes, Some(base))
    }

    /// Creates the open file for a new file: empty, and not on the server until it is stored.
    pub(super) fn created(
        services: &Arc<FileServices>,
        ino: Ino,
        attributes: Attributes,
    ) -> Result<Self, Errno> {
        let spooled = empty_spool(services, ino)?;
        Ok(Self::new(
            services,
            ino,
            WriteState::draft(spooled),
            attributes,
            None,
        ))
    }

    fn new(
        services: &Arc<FileServices>,
        ino: Ino,
        contents: FileContents,
        attributes: Attributes,
        base: Option<Version>,
    ) -> Self {
        let state = State {
            base,
            contents,
            filling: None,
            attributes,
            naming: Naming::Linked,
            failure: UploadFailure::None,
            origin: ClosedBy::ThisMount,
            reached: None,
            checked: Instant::now(),
            is_replaced: false,
        };
        Self {
            ino,
            services: Arc::clone(services),
            handles: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            gate: Gate::default(),
            append: Mutex::new(()),
            changing: RwLock::new(()),
            copying: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    /// Returns the inode of the file.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// Counts a new handle.
    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a handle. Returns whether it was the last.
    pub(super) fn remove_handle(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Counts a new handle that may write.
    pub(super) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes a handle that may write. Returns whether it was the last.
    pub(super) fn remove_writer(&self) -> bool {
        self.writers.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether a handle may still write.
    pub(super) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 0
    }

    /// Whether a file found on the server with `attributes` can share these contents. A file that a
    /// program may still write to always does, because all programs must see what is written.
    pub(super) fn serves(&self, attributes: &Attributes) -> bool {
        let mut state = self.state();
        if state.holds_contents() || state.naming.is_unlinked() {
            return true;
        }
        let version = Version::from(attributes);
        if !state.has_changed() && Version::from(&state.attributes).agrees(&version) {
            return true;
        }
        if !self.has_writers() {
            return false;
        }
        let reader = Arc::new(self.services.reader(self.ino, version));
        state.contents.read_by(reader);
        state.reached = None;
        state.base = Some(version);
        state.attributes = attributes.clone();
        true
    }

    /// Returns the version that the server has under this file's name, or `None` if it has no file.
    pub(super) fn base(&self) -> Option<Version> {
        self.state().base
    }

    /// Whether the server has a file with this name.
    pub(super) fn is_on_server(&self) -> bool {
        self.base().is_some()
    }

    /// Whether the server does not have a file with this name yet.
    pub(super) fn is_unstored(&self) -> bool {
        let state = self.state();
        state.base.is_none() && !state.naming.is_unlinked()
    }

    /// Records the version that the server has under the file's new name.
    pub(super) fn set_base(&self, base: Option<Version>) {
        self.state().base = base;
    }

    /// Whether changes are waiting to be stored.
    pub(super) fn is_dirty(&self) -> bool {
        self.state().is_dirty()
    }

    /// Whether changes were not stored and no program knows of a failure. Checked at the last
    /// release.
    pub(super) fn needs_store(&self) -> bool {
        self.is_dirty() && self.state().failure != UploadFailure::Reported
    }

    /// Returns up to `length` bytes from `offset`; fewer only at the end of the file, or when they
    /// are no longer wanted.
    pub(super) fn read(
        &self,
        offset: u64,
        length: usize,
        may: Blocking<'_>,
    ) -> Result<Bytes, Errno> {
        match self.visible() {
            Visible::Remote(reader) => {
                let bytes = match reader.available(offset, length) {
                    Some(bytes) => bytes,
                    None => reader.read(offset, length, may.cancel()?)?,
                };
                self.note_end(&reader, offset, &bytes);
                Ok(bytes)
            }
            Visible::Local(spooled) => {
                let bytes = self.read_local(&spooled, offset, length, may)?;
                self.note_local_end(&spooled, offset, &bytes);
                Ok(bytes)
            }
            Visible::Copied(_) => {
                self.make_changeable(Needed::All, may.cancel()?)?;
                self.read(offset, length, may)
            }
        }
    }

    /// Whether writes do not need the server.
    pub(super) fn is_spooled(&self) -> bool {
        self.state().is_spooled()
    }

    /// Writes `data` into the spool. Fetches the file into a spool first if there is none yet.
    pub(super) fn write(
        &self,
        position: Position,
        data: &[u8],
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        if self.commits_part() {
            self.wait_for_commit(may.cancel()?)?;
        }
        let put = |spooled: &Spooled| self.put(spooled, position, data);
        if let Ok(_together) = self.changing.try_read()
            && let Some(written) = self.change_now(put)
        {
            return written;
        }
        self.change(Needed::All, may.cancel()?, put)
    }

    /// Fetches the contents into a spool, as a write would.
    pub(super) fn make_local(&self, cancel: &Cancel) -> Result<(), Errno> {
        if self.is_spooled() {
            return Ok(());
        }
        let _pass = self.enter(cancel)?;
        self.fetch(cancel)
    }

    /// Truncates the file, or extends it with zeros.
    pub(super) fn truncate(&self, size: u64, cancel: &Cancel) -> Result<(), Errno> {
        let needed = if size == 0 {
            Needed::Nothing
        } else {
            Needed::All
        };
        if self.commits_part() {
            self.wait_for_commit(cancel)?;
        }
        self.change(needed, cancel, |spooled| {
            if size > 0 {
                spooled.store.confirm_changeable(size)?;
            }
            spooled.spool.set_len(size)?;
            spooled.store.truncated(size);
            Ok(())
        })
    }

    /// Waits until no other thread changes the whole file.
    ///
    /// # Errors
    /// `INTR` if the wait is cancelled, `TIMEDOUT` if the other thread is stuck.
    pub(super) fn enter(&self, cancel: &Cancel) -> Result<Pass<'_>, Errno> {
        self.gate.enter(&Patience {
            // Longer than the network deadlines that end the holder's waits.
            stuck: self.services.read.timeout * 4,
            progress: &|| self.progress(),
            cancel,
        })
    }

    /// Returns a number that changes while the file is fetched or stored.
    fn progress(&self) -> u64 {
        let (local, sealed, filling) = {
            let state = self.state();
            let sealed = state.contents.sealed().map(|it| it.copy.clone());
            let local = state.contents.local().cloned();
            (local, sealed, state.filling.clone())
        };
        let progress = |copy: Option<Spooled>| copy.map_or(0, |copy| copy.store.progress());
        let filled = filling.map_or(0, |spool| spool.len());
        // The server does not say how far it is. The deadline of its reply ends the wait.
        let copied = if self.copying.load(Ordering::Relaxed) {
            to_seconds(SystemTime::now()).unsigned_abs()
        } else {
            0
        };
        progress(local)
            .wrapping_add(progress(sealed))
            .wrapping_add(filled)
            .wrapping_add(copied)
    }

    /// Returns the connections of transfers that were idle for `transfers`, and discards bytes that
    /// were not read for `bytes`.
    pub(super) fn release_idle(&self, transfers: Duration, bytes: Duration) {
        match self.visible() {
            Visible::Remote(reader) => {
                reader.release_idle(transfers);
                reader.forget_idle(bytes);
            }
            Visible::Local(spooled) => spooled.store.release_idle(transfers),
            Visible::Copied(_) => {}
        }
    }

    /// Applies `change` to a spool that may be changed. A file that was only read so far is fetched
    /// first, or starts empty if none of its contents are `needed`. A spool that is waiting to be
    /// stored is replaced first.
    fn change(
        &self,
        needed: Needed,
        cancel: &Cancel,
        change: impl Fn(&Spooled) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        loop {
            self.make_changeable(needed, cancel)?;
            let _together = self.changing.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(changed) = self.change_now(&change) {
                return changed;
            }
        }
    }

    /// Applies `change` if there is a spool that may be changed. The caller holds `changing`.
    fn change_now(
        &self,
        change: impl Fn(&Spooled) -> Result<(), Errno>,
    ) -> Option<Result<(), Errno>> {
        let changeable = self.state().contents.changeable().cloned();
        let changed = change(&changeable?);
        if changed.is_ok() {
            self.touch();
        }
        Some(changed)
    }

    fn put(&self, spooled: &Spooled, position: Position, data: &[u8]) -> Result<(), Errno> {
        match position {
            Position::At(offset) => spooled.write(offset, data),
            Position::End => {
                let _one_at_a_time = self.append.lock().unwrap_or_else(PoisonError::into_inner);
                spooled.write(spooled.spool.len(), data)
            }
        }
    }

    fn make_changeable(&self, needed: Needed, cancel: &Cancel) -> Result<(), Errno> {
        let (is_closed, is_spooled) = {
            let state = self.state();
            (state.contents.is_sealed(), state.is_spooled())
        };
        match (is_closed, is_spooled, needed) {
            (true, _, _) => self.begin_draft(needed),
            (false, true, Needed::All) => Ok(()),
            (false, _, Needed::All) => {
                let _pass = self.enter(cancel)?;
                self.fetch(cancel)
            }
            (false, _, Needed::Nothing) => self.empty(cancel),
        }
    }

    /// Fetches the contents into a spool. The caller holds the gate.
    fn fetch(&self, cancel: &Cancel) -> Result<(), Errno> {
        if self.is_spooled() {
            return Ok(());
        }
        if let Some(copy) = self.copied() {
            return self.fetch_copy(&copy, cancel);
        }
        let version = Version::from(&self.state().attributes);
        let spooled = empty_spool_clean(&self.services, self.ino)?;
        if let Some(size) = version.size {
            // Not after most of it was downloaded.
            spooled.spool.expect(size)?;
        }
        self.state().filling = Some(Arc::clone(&spooled.spool));
        let _filled = OnDrop::new(|| self.state().filling = None);
        let length = match self.fill_offline(&spooled.spool, &version)? {
            Some(length) => length,
            None => fill::fill(
                &spooled.spool,
                &self.services.source(self.ino),
                version,
                cancel,
            )?,
        };
        spooled.store.filled(length);
        self.state().contents.begin_draft(spooled);
        Ok(())
    }

    /// Fills `spool` from the persistent cache while the server cannot be reached.
    fn fill_offline(&self, spool: &Spool, version: &Version) -> Result<Option<u64>, Errno> {
        let services = &self.services;
        if services.remote.offline().is_none() {
            return Ok(None);
        }
        let path = services.inodes.path(self.ino)?;
        let cached = services
            .disk
            .as_ref()
            .and_then(|disk| disk.find(&path, version));
        match cached {
            Some(cached) => Ok(fill::fill_from_cache(spool, &cached)?),
            None => Ok(None),
        }
    }

    /// Replaces the contents with an empty spool; nothing needs to be fetched.
    fn empty(&self, cancel: &Cancel) -> Result<(), Errno> {
        // An upload of the file must end first.
        let _pass = self.enter(cancel)?;
        if !self.is_spooled() {
            let copy = self.copied();
            let spooled = empty_spool(&self.services, self.ino)?;
            self.state().contents.begin_draft(spooled);
            if let Some(copy) = copy {
                copy.discard();
            }
        }
        Ok(())
    }

    /// Returns the contents that programs see.
    fn visible(&self) -> Visible<Arc<Reader>, Spooled, ServerCopy> {
        match self.state().contents.visible() {
            Visible::Remote(reader) => Visible::Remote(Arc::clone(reader)),
            Visible::Local(spooled) => Visible::Local(spooled.clone()),
            Visible::Copied(copy) => Visible::Copied(copy.clone()),
        }
    }

    /// Returns the spool that programs see, if there is one.
    fn local(&self) -> Option<Spooled> {
        self.state().contents.local().cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed only by plain assignments, which cannot panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_spooled(&self) -> bool {
        self.contents.local().is_some()
    }

    /// Whether these contents are newer than the server's file of this name.
    fn holds_contents(&self) -> bool {
        self.is_spooled() || self.contents.copied().is_some()
    }

    fn is_dirty(&self) -> bool {
        !self.naming.is_unlinked() && self.contents.is_dirty()
    }

    /// Whether new attributes are recorded, to be sent with bytes that are waiting.
    fn takes_attributes(&self) -> bool {
        self.naming.is_unlinked() || self.contents.has_upload() || self.is_dirty()
    }

    /// Whether the contents may be a mixture of two versions.
    fn has_changed(&self) -> bool {
        let reader = self.contents.reader();
        reader.is_some_and(|reader| reader.has_changed())
    }
}

impl LocalCopy for Spooled {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.spool, &other.spool)
    }

    fn generation(&self) -> u64 {
        self.store.generation()
    }

    fn is_dirty(&self) -> bool {
        self.store.is_dirty()
    }
}

impl Spooled {
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.store.confirm_changeable(offset)?;
        self.spool.write_at(offset, data)?;
        self.store.wrote(offset, data.len() as u64);
        Ok(())
    }
}

fn empty_spool_clean(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    let spool = Arc::new(services.spools.create(&services.inodes.path(ino)?)?);
    let store = Arc::new(services.store(ino, &spool));
    Ok(Spooled { spool, store })
}

/// Creates the spool of a new file, which is stored even if nothing is ever written.
fn empty_spool(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    let spooled = empty_spool_clean(services, ino)?;
    spooled.store.mark_dirty();
    Ok(spooled)
}
