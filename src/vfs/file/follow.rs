//! Files that grow while programs read them, such as logs.
//!
//! A program that has read a file to its end may wait for more. If the file on the server only
//! grew, the program reads on, with a new [`Reader`] of the larger version. What it has read so far
//! is the beginning of that version: its last bytes are compared with the server's. Everything else
//! is another file.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{OpenFile, Spooled, State, UploadFailure};
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::Version;
use crate::vfs::errno::Errno;
use crate::vfs::read::{ReadEnd, Reader};
use crate::vfs::write::state::{LateAttributes, LocalCopy, WriteState};

/// How far a file was read, after a program has reached its end. The file may have grown since, and
/// programs may have read on.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReachedEnd {
    /// `None` for a local copy, which has the bytes.
    end: Option<ReadEnd>,
    /// Whether [`OpenFile::take_reached`] has reported it.
    is_reported: bool,
}

impl ReachedEnd {
    /// Returns `before` with the end at `end`, in a file that is read from the server.
    pub(super) fn at(end: ReadEnd, before: Self) -> Self {
        Self {
            end: Some(end),
            ..before
        }
    }
}

/// An open file that others may have changed on the server since it was checked.
#[derive(Debug)]
pub(in crate::vfs) struct Following {
    /// The attributes that belong to what programs read.
    pub(in crate::vfs) attributes: Attributes,
    /// The version that the server had.
    pub(in crate::vfs) version: Version,
    /// Time since the server confirmed it.
    pub(in crate::vfs) age: Duration,
}

/// What programs have read so far.
enum Known {
    Remote(Arc<Reader>),
    /// A copy that the server has, and its generation.
    Stored(Spooled, u64),
}

impl OpenFile {
    /// Whether the server was found to have another version while this one was read.
    pub(in crate::vfs) fn has_changed(&self) -> bool {
        self.state().has_changed()
    }

    /// Returns the size of the file if reading has just revealed that the server listed a wrong
    /// one.
    pub(in crate::vfs) fn take_corrected_size(&self) -> Option<u64> {
        let mut state = self.state();
        let size = state.contents.reader()?.corrected_size();
        if size.is_none() || state.attributes.size == size {
            return None;
        }
        state.attributes.size = size;
        state.base = Some(Version::from(&state.attributes));
        size
    }

    /// Records that a program got `bytes` from `offset`, if they reach the end of the file. In a
    /// file that programs follow, also if they are further than all before: the file on the server
    /// must continue after the last byte that a program got.
    pub(super) fn note_end(&self, reader: &Arc<Reader>, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        let is_at_end = reader.size() == Some(end);
        let before = self.state().furthest();
        let is_further = before.is_none_or(|before| before.at() < end);
        if bytes.is_empty() || !is_further || !(is_at_end || before.is_some()) {
            return;
        }
        // The last read may have only a few bytes.
        let wanted = ReadEnd::wanted(end);
        let more = if bytes.len() < wanted {
            reader.available(end - wanted as u64, wanted)
        } else {
            None
        };
        let new = ReadEnd::new(end, more.as_deref().unwrap_or(bytes));
        let version = {
            let mut state = self.state();
            let is_passed = state.furthest().is_some_and(|other| other.at() >= end);
            if is_passed || !state.is_read_by(reader) {
                return;
            }
            reader.set_end(new);
            if is_at_end {
                state.checked = state.checked.max(reader.confirmed_at());
            }
            state.reached = Some(ReachedEnd {
                end: Some(new),
                is_reported: state.reached.is_some_and(|reached| reached.is_reported),
            });
            Version::from(&state.attributes)
        };
        if is_at_end {
            self.services.inodes.set_read_end(self.ino, version, new);
        }
    }

    /// Like [`Self::note_end`], for a local copy.
    pub(super) fn note_local_end(&self, copy: &Spooled, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        if end >= copy.spool.len() {
            // The kernel does not cache its attributes.
            self.state().reached.get_or_insert(ReachedEnd {
                end: None,
                is_reported: true,
            });
        }
    }

    /// Records that the kernel has the end of the file in its page cache, so that it does not
    /// request it again.
    pub(in crate::vfs) fn has_cached_end(&self, end: ReadEnd) {
        let mut state = self.state();
        if state.reached.is_some() {
            return;
        }
        let Some(reader) = state.contents.reader() else {
            return;
        };
        reader.set_end(end);
        let checked = reader.confirmed_at();
        state.checked = checked;
        state.reached = Some(ReachedEnd {
            end: Some(end),
            is_reported: false,
        });
    }

    /// Whether a program has reached the end of the file. Returns true only once.
    pub(in crate::vfs) fn take_reached(&self) -> bool {
        let mut state = self.state();
        let Some(reached) = &mut state.reached else {
            return false;
        };
        !std::mem::replace(&mut reached.is_reported, true)
    }

    /// Returns what is known about a file that can take over another version: one that a program
    /// has read to its end, or one that was stored from here. No program must write to it.
    pub(in crate::vfs) fn following(&self) -> Option<Following> {
        if self.has_writers() {
            return None;
        }
        let state = self.state();
        if state.naming.is_unlinked() || state.filling.is_some() || state.is_replaced {
            return None;
        }
        let mut attributes = state.attributes.clone();
        let version = match state.contents.reader() {
            Some(reader) if state.reached.is_some() && !reader.has_changed() => {
                Version::from(&attributes)
            }
            Some(_) => return None,
            None => {
                attributes.size = Some(state.stored_copy()?.spool.len());
                state.base?
            }
        };
        Some(Following {
            attributes,
            version,
            age: self.services.clock.elapsed(state.checked),
        })
    }

    /// Like [`Self::following`], for a file that a program has read to its end and may poll.
    pub(in crate::vfs) fn polled(&self) -> Option<Following> {
        let is_at_end = self.state().reached.is_some();
        self.following().filter(|_| is_at_end)
    }

    /// Records that the server has another file under the name. What is in memory can still be
    /// read, and nothing else.
    pub(in crate::vfs) fn replaced(&self) {
        let reader = {
            let mut state = self.state();
            state.is_replaced = true;
            state.contents.reader().cloned()
        };
        if let Some(reader) = reader {
            reader.end_transfers();
        }
    }

    /// Whether the server has another file under the name.
    pub(in crate::vfs) fn is_replaced(&self) -> bool {
        self.state().is_replaced
    }

    /// Returns the attributes of the version that programs have open.
    pub(in crate::vfs) fn pinned(&self) -> Attributes {
        self.state().attributes.clone()
    }

    /// Makes all further reads fail, because the inode has other contents by now.
    pub(in crate::vfs) fn refuse_reads(&self) {
        if let Some(reader) = self.state().contents.reader() {
            reader.refuse_reads();
        }
    }

    /// Records that the server has confirmed the version, or could not be asked.
    pub(in crate::vfs) fn checked(&self) {
        self.state().checked = self.services.clock.now();
    }

    /// Continues with the version of `attributes`, which is larger, if it begins with what was read
    /// or stored so far. Returns whether it does. The caller holds the gate.
    ///
    /// # Errors
    /// The error of the transfer that fetches the bytes to compare.
    pub(in crate::vfs) fn grow(
        &self,
        attributes: &Attributes,
        cancel: &Cancel,
    ) -> Result<bool, Errno> {
        let Some((known, end)) = self.known_end()? else {
            return Ok(false);
        };
        let version = Version::from(attributes);
        let reader = Arc::new(self.services.reader(self.ino, version));
        reader.continue_from(end);
        let others = match &known {
            Known::Remote(before) => before.ends(),
            Known::Stored(..) => Vec::new(),
        };
        let others = others.into_iter().filter(|other| *other != end);
        for end in std::iter::once(end).chain(others) {
            let first = end.first();
            if first == end.at() {
                continue;
            }
            let length = (end.at() - first) as usize;
            let bytes = reader.read(first, length, cancel)?;
            if bytes.is_empty() && cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
            if !end.precedes(&bytes) {
                return Ok(false);
            }
        }
        // No program writes into a copy that is dropped.
        let alone = self.changing.write();
        let _alone = alone.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let is_current = match &known {
            // A read may have got further in the meantime.
            Known::Remote(reader) => state.is_read_by(reader) && state.furthest() == Some(end),
            Known::Stored(copy, generation) => {
                let is_same = |it: &Spooled| it.is_same(copy) && it.generation() == *generation;
                !self.has_writers() && state.stored_copy().is_some_and(is_same)
            }
        };
        if !is_current {
            return Ok(true);
        }
        let before = std::mem::replace(&mut state.contents, WriteState::clean(reader));
        state.base = Some(version);
        state.attributes = attributes.clone();
        state.checked = self.services.clock.now();
        if let Some(reached) = &mut state.reached {
            reached.end = Some(end);
        }
        drop(state);
        drop(before);
        Ok(true)
    }

    /// Returns what programs have read so far, and its end.
    fn known_end(&self) -> Result<Option<(Known, ReadEnd)>, Errno> {
        let (copy, generation) = {
            let state = self.state();
            if let Some(reader) = state.contents.reader() {
                let known = Known::Remote(Arc::clone(reader));
                return Ok(state.furthest().map(|end| (known, end)));
            }
            let Some(copy) = state.stored_copy() else {
                return Ok(None);
            };
            (copy.clone(), copy.generation())
        };
        let size = copy.spool.len();
        let wanted = ReadEnd::wanted(size);
        let last = copy.spool.read_at(size - wanted as u64, wanted)?;
        let end = ReadEnd::new(size, &last);
        Ok(Some((Known::Stored(copy, generation), end)))
    }
}

impl State {
    /// Returns how far programs have read, after one has reached the end.
    fn furthest(&self) -> Option<ReadEnd> {
        self.reached.and_then(|reached| reached.end)
    }

    fn is_read_by(&self, reader: &Arc<Reader>) -> bool {
        let current = self.contents.reader();
        current.is_some_and(|current| Arc::ptr_eq(current, reader))
    }

    /// Returns the local copy of the contents if the server has exactly these, and nothing is about
    /// to be appended to it.
    pub(super) fn stored_copy(&self) -> Option<&Spooled> {
        self.clean_copy().filter(|local| local.tail.is_none())
    }

    /// Returns the local copy of the contents, or of their end, if the server has exactly these.
    pub(super) fn clean_copy(&self) -> Option<&Spooled> {
        let contents = &self.contents;
        let is_stored = contents.sealed().is_none()
            && !contents.has_upload()
            && !contents.is_dirty()
            && contents.late() == LateAttributes::default()
            && self.failure == UploadFailure::None;
        self.base.and(contents.local()).filter(|_| is_stored)
    }
}
