//! The callbacks of fuser, translated into calls of the vfs and their results into replies.
//! Contains no policy.
//!
//! A callback replies from memory if the vfs can. Otherwise the request and its reply go to a
//! worker, and the FUSE loop takes the next request.

mod dispatch;
mod fatal_signal;
mod init;
mod interrupts;
mod kernel;
mod translate;
mod workers;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::cancel::Cancel;
use crate::vfs::{Attr, Changes, Errno, Handle, Opened, Vfs, WithTtl};

use interrupts::Interrupts;
pub(crate) use kernel::Kernel;
use translate::{
    GENERATION, attributes, data, empty, entry, error, file_attr, file_type, handle, ino, is_dots,
    open_flags, open_mode, opened, statfs, written,
};
use workers::Workers;

/// The file system that is passed to `fuser::Session::new`.
#[derive(Debug)]
pub(crate) struct FuseFs {
    vfs: Arc<Vfs>,
    workers: Workers,
    interrupts: Interrupts,
    kernel: Kernel,
}

impl FuseFs {
    /// Creates the file system for `vfs`.
    pub(crate) fn new(vfs: Arc<Vfs>) -> Self {
        Self {
            vfs,
            workers: Workers::default(),
            interrupts: Interrupts::default(),
            kernel: Kernel::default(),
        }
    }

    /// Returns the handle to the kernel's caches, to which the session's notifier must be attached.
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel.clone()
    }
}

impl fuser::Filesystem for FuseFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(config);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = ino(parent);
        if let Some(answer) = self.vfs.cached_lookup(parent, name.as_bytes()) {
            return entry(reply, answer);
        }
        let name = name.to_owned();
        self.spawn_entry(request, reply, move |vfs| {
            vfs.lookup(parent, name.as_bytes())
        });
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.vfs.forget(ino(number), lookups);
    }

    fn getattr(
        &self,
        request: &Request,
        number: INodeNo,
        _handle: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        let number = ino(number);
        if let Some(answer) = self.vfs.cached_getattr(number) {
            return attributes(reply, answer);
        }
        self.spawn(request, reply, move |vfs| vfs.getattr(number), attributes);
    }

    fn setattr(
        &self,
        request: &Request,
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
        self.spawn_cancellable(
            request,
            reply,
            move |vfs, cancel| vfs.setattr(number, file, &changes, cancel),
            attributes,
        );
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let number = ino(number);
        let send = |reply: ReplyData, target: Result<Vec<u8>, Errno>| match target {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(error(errno)),
        };
        if let Some(answer) = self.vfs.cached_readlink(number) {
            return send(reply, answer);
        }
        self.spawn(request, reply, move |vfs| vfs.readlink(number), send);
    }

    fn mknod(
        &self,
        request: &Request,
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
        self.spawn_entry(request, reply, move |vfs| {
            vfs.make_file(parent, name.as_bytes(), mode)
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.spawn_entry(request, reply, move |vfs| {
            vfs.make_directory(parent, name.as_bytes(), mode)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.spawn_cancellable(
            request,
            reply,
            move |vfs, cancel| vfs.unlink(parent, name.as_bytes(), cancel),
            empty,
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.spawn(
            request,
            reply,
            move |vfs| vfs.remove_directory(parent, name.as_bytes()),
            empty,
        );
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
        request: &Request,
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
        let job = move |vfs: &Vfs, cancel: &Cancel| {
            let (from, to) = ((parent, name.as_bytes()), (new_parent, new_name.as_bytes()));
            vfs.rename(from, to, no_replace, cancel)
        };
        self.spawn_cancellable(request, reply, job, empty);
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

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (number, mode) = (ino(number), open_mode(flags));
        let kernel = self.kernel.clone();
        let answer = move |reply: ReplyOpen, answer: Result<Opened, Errno>| {
            if answer.is_ok_and(|opened| opened.changed) {
                kernel.forget_attributes(number);
            }
            opened(reply, answer);
        };
        if let Some(done) = self.vfs.try_open(number, mode) {
            return answer(reply, done);
        }
        self.spawn_or_undo(
            request,
            reply,
            move |vfs, cancel| vfs.open(number, mode, cancel),
            answer,
            |vfs, opened| {
                if let Ok(opened) = opened {
                    vfs.release(opened.handle);
                }
            },
        );
    }

    fn read(
        &self,
        request: &Request,
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
        self.spawn_read(request, file, offset, length, reply);
    }

    fn write(
        &self,
        request: &Request,
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
        if let Some(done) = self.vfs.try_write(file, offset, bytes) {
            return written(reply, done, bytes.len());
        }
        let (bytes, length) = (bytes.to_vec(), bytes.len());
        self.spawn_cancellable(
            request,
            reply,
            move |vfs, cancel| vfs.write(file, offset, &bytes, cancel),
            move |reply, answer| written(reply, answer, length),
        );
    }

    fn flush(
        &self,
        request: &Request,
        _number: INodeNo,
        file: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let file = handle(file);
        if !self.vfs.needs_flush(file) {
            return reply.ok();
        }
        let close = move |vfs: &Vfs, cancel: &Cancel| vfs.flush(file, cancel);
        self.spawn_cancellable(request, reply, close, empty);
    }

    fn fsync(
        &self,
        request: &Request,
        _number: INodeNo,
        file: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let file = handle(file);
        if !self.vfs.needs_sync(file) {
            return reply.ok();
        }
        let sync = move |vfs: &Vfs, cancel: &Cancel| vfs.sync(file, cancel);
        self.spawn_cancellable(request, reply, sync, empty);
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
        if self.vfs.try_release(file) {
            return reply.ok();
        }
        // No program waits for this reply.
        let vfs = Arc::clone(&self.vfs);
        self.workers.run(move || {
            vfs.release(file);
            reply.ok();
        });
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let number = ino(number);
        let send = |reply: ReplyOpen, answer: Result<Handle, Errno>| match answer {
            Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
            Err(errno) => reply.error(error(errno)),
        };
        if let Some(answer) = self.vfs.try_open_directory(number) {
            return send(reply, answer);
        }
        self.spawn_or_undo(
            request,
            reply,
            move |vfs, _| vfs.open_directory(number),
            send,
            |vfs, opened| {
                if let Ok(handle) = opened {
                    vfs.release_directory(handle);
                }
            },
        );
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
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

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
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

    fn fsyncdir(
        &self,
        request: &Request,
        number: INodeNo,
        _directory: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        let number = ino(number);
        self.spawn(request, reply, move |vfs| vfs.sync_directory(number), empty);
    }

    fn statfs(&self, request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        if let Some(space) = self.vfs.cached_space() {
            return statfs(reply, space);
        }
        let vfs = Arc::clone(&self.vfs);
        self.spawn(request, reply, move |_| vfs.space(), statfs);
    }

    // FTP has no extended attributes, holes or ranges to copy. The kernel remembers an ENOSYS.
    fn setxattr(
        &self,
        _request: &Request,
        _number: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn getxattr(
        &self,
        _request: &Request,
        _number: INodeNo,
        _name: &OsStr,
        _size: u32,
        reply: ReplyXattr,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _number: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _number: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn lseek(
        &self,
        _request: &Request,
        _number: INodeNo,
        _file: FileHandle,
        _offset: i64,
        _whence: i32,
        reply: ReplyLseek,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        _number: INodeNo,
        _file: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _from: INodeNo,
        _from_file: FileHandle,
        _from_offset: u64,
        _to: INodeNo,
        _to_file: FileHandle,
        _to_offset: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _request: &Request,
        _number: INodeNo,
        _file: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(fuser::Errno::ENOTTY);
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (number, mask) = (ino(number), mask.bits());
        let allowed = move |vfs: &Vfs, attr: Result<WithTtl<Attr>, Errno>| {
            attr.and_then(|attr| Vfs::access(&attr.value, vfs.options(), mask))
        };
        if let Some(attr) = self.vfs.cached_getattr(number) {
            return empty(reply, allowed(&self.vfs, attr));
        }
        self.spawn(
            request,
            reply,
            move |vfs| allowed(vfs, vfs.getattr(number)),
            empty,
        );
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
                let flags = open_flags(opened.pages);
                reply.created(&fresh.ttl, &attr, GENERATION, file, flags);
            }
            Err(errno) => reply.error(error(errno)),
        }
    }
}
