//! fuser's callbacks, translated into vfs calls and their answers into replies; no policy.
//!
//! A callback answers from memory when the vfs can. Otherwise the request and its reply go to a
//! worker, and the FUSE loop takes the next request.

mod workers;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    Request, TimeOrNow, WriteFlags,
};

use crate::ftp::Kind;
use crate::vfs::{
    Attr, Bytes, Changes, Errno, Fresh, Handle, Ino, OpenMode, Opened, Pages, SpaceLeft, Vfs,
};

use workers::Workers;

/// Largest WRITE the kernel is asked to send; it sends at most 1 MiB.
const MAX_WRITE: u32 = 1 << 20;
/// Requests the kernel may have under way in the background (read-ahead): enough to keep every connection busy.
const MAX_BACKGROUND: u16 = 64;
/// Block size shown by stat and statfs, and their unit.
const BLOCK: u32 = 4096;
/// Blocks shown where the server does not tell its free space: 1 PiB, so that no tool refuses to copy.
const UNKNOWN_SPACE: u64 = (1 << 50) / BLOCK as u64;
/// Numbers are never used twice, so there is one generation.
const GENERATION: Generation = Generation(0);

/// What is handed to `fuser::Session::new`.
#[derive(Debug)]
pub struct FuseFs {
    vfs: Arc<Vfs>,
    workers: Workers,
}

impl FuseFs {
    /// The glue between the kernel and `vfs`.
    pub fn new(vfs: Arc<Vfs>) -> Self {
        Self {
            vfs,
            workers: Workers::default(),
        }
    }

    /// Does in a worker what has to wait.
    fn later(&self, job: impl FnOnce(&Vfs) + Send + 'static) {
        let vfs = Arc::clone(&self.vfs);
        self.workers.run(move || job(&vfs));
    }
}

impl fuser::Filesystem for FuseFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Each refusal names the nearest value the kernel takes.
        if let Err(most) = config.set_max_write(MAX_WRITE) {
            let _ = config.set_max_write(most);
        }
        if let Err(most) = config.set_max_readahead(MAX_WRITE) {
            let _ = config.set_max_readahead(most);
        }
        if let Err(most) = config.set_max_background(MAX_BACKGROUND) {
            let _ = config.set_max_background(most);
        }
        // Readdirplus without AUTO: `find -size` costs one request a directory, not one a file.
        for wanted in [
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
        ] {
            if config.add_capabilities(wanted).is_err() {
                log::debug!("this kernel does without {wanted:?}");
            }
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = ino(parent);
        if let Some(answer) = self.vfs.cached_lookup(parent, name.as_bytes()) {
            return entry(reply, answer);
        }
        let name = name.to_owned();
        self.later(move |vfs| entry(reply, vfs.lookup(parent, name.as_bytes())));
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.vfs.forget(ino(number), lookups);
    }

    fn getattr(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let number = ino(number);
        if let Some(answer) = self.vfs.cached_getattr(number) {
            return attributes(reply, answer);
        }
        self.later(move |vfs| attributes(reply, vfs.getattr(number)));
    }

    fn setattr(
        &self,
        _request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        file: Option<FileHandle>,
        _created: Option<SystemTime>,
        _flag_changed: Option<SystemTime>,
        _backed_up: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let modified = modified.map(|time| match time {
            TimeOrNow::SpecificTime(time) => time,
            TimeOrNow::Now => SystemTime::now(),
        });
        let changes = Changes {
            size,
            mode,
            uid,
            gid,
            modified,
        };
        let (number, file) = (ino(number), file.map(handle));
        self.later(move |vfs| attributes(reply, vfs.setattr(number, file, &changes)));
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        let number = ino(number);
        let send = |reply: ReplyData, target: Result<Vec<u8>, Errno>| match target {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(error(errno)),
        };
        if let Some(answer) = self.vfs.cached_readlink(number) {
            return send(reply, answer);
        }
        self.later(move |vfs| send(reply, vfs.readlink(number)));
    }

    fn mknod(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(error(Errno::PERM));
        }
        let (parent, name) = (ino(parent), name.to_owned());
        self.later(move |vfs| entry(reply, vfs.make_file(parent, name.as_bytes(), mode)));
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.later(move |vfs| entry(reply, vfs.make_directory(parent, name.as_bytes(), mode)));
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.later(move |vfs| empty(reply, vfs.unlink(parent, name.as_bytes())));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.later(move |vfs| empty(reply, vfs.remove_directory(parent, name.as_bytes())));
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _link: &OsStr,
        _target: &std::path::Path,
        reply: ReplyEntry,
    ) {
        reply.error(error(Errno::PERM));
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !RenameFlags::RENAME_NOREPLACE.contains(flags) {
            return reply.error(error(Errno::INVAL));
        }
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        let (parent, name) = (ino(parent), name.to_owned());
        let (new_parent, new_name) = (ino(new_parent), new_name.to_owned());
        self.later(move |vfs| {
            let from = (parent, name.as_bytes());
            empty(
                reply,
                vfs.rename(from, (new_parent, new_name.as_bytes()), no_replace),
            );
        });
    }

    fn link(
        &self,
        _request: &Request,
        _number: INodeNo,
        _new_parent: INodeNo,
        _new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(error(Errno::PERM));
    }

    fn open(&self, _request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (number, mode) = (ino(number), open_mode(flags));
        if let Some(answer) = self.vfs.try_open(number, mode) {
            return opened(reply, answer);
        }
        self.later(move |vfs| opened(reply, vfs.open(number, mode)));
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        file: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let (file, length) = (handle(file), size as usize);
        if let Some(answer) = self.vfs.try_read(file, offset, length) {
            return data(reply, answer);
        }
        self.later(move |vfs| data(reply, vfs.read(file, offset, length)));
    }

    fn write(
        &self,
        _request: &Request,
        _number: INodeNo,
        file: FileHandle,
        offset: u64,
        bytes: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let file = handle(file);
        if self.vfs.can_write_now(file) {
            return written(reply, self.vfs.write(file, offset, bytes), bytes.len());
        }
        let bytes = bytes.to_vec();
        self.later(move |vfs| written(reply, vfs.write(file, offset, &bytes), bytes.len()));
    }

    fn flush(
        &self,
        _request: &Request,
        _number: INodeNo,
        file: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        self.store(handle(file), reply);
    }

    fn fsync(
        &self,
        _request: &Request,
        _number: INodeNo,
        file: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.store(handle(file), reply);
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        file: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let file = handle(file);
        if !self.vfs.owes_release(file) {
            self.vfs.release(file);
            return reply.ok();
        }
        self.later(move |vfs| {
            vfs.release(file);
            reply.ok();
        });
    }

    fn opendir(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let number = ino(number);
        let send = |reply: ReplyOpen, answer: Result<Handle, Errno>| match answer {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(errno) => reply.error(error(errno)),
        };
        if let Some(answer) = self.vfs.try_open_directory(number) {
            return send(reply, answer);
        }
        self.later(move |vfs| send(reply, vfs.open_directory(number)));
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let told = self
            .vfs
            .read_directory(handle(directory), offset, |listed| {
                let name = OsStr::from_bytes(listed.name);
                let attr = listed.attr;
                let full = reply.add(INodeNo(attr.ino.0), listed.next, file_type(attr.kind), name);
                // The kernel counts no lookup for a plain readdir.
                if !full && !is_dots(listed.name) {
                    self.vfs.forget(attr.ino, 1);
                }
                !full
            });
        match told {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let told = self
            .vfs
            .read_directory(handle(directory), offset, |listed| {
                let name = OsStr::from_bytes(listed.name);
                let attr = file_attr(&listed.attr);
                !reply.add(attr.ino, listed.next, name, &listed.ttl, &attr, GENERATION)
            });
        match told {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(error(errno)),
        }
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.release_directory(handle(directory));
        reply.ok();
    }

    /// Every change of a directory is on the server when its call returns.
    fn fsyncdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        _directory: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        if let Some(space) = self.vfs.cached_space() {
            return statfs(reply, space);
        }
        self.later(move |vfs| statfs(reply, vfs.space()));
    }

    fn access(&self, _request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (number, mask) = (ino(number), mask.bits());
        let allowed = move |vfs: &Vfs, attr: Result<Fresh<Attr>, Errno>| {
            attr.and_then(|attr| Vfs::access(&attr.value, vfs.options(), mask))
        };
        if let Some(attr) = self.vfs.cached_getattr(number) {
            return empty(reply, allowed(&self.vfs, attr));
        }
        self.later(move |vfs| empty(reply, allowed(vfs, vfs.getattr(number))));
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mode_of_open = open_mode(OpenFlags(flags));
        match self
            .vfs
            .create(ino(parent), name.as_bytes(), mode, mode_of_open)
        {
            Ok((fresh, opened)) => {
                let attr = file_attr(&fresh.value);
                let file = FileHandle(opened.handle.0);
                reply.created(&fresh.ttl, &attr, GENERATION, file, FopenFlags::empty());
            }
            Err(errno) => reply.error(error(errno)),
        }
    }
}

impl FuseFs {
    fn store(&self, file: Handle, reply: ReplyEmpty) {
        if !self.vfs.owes_flush(file) {
            return reply.ok();
        }
        self.later(move |vfs| empty(reply, vfs.flush(file)));
    }
}

fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

fn handle(file: FileHandle) -> Handle {
    Handle(file.0)
}

fn error(errno: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(errno.code())
}

fn open_mode(flags: OpenFlags) -> OpenMode {
    let bits = flags.0;
    OpenMode {
        write: bits & libc::O_ACCMODE != libc::O_RDONLY,
        append: bits & libc::O_APPEND != 0,
        truncate: bits & libc::O_TRUNC != 0,
    }
}

fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        // Opening a socket fails at once, where a FIFO would hang and a device mean one of ours.
        Kind::Special => FileType::Socket,
        Kind::File | Kind::Unknown => FileType::RegularFile,
    }
}

fn file_attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        // stat(2) counts blocks of 512 bytes, whatever the block size.
        blocks: attr.size.div_ceil(512),
        atime: attr.modified,
        mtime: attr.modified,
        ctime: attr.modified,
        crtime: attr.modified,
        kind: file_type(attr.kind),
        perm: attr.mode as u16,
        // One for directories, too: find(1) takes it to mean that nobody counts subdirectories.
        nlink: 1,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn entry(reply: ReplyEntry, answer: Result<Fresh<Attr>, Errno>) {
    match answer {
        Ok(fresh) => reply.entry(&fresh.ttl, &file_attr(&fresh.value), GENERATION),
        Err(errno) => reply.error(error(errno)),
    }
}

fn attributes(reply: ReplyAttr, answer: Result<Fresh<Attr>, Errno>) {
    match answer {
        Ok(fresh) => reply.attr(&fresh.ttl, &file_attr(&fresh.value)),
        Err(errno) => reply.error(error(errno)),
    }
}

fn empty(reply: ReplyEmpty, answer: Result<(), Errno>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(error(errno)),
    }
}

fn opened(reply: ReplyOpen, answer: Result<Opened, Errno>) {
    match answer {
        Ok(opened) => {
            let flags = match opened.pages {
                Pages::Keep => FopenFlags::FOPEN_KEEP_CACHE,
                Pages::Drop => FopenFlags::empty(),
                Pages::Bypass => FopenFlags::FOPEN_DIRECT_IO,
            };
            reply.opened(FileHandle(opened.handle.0), flags);
        }
        Err(errno) => reply.error(error(errno)),
    }
}

fn data(reply: ReplyData, answer: Result<Bytes, Errno>) {
    match answer {
        Ok(bytes) => reply.data(&bytes),
        Err(errno) => reply.error(error(errno)),
    }
}

fn written(reply: ReplyWrite, answer: Result<(), Errno>, length: usize) {
    match answer {
        Ok(()) => reply.written(length as u32),
        Err(errno) => reply.error(error(errno)),
    }
}

fn statfs(reply: ReplyStatfs, SpaceLeft(free): SpaceLeft) {
    let blocks = free.map_or(UNKNOWN_SPACE, |bytes| bytes / u64::from(BLOCK));
    // Nobody counts files over FTP; a million free ones stop no tool.
    let (files, name_max) = (1_000_000, crate::ftp::path::NAME_MAX as u32);
    reply.statfs(blocks, blocks, blocks, files, files, BLOCK, name_max, BLOCK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_flags_say_how_a_file_is_opened() {
        let mode = |bits| open_mode(OpenFlags(bits));
        assert_eq!(mode(libc::O_RDONLY), OpenMode::default());
        assert!(mode(libc::O_WRONLY).write && mode(libc::O_RDWR).write);
        assert!(mode(libc::O_WRONLY | libc::O_APPEND).append);
        assert!(mode(libc::O_RDWR | libc::O_TRUNC).truncate);
    }

    #[test]
    fn a_size_is_told_in_blocks_of_512_bytes() {
        let attr = Attr {
            ino: Ino(2),
            kind: Kind::File,
            size: 513,
            modified: SystemTime::UNIX_EPOCH,
            mode: 0o640,
            uid: 1,
            gid: 2,
        };
        let shown = file_attr(&attr);
        assert_eq!((shown.blocks, shown.perm, shown.nlink), (2, 0o640, 1));
    }
}
