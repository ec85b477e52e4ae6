//! The contents of an open file, shared by all handles of its inode: read from the server until the
//! first write, and in a spool file from then on.
//!
//! Operations on the whole file (fetching it into a spool, storing it, removing or renaming it) go
//! through the gate, one at a time. The lock of the state is held only briefly and never across
//! I/O.
//!
//! `change` writes into the spool, `append` has files of which only the end is in a spool. `commit`
//! stores the contents on the server, `sealed` holds contents that wait for that after a
//! close, `naming` handles files that lose their name, and `follow` files that grow while they are
//! read.

mod append;
mod attributes;
mod change;
mod commit;
pub(super) mod fill;
mod follow;
pub(super) mod gate;
mod kept;
mod left;
mod naming;
mod partial;
pub(super) mod recent;
pub(super) mod remote_file;
mod sealed;
pub(super) mod server_copy;
mod status;
mod tail;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use crate::cache::Attributes;
use crate::cancel::{Blocking, Cancel};
use crate::ftp::Version;
use crate::journal::UnprovenUpload;

use super::attr::to_seconds;
use super::errno::Errno;
use super::local::spool::Spool;
use super::read::{Bytes, Reader};
use super::table::claimed::NumberClaim;
use super::table::ino::Ino;
use super::write::state::{LocalCopy, Visible, WriteState};
use super::write::uploader::Uploader;
pub(super) use change::Position;
pub(super) use follow::Following;
use follow::ReachedEnd;
use gate::{Gate, Pass, Patience};
use left::ClosedBy;
pub(super) use left::LeftContents;
use naming::Naming;
use remote_file::FileServices;
use server_copy::ServerCopy;
use tail::AppendedTail;

/// What an open file contains, and its upload.
type FileContents = WriteState<Arc<Reader>, Spooled, ServerCopy>;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    ino: Ino,
    /// Its number remains in use as long as this file.
    _claim: NumberClaim,
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
    changing: Arc<RwLock<()>>,
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
    /// Contents that the server may have instead of `base`, because it did not answer.
    unproven: Vec<UnprovenUpload>,
    /// How far the file was read, if a program has reached its end.
    reached: Option<ReachedEnd>,
    /// When the server last confirmed the version.
    checked: Instant,
    /// Whether the server has another file under the name.
    is_replaced: bool,
    /// Whether the server's file is read, and the listings do not show yet that it has grown.
    is_unlisted: bool,
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
    /// What the server has of the contents, if only the rest is stored.
    tail: Option<Arc<AppendedTail>>,
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
        let file = Self::new(services, ino, WriteState::draft(spooled), attributes, None);
        file.note_offline();
        Ok(file)
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
            unproven: Vec::new(),
            reached: None,
            checked: services.clock.now(),
            is_replaced: false,
            is_unlisted: false,
        };
        Self {
            ino,
            _claim: services.inodes.claim(ino),
            services: Arc::clone(services),
            handles: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            gate: Gate::default(),
            append: Mutex::new(()),
            changing: Arc::default(),
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

    /// Whether any handle is open.
    pub(super) fn has_handles(&self) -> bool {
        self.handles.load(Ordering::Relaxed) > 0
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
        if !state.has_changed() && Version::from(&state.attributes).agrees(&version)
            || state.recognizes(&version)
        {
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

    /// Whether the contents are those of the server's file of this name.
    pub(super) fn is_clean_remote(&self) -> bool {
        let state = self.state();
        let is_named = !state.naming.is_unlinked() && !state.is_replaced;
        is_named && state.contents.reader().is_some() && !state.has_changed()
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
        loop {
            let visible = self.visible();
            let read = self.read_visible(&visible, offset, length, may);
            // What was appended in the meantime has made another version of the same contents.
            if read.as_ref().err() != Some(&Errno::STALE) || self.shows(&visible) {
                return read;
            }
        }
    }

    fn read_visible(
        &self,
        visible: &Visible<Arc<Reader>, Spooled, ServerCopy>,
        offset: u64,
        length: usize,
        may: Blocking<'_>,
    ) -> Result<Bytes, Errno> {
        match visible {
            Visible::Remote(reader) => {
                let bytes = match reader.available(offset, length) {
                    Some(bytes) => bytes,
                    None => reader.read(offset, length, may.cancel()?)?,
                };
                self.note_end(reader, offset, &bytes);
                Ok(bytes)
            }
            Visible::Local(spooled) => {
                let bytes = self.read_local(spooled, offset, length, may)?;
                self.note_local_end(spooled, offset, &bytes);
                Ok(bytes)
            }
            Visible::Copied(_) => {
                self.make_changeable(change::Needed::All, may.cancel()?)?;
                self.read(offset, length, may)
            }
        }
    }

    /// Whether programs see these contents, from the same place.
    fn shows(&self, seen: &Visible<Arc<Reader>, Spooled, ServerCopy>) -> bool {
        match (seen, self.visible()) {
            (Visible::Remote(seen), Visible::Remote(now)) => Arc::ptr_eq(seen, &now),
            (Visible::Local(seen), Visible::Local(now)) => seen.is_same(&now),
            _ => false,
        }
    }

    /// Fetches the contents into a spool, as a change would.
    pub(super) fn make_local(&self, cancel: &Cancel) -> Result<(), Errno> {
        if self.local().is_some_and(|local| !local.is_end()) {
            return Ok(());
        }
        let _pass = self.enter(cancel)?;
        self.fetch(cancel)
    }

    /// Waits until no other thread changes the whole file.
    ///
    /// # Errors
    /// `INTR` if the wait is cancelled, `TIMEDOUT` if the other thread is stuck.
    pub(super) fn enter(&self, cancel: &Cancel) -> Result<Pass<'_>, Errno> {
        // The thread that waits may have the gate of a file whose turn is before.
        self.enter_while(&|| self.services.names.waits_for_turn(self.ino), cancel)
    }

    /// Like [`Self::enter`], and interrupts background uploads as long as it waits: also one that
    /// has not begun when the wait begins.
    ///
    /// # Errors
    /// Those of [`Self::enter`].
    pub(super) fn enter_interrupting(&self, cancel: &Cancel) -> Result<Pass<'_>, Errno> {
        self.interrupt_upload();
        self.enter_while(&|| true, cancel)
    }

    fn enter_while(
        &self,
        must_interrupt: &dyn Fn() -> bool,
        cancel: &Cancel,
    ) -> Result<Pass<'_>, Errno> {
        self.gate.enter(&Patience {
            // Longer than the network deadlines that end the holder's waits.
            stuck: self.services.read.timeout * 4,
            progress: &|| {
                if must_interrupt() {
                    self.interrupt_upload();
                }
                self.progress()
            },
            cancel,
        })
    }

    /// Returns a number that changes while the file is fetched or stored.
    fn progress(&self) -> u64 {
        let (locals, filling) = {
            let state = self.state();
            let contents = &state.contents;
            let sealed = contents.sealed().map(|it| &it.copy);
            // It may be older than both.
            let uploading = contents.uploading();
            let locals = [contents.local(), sealed, uploading].map(Option::<&_>::cloned);
            (locals, state.filling.clone())
        };
        let progress = locals.iter().flatten().map(|copy| copy.store.progress());
        let filled = filling.map_or(0, |spool| spool.len());
        // The server does not say how far it is. The deadline of its reply ends the wait.
        let copied = if self.copying.load(Ordering::Relaxed) {
            to_seconds(SystemTime::now()).unsigned_abs()
        } else {
            0
        };
        progress
            .fold(0, u64::wrapping_add)
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
            Visible::Local(spooled) => {
                spooled.store.release_idle(transfers);
                if let Some(tail) = &spooled.tail {
                    tail.reader().release_idle(transfers);
                    tail.reader().forget_idle(bytes);
                }
            }
            Visible::Copied(_) => {}
        }
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
        let _announced = self.store.begin_write(offset)?;
        self.spool.write_at(offset, data)?;
        self.store.wrote(offset, data.len() as u64);
        Ok(())
    }
}

fn empty_spool_clean(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    spool_at(services, ino, 0)
}

/// Creates the spool of what follows `start` bytes, which is stored even if nothing is ever
/// written.
fn spool_from(services: &FileServices, ino: Ino, start: u64) -> Result<Spooled, Errno> {
    let spooled = spool_at(services, ino, start)?;
    spooled.store.mark_dirty();
    Ok(spooled)
}

fn spool_at(services: &FileServices, ino: Ino, start: u64) -> Result<Spooled, Errno> {
    let path = services.inodes.path(ino)?;
    let spool = Arc::new(services.spools.create_from(&path, start)?);
    let store = Arc::new(services.store(ino, &spool));
    Ok(Spooled {
        spool,
        store,
        tail: None,
    })
}

/// Creates the spool of a new file, which is stored even if nothing is ever written.
fn empty_spool(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    spool_from(services, ino, 0)
}
