//! One open file's contents, shared by every handle of its inode: read from the server as long as
//! nothing was written, in a spool file from the first write on.
//!
//! What touches the file as a whole (fetching it into a spool, storing it, removing or renaming
//! it) goes through the gate, one at a time. The state's own lock is held for moments only, never
//! across I/O.
//!
//! How the contents get to the server is in `storing`, what waits for that since it was closed in
//! `closed`, and what becomes of them when the file loses its name in `naming`.

mod commit;
pub(super) mod fill;
pub(super) mod gate;
mod naming;
mod pending;
pub(super) mod remote_file;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use crate::cache::Attributes;
use crate::ftp::Precision;
use crate::guarded::OnDrop;
use crate::journal::Before;
use crate::remote::Version;

use super::attr::to_seconds;
use super::errno::Errno;
use super::local::spool::Spool;
use super::read::{Bytes, Reader};
use super::table::inode::Ino;
use super::write::uploader::Uploader;
use gate::{Gate, Pass, Patience};
use naming::Naming;
use pending::PendingUpload;
use remote_file::FileServices;

/// Whether the program that asked still waits for the answer.
pub(super) type Wanted<'a> = &'a dyn Fn() -> bool;

/// The answer is wanted whatever happens: for work that no program waits for.
pub(super) const ALWAYS: Wanted<'static> = &|| true;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    ino: Ino,
    services: Arc<FileServices>,
    /// Open handles.
    handles: AtomicU32,
    /// Those of them that may write.
    writers: AtomicU32,
    gate: Gate,
    /// Makes "find the end, write there" one step; held for local I/O only.
    append: Mutex<()>,
    /// Held by those who change the spool together, and alone by who puts another one in its place;
    /// for local I/O only.
    changing: RwLock<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contents: Contents,
    /// What waits to be stored since a program closed it; the contents, or what they were then.
    closed: Option<PendingUpload>,
    /// What is being stored.
    storing: Option<Arc<Spool>>,
    /// What is being fetched.
    filling: Option<Arc<Spool>>,
    /// What the server, or this mount, last said of the file.
    attributes: Attributes,
    /// What the server has by this name.
    before: Before,
    naming: Naming,
    /// Storing failed and a program was told: release does not try again.
    failure_told: bool,
    /// Why what was closed could not be stored, as long as no program was told.
    failure: Option<Errno>,
    /// Set by utimens while bytes wait to be stored; set on the server with them.
    modified: Option<i64>,
    /// Set by chmod while they are being stored; set on the server after them.
    late_mode: Option<u32>,
}

/// Where the bytes are.
#[derive(Debug, Clone)]
enum Contents {
    Remote(Arc<Reader>),
    Spooled(Spooled),
}

/// A spool and its way to the server.
#[derive(Debug, Clone)]
struct Spooled {
    spool: Arc<Spool>,
    store: Arc<Uploader>,
}

/// What a change needs of what was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needed {
    All,
    Nothing,
}

/// Where a write goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    At(u64),
    /// O_APPEND: the end as it is when the bytes are written.
    End,
}

impl OpenFile {
    /// A file on the server, of these attributes.
    pub(super) fn existing(services: &Arc<FileServices>, ino: Ino, attributes: Attributes) -> Self {
        let reader = Arc::new(services.reader(ino, Version::from(&attributes)));
        Self::new(services, ino, Contents::Remote(reader), attributes, true)
    }

    /// A file that is to be made: empty, not on the server before it is stored.
    pub(super) fn created(
        services: &Arc<FileServices>,
        ino: Ino,
        attributes: Attributes,
    ) -> Result<Self, Errno> {
        let spooled = empty_spool(services, ino)?;
        Ok(Self::new(
            services,
            ino,
            Contents::Spooled(spooled),
            attributes,
            false,
        ))
    }

    fn new(
        services: &Arc<FileServices>,
        ino: Ino,
        contents: Contents,
        attributes: Attributes,
        on_server: bool,
    ) -> Self {
        let before = if on_server {
            before(&attributes)
        } else {
            Before::Absent
        };
        let state = State {
            before,
            contents,
            closed: None,
            storing: None,
            filling: None,
            attributes,
            naming: Naming::Linked,
            failure_told: false,
            failure: None,
            modified: None,
            late_mode: None,
        };
        Self {
            ino,
            services: Arc::clone(services),
            handles: AtomicU32::new(0),
            writers: AtomicU32::new(0),
            gate: Gate::default(),
            append: Mutex::new(()),
            changing: RwLock::new(()),
            state: Mutex::new(state),
        }
    }

    /// The inode whose contents these are.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// Counts one more handle.
    pub(super) fn add_handle(&self) {
        self.handles.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one handle less; whether it was the last.
    pub(super) fn remove_handle(&self) -> bool {
        self.handles.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// One more handle that may write.
    pub(super) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; whether it was the last.
    pub(super) fn remove_writer(&self) -> bool {
        self.writers.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether it may still be written to.
    pub(super) fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Relaxed) > 0
    }

    /// Whether a file found on the server with `attributes` can share these contents. Those that a
    /// program may still write to are then that file's: what is written is to be seen by all.
    pub(super) fn serves(&self, attributes: &Attributes) -> bool {
        let mut state = self.state();
        if state.is_spooled() || state.naming.is_unlinked() {
            return true;
        }
        let version = Version::from(attributes);
        if !state.contents.has_changed() && Version::from(&state.attributes).agrees(&version) {
            return true;
        }
        if !self.has_writers() {
            return false;
        }
        state.contents = Contents::Remote(Arc::new(self.services.reader(self.ino, version)));
        state.before = before(attributes);
        state.attributes = attributes.clone();
        true
    }

    /// Whether the server was found to have another file while this one was read.
    pub(super) fn has_changed(&self) -> bool {
        self.state().contents.has_changed()
    }

    /// The size of the file, where reading it has just shown that the server listed a wrong one.
    pub(super) fn take_corrected_size(&self) -> Option<u64> {
        let mut state = self.state();
        let Contents::Remote(reader) = &state.contents else {
            return None;
        };
        let size = reader.corrected_size();
        if size.is_none() || state.attributes.size == size {
            return None;
        }
        state.attributes.size = size;
        state.before = before(&state.attributes);
        size
    }

    /// The attributes to show, where this file knows better than the server does.
    pub(super) fn attributes(&self) -> Option<Attributes> {
        let state = self.state();
        match &state.contents {
            Contents::Remote(_) if state.naming.is_unlinked() => Some(state.attributes.clone()),
            Contents::Remote(_) => None,
            Contents::Spooled(spooled) => {
                let size = Some(spooled.spool.len());
                Some(Attributes {
                    size,
                    ..state.attributes.clone()
                })
            }
        }
    }

    /// What the server has by this file's name.
    pub(super) fn before(&self) -> Before {
        self.state().before
    }

    /// Whether the server has a file of this name.
    pub(super) fn is_on_server(&self) -> bool {
        self.before() != Before::Absent
    }

    /// Whether the file has a name that the server does not know yet.
    pub(super) fn is_unstored(&self) -> bool {
        let state = self.state();
        state.before == Before::Absent && !state.naming.is_unlinked()
    }

    /// The file has a new name, by which the server has this.
    pub(super) fn set_before(&self, before: Before) {
        self.state().before = before;
    }

    /// Whether something is waiting to be stored.
    pub(super) fn is_dirty(&self) -> bool {
        self.state().is_dirty()
    }

    /// Whether nothing was stored yet and no program knows of a failure: for the last release.
    pub(super) fn owes_storing(&self) -> bool {
        self.is_dirty() && !self.state().failure_told
    }

    /// Up to `length` bytes from `offset`, where they are at hand.
    pub(super) fn try_read(&self, offset: u64, length: usize) -> Option<Result<Bytes, Errno>> {
        match self.contents() {
            Contents::Remote(reader) => Some(Ok(reader.try_read(offset, length)?)),
            Contents::Spooled(spooled) => Some(read_spool(&spooled.spool, offset, length)),
        }
    }

    /// Up to `length` bytes from `offset`; less only at the end of the file, or once they are not
    /// `wanted`.
    pub(super) fn read(
        &self,
        offset: u64,
        length: usize,
        wanted: &dyn Fn() -> bool,
    ) -> Result<Bytes, Errno> {
        match self.contents() {
            Contents::Remote(reader) => Ok(reader.read_while(offset, length, wanted)?),
            Contents::Spooled(spooled) => read_spool(&spooled.spool, offset, length),
        }
    }

    /// Whether a write needs no answer from the server.
    pub(super) fn is_spooled(&self) -> bool {
        self.state().is_spooled()
    }

    /// Writes `data` into the spool, fetching the file into one first where there is none yet.
    pub(super) fn write(
        &self,
        position: Position,
        data: &[u8],
        wanted: Wanted<'_>,
    ) -> Result<(), Errno> {
        let put = |spooled: &Spooled| self.put(spooled, position, data);
        self.change(Needed::All, wanted, put)
    }

    /// Writes `data` where that needs no other spool and no waiting.
    pub(super) fn try_write(&self, position: Position, data: &[u8]) -> Option<Result<(), Errno>> {
        let _together = self.changing.try_read().ok()?;
        let changeable = self.state().changeable();
        let written = self.put(&changeable?, position, data);
        if written.is_ok() {
            self.touch();
        }
        Some(written)
    }

    /// Cuts or extends the file; extended by zeros.
    pub(super) fn truncate(&self, size: u64, wanted: Wanted<'_>) -> Result<(), Errno> {
        let needed = if size == 0 {
            Needed::Nothing
        } else {
            Needed::All
        };
        self.change(needed, wanted, |spooled| {
            spooled.spool.set_len(size)?;
            spooled.store.truncated(size);
            Ok(())
        })
    }

    /// Waits until nobody else changes the file as a whole, as long as the answer is `wanted`.
    ///
    /// # Errors
    /// `INTR` once it is not, `TIMEDOUT` where the one who changes it is stuck.
    pub(super) fn enter(&self, wanted: Wanted<'_>) -> Result<Pass<'_>, Errno> {
        self.gate.enter(&Patience {
            // Longer than the network's own deadlines, which end what the holder waits for.
            stuck: self.services.read.timeout * 4,
            progress: &|| self.progress(),
            wanted,
        })
    }

    /// A number that changes while the file is fetched or stored.
    fn progress(&self) -> u64 {
        let (contents, closed, filling) = {
            let state = self.state();
            let closed = state.closed.as_ref().map(|it| it.spooled.clone());
            (state.contents.clone(), closed, state.filling.clone())
        };
        let stored = match contents {
            Contents::Remote(_) => 0,
            Contents::Spooled(spooled) => spooled.store.progress(),
        };
        let closed = closed.map_or(0, |spooled| spooled.store.progress());
        let filled = filling.map_or(0, |spool| spool.len());
        stored.wrapping_add(closed).wrapping_add(filled)
    }

    /// Takes an early upload off the server before its directory gets another name.
    pub(super) fn end_early_upload(&self, _pass: &Pass<'_>) {
        if let Contents::Spooled(spooled) = self.contents() {
            spooled.store.end_early_upload();
        }
    }

    /// The server was told of new attributes by the file's name.
    pub(super) fn update(&self, change: impl FnOnce(&mut Attributes)) {
        change(&mut self.state().attributes);
    }

    /// Gives back the connections of transfers that moved nothing for `transfers`, and lets go of
    /// bytes that nobody read for `bytes`.
    pub(super) fn release_idle(&self, transfers: Duration, bytes: Duration) {
        match self.contents() {
            Contents::Remote(reader) => {
                reader.release_idle(transfers);
                reader.forget_idle(bytes);
            }
            Contents::Spooled(spooled) => spooled.store.release_idle(transfers),
        }
    }

    /// Notes a time to be set when the waiting bytes are stored; false where none wait.
    pub(super) fn set_modified_later(&self, seconds: i64) -> bool {
        let mut state = self.state();
        if !state.takes_attributes() {
            return false;
        }
        state.modified = Some(seconds);
        state.attributes.modified = Some((seconds, Precision::Second));
        drop(state);
        self.note_attributes();
        true
    }

    /// Notes a mode to be set when the waiting bytes are stored; false where none wait.
    pub(super) fn set_mode_later(&self, mode: u32) -> bool {
        let mut state = self.state();
        if !state.takes_attributes() {
            return false;
        }
        state.attributes.mode = Some(mode);
        if state.storing.is_some() {
            state.late_mode = Some(mode);
        }
        drop(state);
        self.note_attributes();
        true
    }

    /// Makes `change` to a spool of this file that may be changed: fetched, where the file was only
    /// read so far, or made empty where nothing of it is `needed`; and another one than that of
    /// contents that wait to be stored.
    fn change(
        &self,
        needed: Needed,
        wanted: Wanted<'_>,
        change: impl Fn(&Spooled) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        loop {
            self.make_changeable(needed, wanted)?;
            let _together = self.changing.read().unwrap_or_else(PoisonError::into_inner);
            let changeable = self.state().changeable();
            if let Some(spooled) = changeable {
                change(&spooled)?;
                self.touch();
                return Ok(());
            }
        }
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

    fn make_changeable(&self, needed: Needed, wanted: Wanted<'_>) -> Result<(), Errno> {
        let (is_closed, is_spooled) = {
            let state = self.state();
            (state.closed_is_current(), state.is_spooled())
        };
        match (is_closed, is_spooled, needed) {
            (true, _, _) => self.leave_closed(needed),
            (false, true, Needed::All) => Ok(()),
            (false, _, Needed::All) => {
                let _pass = self.enter(wanted)?;
                self.fetch().map(drop)
            }
            (false, _, Needed::Nothing) => self.empty(wanted),
        }
    }

    /// The contents in a spool; for the holder of the gate.
    fn fetch(&self) -> Result<(), Errno> {
        if self.is_spooled() {
            return Ok(());
        }
        let version = Version::from(&self.state().attributes);
        let spooled = empty_spool_clean(&self.services, self.ino)?;
        self.state().filling = Some(Arc::clone(&spooled.spool));
        let _filled = OnDrop::new(|| self.state().filling = None);
        fill::fill(&spooled.spool, &self.services.source(self.ino), version)?;
        self.state().contents = Contents::Spooled(spooled);
        Ok(())
    }

    /// A spool instead of whatever was there; nothing needs to be fetched for it.
    fn empty(&self, wanted: Wanted<'_>) -> Result<(), Errno> {
        // The file may be under way to the server, which is to end first.
        let _pass = self.enter(wanted)?;
        if !self.is_spooled() {
            let spooled = empty_spool(&self.services, self.ino)?;
            self.state().contents = Contents::Spooled(spooled);
        }
        Ok(())
    }

    fn touch(&self) {
        let now = to_seconds(SystemTime::now());
        let mut state = self.state();
        state.modified = None;
        state.attributes.modified = Some((now, Precision::Second));
        state.failure_told = false;
    }

    fn contents(&self) -> Contents {
        self.state().contents.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is changed by plain assignments, none of which can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_spooled(&self) -> bool {
        matches!(self.contents, Contents::Spooled(_))
    }

    fn is_dirty(&self) -> bool {
        match &self.contents {
            Contents::Remote(_) => false,
            Contents::Spooled(spooled) => !self.naming.is_unlinked() && spooled.store.is_dirty(),
        }
    }

    /// Whether attributes are to be noted, to go to the server with bytes that wait.
    fn takes_attributes(&self) -> bool {
        self.naming.is_unlinked() || self.storing.is_some() || self.is_dirty()
    }
}

impl Contents {
    /// Whether they may be a mixture of two versions of the file.
    fn has_changed(&self) -> bool {
        match self {
            Self::Remote(reader) => reader.has_changed(),
            Self::Spooled(_) => false,
        }
    }
}

impl Spooled {
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.spool.write_at(offset, data)?;
        self.store.wrote(offset, data.len() as u64);
        Ok(())
    }
}

/// What the server has of a file of these attributes.
pub(super) fn before(attributes: &Attributes) -> Before {
    Before::File {
        size: attributes.size,
        modified: attributes.modified,
    }
}

fn empty_spool_clean(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    let spool = Arc::new(services.spools.create(&services.inodes.path(ino)?)?);
    let store = Arc::new(services.store(ino, &spool));
    Ok(Spooled { spool, store })
}

/// A spool of a file that is to be stored even if nothing is ever written.
fn empty_spool(services: &FileServices, ino: Ino) -> Result<Spooled, Errno> {
    let spooled = empty_spool_clean(services, ino)?;
    spooled.store.mark_dirty();
    Ok(spooled)
}

fn read_spool(spool: &Spool, offset: u64, length: usize) -> Result<Bytes, Errno> {
    Ok(spool.read_at(offset, length)?.into())
}
