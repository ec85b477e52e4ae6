//! Changes of the contents. They go into a spool: the whole file, fetched before the first change,
//! or only what is appended to it (`append`).

use std::sync::{Arc, PoisonError};

use super::{OpenFile, Spooled, empty_spool, empty_spool_clean, fill};
use crate::cancel::{Blocking, Cancel};
use crate::disk_cache::CachedFile;
use crate::ftp::Version;
use crate::guarded::OnDrop;
use crate::remote::ErrorKind;
use crate::vfs::errno::Errno;
use crate::vfs::local::spool::Spool;
use crate::vfs::write::uploader::RoomFor;

/// How much of the previous contents a change needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    All,
    /// It changes nothing before this offset.
    Before(u64),
    /// It changes nothing before the end.
    UpToEnd,
    Nothing,
}

/// The position of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum Position {
    At(u64),
    /// O_APPEND: the end of the file at the time of the write.
    End,
}

/// Where a change would go now.
enum Target {
    /// Into a spool of the whole file.
    Whole,
    /// Into a spool of what is appended, which can take it.
    Tail,
    /// Into contents that are closed, and are copied first.
    Closed,
    /// The server has bytes that must be here first.
    Server,
}

impl Needed {
    /// Whether the bytes before `offset` stay as they are.
    pub(super) fn keeps(self, offset: u64) -> bool {
        match self {
            Self::All | Self::Nothing => false,
            Self::Before(first) => first >= offset,
            Self::UpToEnd => true,
        }
    }
}

impl From<Position> for RoomFor {
    fn from(position: Position) -> Self {
        match position {
            Position::At(offset) => Self::WriteAt(offset),
            // No upload sends what is beyond the end.
            Position::End => Self::WriteAt(u64::MAX),
        }
    }
}

impl From<Position> for Needed {
    fn from(position: Position) -> Self {
        match position {
            Position::At(offset) => Self::Before(offset),
            Position::End => Self::UpToEnd,
        }
    }
}

impl OpenFile {
    /// Writes `data` into the spool. Without one, fetches the file into a spool first, or begins
    /// one for what is appended.
    pub(in crate::vfs) fn write(
        &self,
        position: Position,
        data: &[u8],
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        if self.commits_part() {
            self.wait_for_commit(may.cancel()?)?;
        }
        let put = |spooled: &Spooled| self.put(spooled, position, data);
        let needed = Needed::from(position);
        if let Ok(_together) = self.changing.try_read()
            && let Some(written) = self.change_now(needed, put)
        {
            return written;
        }
        self.change(needed, may.cancel()?, put)
    }

    /// Truncates the file, or extends it with zeros.
    pub(in crate::vfs) fn truncate(&self, size: u64, cancel: &Cancel) -> Result<(), Errno> {
        let needed = if size == 0 {
            Needed::Nothing
        } else {
            Needed::Before(size)
        };
        if self.commits_part() {
            self.wait_for_commit(cancel)?;
        }
        self.change(needed, cancel, |spooled| {
            let _announced = match size {
                0 => spooled.store.begin_emptying(),
                _ => spooled.store.begin_write(size)?,
            };
            spooled.spool.set_len(size)?;
            spooled.store.truncated(size);
            Ok(())
        })
    }

    /// Extends the file to `size` with zeros, and reserves their space on the local disk. Does
    /// nothing if it is as large already.
    pub(in crate::vfs) fn allocate(&self, size: u64, cancel: &Cancel) -> Result<(), Errno> {
        if self.commits_part() {
            self.wait_for_commit(cancel)?;
        }
        self.change(Needed::Before(size), cancel, |spooled| {
            // A write that comes between would be taken for one of zeros.
            let _one_at_a_time = self.append.lock().unwrap_or_else(PoisonError::into_inner);
            if spooled.spool.len() < size {
                let _announced = spooled.store.begin_write(spooled.spool.len())?;
                spooled.spool.allocate(size)?;
                spooled.store.truncated(size);
            }
            Ok(())
        })
    }

    /// Applies `change` to a spool that may be changed. A file that was only read so far is fetched
    /// first, as far as its contents are `needed`. A spool that is waiting to be stored is replaced
    /// first.
    fn change(
        &self,
        needed: Needed,
        cancel: &Cancel,
        change: impl Fn(&Spooled) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        loop {
            self.make_changeable(needed, cancel)?;
            let _together = self.changing.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(changed) = self.change_now(needed, &change) {
                return changed;
            }
        }
    }

    /// Applies `change` if there is a spool that may be changed. The caller holds `changing`.
    fn change_now(
        &self,
        needed: Needed,
        change: impl Fn(&Spooled) -> Result<(), Errno>,
    ) -> Option<Result<(), Errno>> {
        let changeable = self.state().contents.changeable().cloned()?;
        if !changeable.takes(needed)
            || changeable.tail.is_none() && self.may_continue_stored(needed)
        {
            return None;
        }
        let changed = change(&changeable);
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

    pub(super) fn make_changeable(&self, needed: Needed, cancel: &Cancel) -> Result<(), Errno> {
        match (self.target(needed), needed) {
            (Target::Closed, _) => self.begin_draft(needed),
            (Target::Whole | Target::Server, Needed::Nothing) => self.empty(cancel),
            (Target::Whole, _) if self.may_continue_stored(needed) => {
                let _pass = self.enter(cancel)?;
                self.continue_stored(needed);
                Ok(())
            }
            (Target::Whole | Target::Tail, _) => Ok(()),
            (Target::Server, _) => {
                let _pass = self.enter(cancel)?;
                if self.begin_tail(needed, cancel)? {
                    return Ok(());
                }
                self.fetch(cancel)
            }
        }
    }

    fn target(&self, needed: Needed) -> Target {
        let state = self.state();
        match state.contents.local() {
            Some(local) if state.contents.is_sealed() => {
                if needed == Needed::Nothing || local.takes(needed) || !local.is_end() {
                    Target::Closed
                } else {
                    Target::Server
                }
            }
            Some(local) if local.tail.is_none() => Target::Whole,
            Some(local) if local.takes(needed) => Target::Tail,
            Some(_) | None => Target::Server,
        }
    }

    /// Fetches the contents into a spool. The caller holds the gate.
    pub(super) fn fetch(&self, cancel: &Cancel) -> Result<(), Errno> {
        if let Some(spooled) = self.local() {
            return match &spooled.tail {
                Some(tail) => self.fetch_rest(&spooled, tail, cancel),
                None => Ok(()),
            };
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
        let length = match self.fill_from_cache(&spooled.spool, &version, cancel)? {
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
        self.note_offline();
        Ok(())
    }

    /// Fills `spool` from the persistent cache, if it has all of the server's version, or of
    /// `version` while the server cannot be reached.
    fn fill_from_cache(
        &self,
        spool: &Spool,
        version: &Version,
        cancel: &Cancel,
    ) -> Result<Option<u64>, Errno> {
        let services = &self.services;
        let Some(disk) = &services.disk else {
            return Ok(None);
        };
        let path = services.inodes.path(self.ino)?;
        let cached = disk.find(&path, version).filter(CachedFile::is_whole);
        let Some(cached) = cached else {
            return Ok(None);
        };
        if !services.remote.is_offline() {
            // The change is uploaded with the rest, which must not be older than the server's.
            match services.source(self.ino).version(cancel) {
                Ok(now) if cached.serves(&path, &now) => {}
                Ok(_) => return Ok(None),
                Err(error) if error.kind == ErrorKind::Offline => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(fill::fill_from_cache(spool, &cached)?)
    }

    /// Replaces the contents with an empty spool; nothing needs to be fetched.
    fn empty(&self, cancel: &Cancel) -> Result<(), Errno> {
        // An upload of the file must end first.
        let _pass = self.enter(cancel)?;
        let needs_spool = self.local().is_none_or(|local| local.tail.is_some());
        if needs_spool {
            let copy = self.copied();
            let spooled = empty_spool(&self.services, self.ino)?;
            let _alone = self
                .changing
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            self.state().contents.begin_draft(spooled);
            self.note_offline();
            if let Some(copy) = copy {
                copy.discard();
            }
        }
        Ok(())
    }
}

impl Spooled {
    /// Whether a change that needs as much of the contents can be made here.
    pub(super) fn takes(&self, needed: Needed) -> bool {
        match &self.tail {
            Some(tail) => needed.keeps(tail.fixed()),
            None => true,
        }
    }
}
