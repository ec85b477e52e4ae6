//! Files that grow while programs read them, such as logs.
//!
//! A program that has read a file to its end may wait for more. If the file on the server only
//! grew, the program reads on, with a new [`Reader`] of the larger version. What it has read so far
//! is the beginning of that version: its last bytes are compared with the server's. Everything else
//! is another file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::OpenFile;
use crate::cache::Attributes;
use crate::cancel::Cancel;
use crate::ftp::Version;
use crate::vfs::errno::Errno;
use crate::vfs::read::{ReadEnd, Reader};

/// How far a file was read, after a program has reached its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReachedEnd {
    end: ReadEnd,
    /// When the server last confirmed the version.
    checked: Instant,
    /// Whether [`OpenFile::take_reached`] has reported it.
    is_reported: bool,
}

/// A file that a program has read to its end and may read on.
#[derive(Debug)]
pub(in crate::vfs) struct Following {
    /// The attributes that belong to what programs read.
    pub(in crate::vfs) attributes: Attributes,
    /// Time since the server confirmed them.
    pub(in crate::vfs) age: Duration,
}

impl OpenFile {
    /// Records that a program got `bytes` from `offset`, if they reach the end of the file.
    pub(super) fn note_end(&self, reader: &Arc<Reader>, offset: u64, bytes: &[u8]) {
        let end = offset.saturating_add(bytes.len() as u64);
        if bytes.is_empty() || reader.size() != Some(end) {
            return;
        }
        let reached = self.state().reached;
        if reached.is_some_and(|reached| reached.end.at() == end) {
            return;
        }
        // The last read may have only a few bytes.
        let wanted = ReadEnd::wanted(end);
        let before = if bytes.len() < wanted {
            reader.available(end - wanted as u64, wanted)
        } else {
            None
        };
        let new = ReadEnd::new(end, before.as_deref().unwrap_or(bytes));
        let version = {
            let mut state = self.state();
            let current = state.contents.reader();
            if !current.is_some_and(|current| Arc::ptr_eq(current, reader)) {
                return;
            }
            reader.set_end(new);
            state.reached = Some(ReachedEnd {
                end: new,
                checked: reader.confirmed_at(),
                is_reported: reached.is_some_and(|reached| reached.is_reported),
            });
            Version::from(&state.attributes)
        };
        self.services.inodes.set_read_end(self.ino, version, new);
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
        state.reached = Some(ReachedEnd {
            end,
            checked: reader.confirmed_at(),
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

    /// Returns what is known about a file that a program has read to its end, while no program
    /// writes to it.
    pub(in crate::vfs) fn following(&self) -> Option<Following> {
        if self.has_writers() {
            return None;
        }
        let state = self.state();
        let reached = state.reached?;
        let reader = state.contents.reader()?;
        if reader.has_changed() || state.naming.is_unlinked() || state.filling.is_some() {
            return None;
        }
        Some(Following {
            attributes: state.attributes.clone(),
            age: reached.checked.elapsed(),
        })
    }

    /// Records that the server has confirmed the version, or could not be asked.
    pub(in crate::vfs) fn checked(&self) {
        if let Some(reached) = &mut self.state().reached {
            reached.checked = Instant::now();
        }
    }

    /// Continues with the version of `attributes`, which is larger, if it begins with what was read
    /// so far. Returns whether it does.
    ///
    /// # Errors
    /// The error of the transfer that fetches the bytes to compare.
    pub(in crate::vfs) fn grow(
        &self,
        attributes: &Attributes,
        cancel: &Cancel,
    ) -> Result<bool, Errno> {
        let (current, end) = {
            let state = self.state();
            let Some((reader, reached)) = state.contents.reader().zip(state.reached) else {
                return Ok(false);
            };
            (Arc::clone(reader), reached.end)
        };
        let version = Version::from(attributes);
        let reader = Arc::new(self.services.reader(self.ino, version));
        reader.continue_from(end);
        let first = end.first();
        if first < end.at() {
            let length = (end.at() - first) as usize;
            let bytes = reader.read(first, length, cancel)?;
            if bytes.is_empty() && cancel.is_cancelled() {
                return Err(Errno::INTR);
            }
            if !end.precedes(&bytes) {
                return Ok(false);
            }
        }
        let mut state = self.state();
        let is_current = |it: &Arc<Reader>| Arc::ptr_eq(it, &current);
        if state.contents.reader().is_some_and(is_current) {
            state.contents.read_by(reader);
            state.base = Some(version);
            state.attributes = attributes.clone();
            if let Some(reached) = &mut state.reached {
                reached.checked = Instant::now();
            }
        }
        Ok(true)
    }
}
