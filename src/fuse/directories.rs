//! The entries of a directory, with and without their attributes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{FileHandle, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::FuseFs;
use super::translate::{GENERATION, error, file_attr, file_type, handle, is_dots};

impl FuseFs {
    /// Sends names from `offset` on.
    pub(super) fn list(&self, directory: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.vfs.counts().request();
        let result = self
            .vfs
            .read_directory(handle(directory), offset, |listed| {
                let name = OsStr::from_bytes(listed.name);
                let attr = listed.attr;
                let full = reply.add(INodeNo(attr.ino.0), listed.next, file_type(attr.kind), name);
                // The kernel does not count a lookup for a plain readdir.
                if !full && !is_dots(listed.name) {
                    self.vfs.forget(attr.ino, 1);
                }
                !full
            });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(error(errno)),
        }
    }

    /// Sends names with their attributes from `offset` on.
    pub(super) fn list_with_attributes(
        &self,
        directory: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.vfs.counts().request();
        let result = self
            .vfs
            .read_directory(handle(directory), offset, |listed| {
                let name = OsStr::from_bytes(listed.name);
                let attr = file_attr(&listed.attr);
                !reply.add(attr.ino, listed.next, name, &listed.ttl, &attr, GENERATION)
            });
        match result {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(error(errno)),
        }
    }
}
