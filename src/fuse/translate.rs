//! Conversions between the types of fuser and the vfs: numbers, attributes, flags, and results to
//! replies.

use fuser::{
    FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, OpenFlags, ReplyAttr,
    ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
};

use crate::ftp::Kind;
use crate::vfs::{
    Attr, Bytes, Errno, FreeSpace, Handle, Ino, OpenAccess, OpenMode, Opened, PageCache, WithTtl,
};

/// Block size in bytes shown by stat and statfs, and the unit of their counts.
const BLOCK: u32 = 4096;
/// Number of blocks shown if the server does not report its free space: 1 PiB, so that no tool
/// refuses to copy.
const UNKNOWN_SPACE: u64 = (1 << 50) / BLOCK as u64;
/// The kernel's flag of a file that execve(2) opens (`__FMODE_EXEC`).
const FMODE_EXEC: i32 = 0x20;

pub(super) fn generation(attr: &Attr) -> Generation {
    Generation(attr.generation.into())
}

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn handle(file: FileHandle) -> Handle {
    Handle(file.0)
}

pub(super) fn error(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.code())
}

pub(super) fn open_mode(flags: OpenFlags) -> OpenMode {
    let bits = flags.0;
    let access = match bits & libc::O_ACCMODE {
        libc::O_RDONLY => OpenAccess::Read,
        libc::O_WRONLY => OpenAccess::Write,
        _ => OpenAccess::ReadWrite,
    };
    OpenMode {
        access,
        append: bits & libc::O_APPEND != 0,
        truncate: bits & libc::O_TRUNC != 0,
        execute: bits & FMODE_EXEC != 0,
    }
}

pub(super) fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        // Opening a socket fails immediately, whereas opening a FIFO would block and a device would
        // be a local one.
        Kind::Special => FileType::Socket,
        Kind::File | Kind::Unknown => FileType::RegularFile,
    }
}

pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        // stat(2) counts blocks of 512 bytes, whatever the block size is.
        blocks: attr.size.div_ceil(512),
        atime: attr.modified,
        mtime: attr.modified,
        ctime: attr.modified,
        crtime: attr.modified,
        kind: file_type(attr.kind),
        perm: attr.mode as u16,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

/// Sends an entry, or that there is none. The kernel does not cache an absent name that it gets as
/// an error: the vfs decides how long a name stays absent.
pub(super) fn entry(reply: ReplyEntry, answer: Result<WithTtl<Attr>, Errno>) {
    match answer {
        Ok(fresh) => {
            let attr = file_attr(&fresh.value);
            reply.entry(&fresh.ttl, &attr, generation(&fresh.value));
        }
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn attributes(reply: ReplyAttr, answer: Result<WithTtl<Attr>, Errno>) {
    match answer {
        Ok(fresh) => reply.attr(&fresh.ttl, &file_attr(&fresh.value)),
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn opened(reply: ReplyOpen, answer: Result<Opened, Errno>) {
    match answer {
        Ok(opened) => reply.opened(FileHandle(opened.handle.0), open_flags(opened.pages)),
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn open_flags(pages: PageCache) -> FopenFlags {
    match pages {
        PageCache::Keep => FopenFlags::FOPEN_KEEP_CACHE,
        PageCache::Drop => FopenFlags::empty(),
        PageCache::Bypass => FopenFlags::FOPEN_DIRECT_IO,
    }
}

pub(super) fn data(reply: ReplyData, answer: Result<Bytes, Errno>) {
    match answer {
        Ok(bytes) => reply.data(&bytes),
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn written(reply: ReplyWrite, answer: Result<(), Errno>, length: usize) {
    match answer {
        Ok(()) => reply.written(length as u32),
        Err(errno) => reply.error(error(errno)),
    }
}

pub(super) fn statfs(reply: ReplyStatfs, answer: Result<FreeSpace, Errno>) {
    let space = match answer {
        Ok(FreeSpace(space)) => space,
        Err(errno) => return reply.error(error(errno)),
    };
    let in_blocks = |bytes: u64| bytes / u64::from(BLOCK);
    let free = space.map_or(UNKNOWN_SPACE, |space| in_blocks(space.available));
    let total = space.and_then(|space| space.total);
    let blocks = total.map_or(free, |total| in_blocks(total).max(free));
    // FTP cannot count files. A million free ones satisfy every tool.
    let (files, name_max) = (1_000_000, crate::ftp::path::NAME_MAX as u32);
    reply.statfs(blocks, free, free, files, files, BLOCK, name_max, BLOCK);
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn the_kernels_flags_say_how_a_file_is_opened() {
        let mode = |bits| open_mode(OpenFlags(bits));
        assert_eq!(mode(libc::O_RDONLY).access, OpenAccess::Read);
        assert_eq!(mode(libc::O_WRONLY).access, OpenAccess::Write);
        assert_eq!(mode(libc::O_RDWR).access, OpenAccess::ReadWrite);
        assert!(mode(libc::O_WRONLY | libc::O_APPEND).append);
        assert!(mode(libc::O_RDWR | libc::O_TRUNC).truncate);
        assert!(mode(libc::O_RDONLY | FMODE_EXEC).execute);
        assert!(!mode(libc::O_RDWR | libc::O_CLOEXEC).execute);
    }

    #[test]
    fn a_size_is_told_in_blocks_of_512_bytes() {
        let attr = Attr {
            ino: Ino(2),
            generation: 0,
            kind: Kind::File,
            size: 513,
            modified: SystemTime::UNIX_EPOCH,
            mode: 0o640,
            links: 1,
            uid: 1,
            gid: 2,
        };
        let shown = file_attr(&attr);
        assert_eq!((shown.blocks, shown.perm, shown.nlink), (2, 0o640, 1));
    }
}
