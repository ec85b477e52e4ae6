//! write: bytes into the spool of an open file.

use std::sync::{Arc, PoisonError};

use crate::cancel::Blocking;
use crate::sys;
use crate::vfs::Vfs;
use crate::vfs::errno::Errno;
use crate::vfs::file::{OpenFile, Position};
use crate::vfs::table::handle::{FileHandle, Handle, WritingThread};

/// Maximum number of remembered threads that write through one handle.
const MAX_WRITERS: usize = 1024;

impl Vfs {
    /// Writes `data` at `offset`, or at the end of a file opened with O_APPEND, for `thread` of a
    /// program.
    pub(crate) fn write(
        &self,
        handle: Handle,
        offset: u64,
        data: &[u8],
        thread: u32,
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        let (opened, position) = self.writable(handle, offset)?;
        record_writer(&opened, thread);
        let file = &opened.file;
        file.confirm_changeable(position)?;
        let length = data.len() as u64;
        let end = match position {
            Position::At(offset) => offset.saturating_add(length),
            Position::End => file.visible_size().unwrap_or(0).saturating_add(length),
        };
        self.with_room(
            (file, position),
            may,
            || self.write_making_room(file, position, data, may),
            || {
                file.confirm_changeable(position).is_err()
                    || file.is_too_large(position)
                    || file.grows_too_much(end)
            },
        )
    }

    /// Writes `data`. If there is no space for what is appended, what was appended before is stored
    /// first.
    fn write_making_room(
        &self,
        file: &Arc<OpenFile>,
        position: Position,
        data: &[u8],
        may: Blocking<'_>,
    ) -> Result<(), Errno> {
        let written = file.write(position, data, may);
        if written != Err(Errno::NOSPC) || !file.is_tail() || !file.is_dirty() {
            return written;
        }
        self.store(file, may.cancel()?)?;
        file.write(position, data, may)
    }

    /// Removes the setuid and setgid bits of the file of `handle` after a write.
    pub(crate) fn drop_privileged_mode(&self, handle: Handle) {
        if let Ok(opened) = self.files.find(handle) {
            opened.file.drop_privileged_mode();
        }
    }

    fn writable(&self, handle: Handle, offset: u64) -> Result<(Arc<FileHandle>, Position), Errno> {
        let opened = self.files.find(handle)?;
        if !opened.is_writable() {
            return Err(Errno::BADF);
        }
        let position = if opened.append {
            Position::End
        } else {
            Position::At(offset)
        };
        self.inodes.set_cached(opened.file.ino(), None);
        Ok((opened, position))
    }
}

/// Records that `thread` writes through `opened`.
fn record_writer(opened: &FileHandle, thread: u32) {
    let mut writers = opened
        .writers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = writers.iter_mut().find(|known| known.thread == thread) {
        known.has_closed = false;
    } else if writers.len() < MAX_WRITERS {
        writers.push(WritingThread {
            thread,
            process: sys::process_of(thread),
            has_closed: false,
        });
    }
}
