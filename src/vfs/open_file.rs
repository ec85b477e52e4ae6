//! One open file's contents, shared by every handle of its inode: read from the server as long as
//! nothing was written, in a spool file from the first write on.
//!
//! What touches the file as a whole (fetching it into a spool, storing it, removing or renaming
//! it) goes through the gate, one at a time. The state's own lock is held for moments only, never
//! across I/O.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::cache::Attributes;
use crate::ftp::Precision;
use crate::journal::{Before, Pending};
use crate::remote::{Commit, Stored, Version};

use super::attr::to_seconds;
use super::backing::Backing;
use super::errno::Errno;
use super::gate::{Gate, Pass};
use super::inode::Ino;
use super::reader::{Bytes, Reader};
use super::store::Store;
use super::write_spool::Spool;

/// An open file.
#[derive(Debug)]
pub(super) struct OpenFile {
    ino: Ino,
    backing: Arc<Backing>,
    /// Handles that may write.
    writers: AtomicU32,
    gate: Gate,
    /// Makes "find the end, write there" one step; held for local I/O only.
    append: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    contents: Contents,
    /// What the server, or this mount, last said of the file.
    attributes: Attributes,
    /// Whether the server has a file of this name.
    on_server: bool,
    /// What the server had before anything was written here.
    before: Before,
    /// The name was removed: nothing is stored any more.
    unlinked: bool,
    /// Storing failed and a program was told: release does not try again.
    failure_told: bool,
    /// Set by utimens while bytes wait to be stored; set on the server with them.
    modified: Option<i64>,
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
    store: Arc<Store>,
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
    pub(super) fn existing(backing: &Arc<Backing>, ino: Ino, attributes: Attributes) -> Self {
        let reader = Arc::new(backing.reader(ino, Version::from(&attributes)));
        Self::new(backing, ino, Contents::Remote(reader), attributes, true)
    }

    /// A file that is to be made: empty, not on the server before it is stored.
    pub(super) fn created(
        backing: &Arc<Backing>,
        ino: Ino,
        attributes: Attributes,
    ) -> Result<Self, Errno> {
        let spooled = empty_spool(backing, ino)?;
        Ok(Self::new(
            backing,
            ino,
            Contents::Spooled(spooled),
            attributes,
            false,
        ))
    }

    fn new(
        backing: &Arc<Backing>,
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
            attributes,
            on_server,
            unlinked: false,
            failure_told: false,
            modified: None,
        };
        Self {
            ino,
            backing: Arc::clone(backing),
            writers: AtomicU32::new(0),
            gate: Gate::default(),
            append: Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    /// The inode whose contents these are.
    pub(super) fn ino(&self) -> Ino {
        self.ino
    }

    /// One more handle that may write.
    pub(super) fn add_writer(&self) {
        self.writers.fetch_add(1, Ordering::Relaxed);
    }

    /// One less; whether it was the last.
    pub(super) fn remove_writer(&self) -> bool {
        self.writers.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Whether a file found on the server with `attributes` can share these contents. Those that a program may still
    /// write to are then that file's: what is written is to be seen by all.
    pub(super) fn serves(&self, attributes: &Attributes) -> bool {
        let mut state = self.state();
        if let Contents::Spooled(_) = state.contents {
            return true;
        }
        let version = Version::from(attributes);
        if !state.contents.has_changed() && Version::from(&state.attributes).agrees(&version) {
            return true;
        }
        if self.writers.load(Ordering::Relaxed) == 0 {
            return false;
        }
        state.contents = Contents::Remote(Arc::new(self.backing.reader(self.ino, version)));
        state.before = before(attributes);
        state.attributes = attributes.clone();
        true
    }

    /// Whether the server was found to have another file while this one was read.
    pub(super) fn has_changed(&self) -> bool {
        self.state().contents.has_changed()
    }

    /// What `stat` is to show, where this file knows better than the server does.
    pub(super) fn attributes(&self) -> Option<Attributes> {
        let state = self.state();
        match &state.contents {
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

    /// Whether the server has a file of this name.
    pub(super) fn is_on_server(&self) -> bool {
        self.state().on_server
    }

    /// The file has a new name, by which the server has a file or not.
    pub(super) fn set_on_server(&self, on_server: bool) {
        self.state().on_server = on_server;
    }

    /// Whether the file has no name any more.
    pub(super) fn is_unlinked(&self) -> bool {
        self.state().unlinked
    }

    /// Whether something is waiting to be stored.
    pub(super) fn is_dirty(&self) -> bool {
        let state = self.state();
        match &state.contents {
            Contents::Remote(_) => false,
            Contents::Spooled(spooled) => !state.unlinked && spooled.store.is_dirty(),
        }
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

    /// Up to `length` bytes from `offset`; less only at the end of the file, or once they are not `wanted`.
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
        matches!(self.state().contents, Contents::Spooled(_))
    }

    /// Writes `data` into the spool, fetching the file into one first where there is none yet.
    pub(super) fn write(&self, position: Position, data: &[u8]) -> Result<(), Errno> {
        let spooled = self.spooled()?;
        match position {
            Position::At(offset) => spooled.write(offset, data)?,
            Position::End => {
                let _one_at_a_time = self.append.lock().unwrap_or_else(PoisonError::into_inner);
                spooled.write(spooled.spool.len(), data)?;
            }
        }
        self.touch();
        Ok(())
    }

    /// Cuts or extends the file; extended by zeros.
    pub(super) fn truncate(&self, size: u64) -> Result<(), Errno> {
        let spooled = if size == 0 {
            self.emptied()?
        } else {
            self.spooled()?
        };
        spooled.spool.set_len(size)?;
        spooled.store.truncated(size);
        self.touch();
        Ok(())
    }

    /// Takes the file's contents along before its name goes to another file or to none.
    pub(super) fn keep_contents(&self, _pass: &Pass<'_>) -> Result<(), Errno> {
        self.fetch()?;
        Ok(())
    }

    /// Waits until nobody else changes the file as a whole.
    pub(super) fn enter(&self) -> Pass<'_> {
        self.gate.enter()
    }

    /// The name is gone: the contents live until the last handle goes, and are stored nowhere.
    pub(super) fn unlink(&self, _pass: &Pass<'_>) {
        let mut state = self.state();
        state.unlinked = true;
        state.on_server = false;
        if let Contents::Spooled(spooled) = &state.contents {
            spooled.store.cancel();
        }
    }

    /// Takes an early upload off the server before its directory gets another name.
    pub(super) fn end_early_upload(&self, _pass: &Pass<'_>) {
        if let Contents::Spooled(spooled) = self.contents() {
            spooled.store.end_early_upload();
        }
    }

    /// Lets a storing that is under way end, then sees to it that nothing more is stored; whether
    /// something was left.
    pub(super) fn give_up(&self) -> bool {
        let pass = self.gate.enter();
        let left = self.is_dirty();
        self.unlink(&pass);
        if let Contents::Spooled(spooled) = self.contents() {
            spooled.store.end_early_upload();
        }
        left
    }

    /// Notes a time to be set when the waiting bytes are stored; false where none wait.
    pub(super) fn set_modified_later(&self, seconds: i64) -> bool {
        if !self.is_dirty() && !self.state().unlinked {
            return false;
        }
        let mut state = self.state();
        state.modified = Some(seconds);
        state.attributes.modified = Some((seconds, Precision::Second));
        true
    }

    /// Notes a mode to be set when the waiting bytes are stored; false where none wait.
    pub(super) fn set_mode_later(&self, mode: u32) -> bool {
        if !self.is_dirty() && !self.state().unlinked {
            return false;
        }
        let mut state = self.state();
        state.attributes.mode = Some(mode);
        true
    }

    /// The server was told of new attributes by the file's name.
    pub(super) fn update(&self, change: impl FnOnce(&mut Attributes)) {
        change(&mut self.state().attributes);
    }

    /// Stores what waits: returns when the server has acknowledged every byte, or with the reason why not.
    ///
    /// The attributes are the stored file's; none where nothing had to be stored.
    pub(super) fn commit(&self) -> Result<Option<Attributes>, Errno> {
        let _pass = self.gate.enter();
        let Contents::Spooled(spooled) = self.contents() else {
            return Ok(None);
        };
        if !self.is_dirty() {
            return Ok(None);
        }
        let target = self.backing.inodes.path(self.ino)?;
        let (modified, mode, before) = {
            let state = self.state();
            (state.modified, state.attributes.mode, state.before)
        };
        let commit = Commit {
            size: spooled.spool.len(),
            modified,
            mode,
        };
        let kept = spooled.spool.kept();
        kept.pending(&Pending {
            target: target.clone(),
            size: commit.size,
            mode,
            modified,
            before,
        });
        match spooled.store.commit(&target, &commit) {
            Ok(stored) => {
                kept.stored();
                let mut state = self.state();
                state.on_server = true;
                state.failure_told = false;
                state.attributes.size = Some(spooled.spool.len());
                if let Some(stored) = stored {
                    note_stored(&mut state.attributes, stored);
                    state.before = before_next(&state.attributes, stored);
                }
                if state.modified == modified {
                    state.modified = None;
                }
                Ok(Some(state.attributes.clone()))
            }
            Err(error) => {
                kept.refused();
                self.state().failure_told = true;
                Err(error.into())
            }
        }
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

    fn spooled(&self) -> Result<Spooled, Errno> {
        if let Contents::Spooled(spooled) = self.contents() {
            return Ok(spooled);
        }
        let _pass = self.gate.enter();
        self.fetch()
    }

    /// The contents in a spool; for the holder of the gate.
    fn fetch(&self) -> Result<Spooled, Errno> {
        if let Contents::Spooled(spooled) = self.contents() {
            return Ok(spooled);
        }
        let version = Version::from(&self.state().attributes);
        let spooled = empty_spool_clean(&self.backing, self.ino)?;
        spooled
            .spool
            .fill(&self.backing.source(self.ino), version)?;
        self.state().contents = Contents::Spooled(spooled.clone());
        Ok(spooled)
    }

    /// An empty spool instead of whatever was there; nothing needs to be fetched for it.
    fn emptied(&self) -> Result<Spooled, Errno> {
        let _pass = self.gate.enter();
        if let Contents::Spooled(spooled) = self.contents() {
            return Ok(spooled);
        }
        let spooled = empty_spool(&self.backing, self.ino)?;
        self.state().contents = Contents::Spooled(spooled.clone());
        Ok(spooled)
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

/// What the server said of the stored file; what it did not say stays as it was written.
fn note_stored(attributes: &mut Attributes, stored: Stored) {
    attributes.unique = stored.unique;
    if let Some(seconds) = stored.modified {
        attributes.modified = Some((seconds, Precision::Second));
    }
    if let Some(mode) = stored.mode {
        attributes.mode = Some(mode);
    }
}

/// What the server has of a file of these attributes.
fn before(attributes: &Attributes) -> Before {
    Before::File {
        size: attributes.size,
        modified: attributes.modified.map(|(seconds, _)| seconds),
    }
}

/// What the server has of a file that it has just stored.
fn before_next(attributes: &Attributes, stored: Stored) -> Before {
    Before::File {
        size: attributes.size,
        modified: stored.modified,
    }
}

fn empty_spool_clean(backing: &Backing, ino: Ino) -> Result<Spooled, Errno> {
    let spool = Arc::new(backing.spools.create(&backing.inodes.path(ino)?)?);
    let store = Arc::new(backing.store(ino, &spool));
    Ok(Spooled { spool, store })
}

/// A spool of a file that is to be stored even if nothing is ever written.
fn empty_spool(backing: &Backing, ino: Ino) -> Result<Spooled, Errno> {
    let spooled = empty_spool_clean(backing, ino)?;
    spooled.store.mark_dirty();
    Ok(spooled)
}

fn read_spool(spool: &Spool, offset: u64, length: usize) -> Result<Bytes, Errno> {
    Ok(spool.read_at(offset, length)?.into())
}
