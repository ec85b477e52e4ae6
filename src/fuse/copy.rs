//! copy_file_range.

use std::sync::Arc;

use fuser::{FileHandle, ReplyWrite, Request};

use super::FuseFs;
use super::translate::{error, handle};
use crate::cancel::Blocking;
use crate::vfs::{CopyEnd, Vfs};

impl FuseFs {
    /// Copies up to `length` bytes from one file and offset to another.
    pub(super) fn copy_range(
        &self,
        request: &Request,
        from: (FileHandle, u64),
        to: (FileHandle, u64),
        length: u64,
        reply: ReplyWrite,
    ) {
        let end = |(file, offset)| CopyEnd {
            handle: handle(file),
            offset,
        };
        let (from, to) = (end(from), end(to));
        // The reply has 32 bits, as has the kernel's length.
        let length = length.min(u64::from(u32::MAX));
        let copy = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| {
            vfs.copy_range(from, to, length, may)
        };
        self.answer_or_undo(
            request,
            reply,
            b"",
            copy,
            |reply, copied| match copied {
                Ok(count) => reply.written(count as u32),
                Err(errno) => reply.error(error(errno)),
            },
            move |vfs, _count| vfs.undo_copy(to.handle),
        );
    }
}
