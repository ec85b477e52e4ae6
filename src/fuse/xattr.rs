//! Extended attributes. Names that are not of ftpfs are answered here, without the vfs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use fuser::{INodeNo, ReplyEmpty, ReplyXattr, Request};

use super::FuseFs;
use super::translate::{empty, error, ino};
use crate::cancel::Blocking;
use crate::vfs::{Errno, ExtendedAttribute, Vfs};

impl FuseFs {
    /// Sends a value, or its length if `size` is 0.
    pub(super) fn get_attribute(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        let Some(attribute) = ExtendedAttribute::named(name.as_bytes()) else {
            self.vfs.counts().request();
            return reply.error(error(ExtendedAttribute::absent(name.as_bytes())));
        };
        let number = ino(number);
        let get = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| {
            vfs.extended_attribute(number, attribute, may)
        };
        self.answer(request, reply, b"", get, move |reply, value| {
            sized(reply, size, value);
        });
    }

    /// Sends the names, each followed by NUL, or their length if `size` is 0.
    pub(super) fn list_attributes(&self, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.vfs.counts().request();
        sized(reply, size, self.vfs.extended_attributes(ino(number)));
    }

    /// Removes an attribute.
    pub(super) fn remove_attribute(&self, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.vfs.counts().request();
        let removed = self
            .vfs
            .remove_extended_attribute(ino(number), name.as_bytes());
        empty(reply, removed);
    }
}

/// Sends a value or names if a program has room for them, or their length if `size` is 0
/// (getxattr(2)).
fn sized(reply: ReplyXattr, size: u32, answer: Result<impl AsRef<[u8]>, Errno>) {
    match answer {
        Ok(value) => {
            let value = value.as_ref();
            match size as usize {
                0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
                room if room < value.len() => reply.error(fuser::Errno::ERANGE),
                _ => reply.data(value),
            }
        }
        Err(errno) => reply.error(error(errno)),
    }
}
