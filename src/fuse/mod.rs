//! The callbacks of fuser, translated into calls of the vfs and their results into replies.
//! Contains no policy.
//!
//! A callback replies from memory if the vfs can. Otherwise the request and its reply go to a
//! worker, and the FUSE loop takes the next request ([`dispatch`]).

mod copy;
mod directories;
mod dispatch;
mod fatal_signal;
mod followers;
mod init;
mod interrupts;
mod kernel;
mod passthrough;
mod translate;
mod workers;
mod xattr;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, FileHandle, FopenFlags, INodeNo, IoctlFlags,
    KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use crate::cancel::{Blocking, Cancel};
use crate::vfs::{Changes, Errno, Vfs};

use dispatch::{forget_entry, release_unused};
use followers::Followers;
use interrupts::Interrupts;
pub(crate) use kernel::Kernel;
use passthrough::Passthrough;
pub(crate) use passthrough::PrivilegedRunner;
use translate::{
    attributes, data, empty, entry, error, file_attr, generation, handle, ino, open_flags,
    open_mode, statfs, written,
};
use workers::Workers;

/// The file system that is passed to `fuser::Session::new`.
#[derive(Debug)]
pub(crate) struct FuseFs {
    vfs: Arc<Vfs>,
    workers: Workers,
    interrupts: Interrupts,
    kernel: Kernel,
    followers: Followers,
    passthrough: Passthrough,
}

impl FuseFs {
    /// Creates the file system for `vfs`. What needs privileges is passed to `privileged`.
    pub(crate) fn new(vfs: Arc<Vfs>, privileged: Option<PrivilegedRunner>) -> Self {
        let kernel = Kernel::default();
        Self {
            followers: Followers::new(&vfs, kernel.clone()),
            vfs,
            workers: Workers::default(),
            interrupts: Interrupts::default(),
            kernel,
            passthrough: Passthrough::new(privileged),
        }
    }

    /// Returns the handle to the kernel's caches, to which the session's notifier must be attached.
    pub(crate) fn kernel(&self) -> Kernel {
        self.kernel.clone()
    }
}

impl fuser::Filesystem for FuseFs {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        init::negotiate(config, self.vfs.is_exported());
        self.passthrough.negotiate(config, &self.vfs);
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let parent = ino(parent);
        self.answer_or_undo(
            request,
            reply,
            name.as_bytes(),
            move |vfs, name, may| vfs.lookup(parent, name, may),
            entry,
            forget_entry,
        );
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
        let getattr = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| vfs.getattr(number, may);
        let answer = self.followers.forgetting(attributes);
        self.answer(request, reply, b"", getattr, answer);
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
            // fuser does not pass on the flag by which the kernel says so.
            drops_modes: size.is_some() && request.uid() != 0,
        };
        let (number, file) = (ino(number), file.map(handle));
        self.wait(
            request,
            reply,
            move |vfs, cancel| vfs.setattr(number, file, &changes, cancel),
            attributes,
        );
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let number = ino(number);
        self.answer(
            request,
            reply,
            b"",
            move |vfs, _, may| vfs.readlink(number, may),
            |reply, target| match target {
                Ok(target) => reply.data(&target),
                Err(errno) => reply.error(error(errno)),
            },
        );
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
        self.wait_for_entry(request, reply, move |vfs, cancel| {
            vfs.make_file(parent, name.as_bytes(), mode, cancel)
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
        self.wait_for_entry(request, reply, move |vfs, cancel| {
            vfs.make_directory(parent, name.as_bytes(), mode, cancel)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.wait(
            request,
            reply,
            move |vfs, cancel| vfs.unlink(parent, name.as_bytes(), cancel),
            empty,
        );
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (parent, name) = (ino(parent), name.to_owned());
        self.wait(
            request,
            reply,
            move |vfs, cancel| vfs.remove_directory(parent, name.as_bytes(), cancel),
            empty,
        );
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link: &OsStr,
        target: &std::path::Path,
        reply: ReplyEntry,
    ) {
        let (parent, link) = (ino(parent), link.to_owned());
        let target = target.as_os_str().as_bytes().to_vec();
        self.wait_for_entry(request, reply, move |vfs, cancel| {
            vfs.make_link(parent, link.as_bytes(), &target, cancel)
        });
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
        let rename = move |vfs: &Arc<Vfs>, cancel: &Cancel| {
            let (from, to) = ((parent, name.as_bytes()), (new_parent, new_name.as_bytes()));
            vfs.rename(from, to, no_replace, cancel)
        };
        self.wait(request, reply, rename, empty);
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
        let (number, mode, thread) = (ino(number), open_mode(flags), request.pid());
        let answer = self.opening(number);
        self.answer_or_undo(
            request,
            reply,
            b"",
            move |vfs, _, may| {
                let opened = vfs.open(number, mode, may);
                opened.inspect(|opened| vfs.record_opener(opened.handle, thread))
            },
            answer,
            release_unused,
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
        let read =
            move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| vfs.read(file, offset, length, may);
        let answer = self.followers.noting(file, data);
        self.answer(request, reply, b"", read, answer);
    }

    fn write(
        &self,
        request: &Request,
        _number: INodeNo,
        file: FileHandle,
        offset: u64,
        bytes: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (file, length, thread) = (handle(file), bytes.len(), request.pid());
        let drops_modes = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        self.answer(
            request,
            reply,
            bytes,
            move |vfs, bytes, may| {
                vfs.write(file, offset, bytes, thread, may)?;
                if drops_modes {
                    vfs.drop_privileged_mode(file);
                }
                Ok(())
            },
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
        let (file, thread) = (handle(file), request.pid());
        let flush = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| vfs.flush(file, thread, may);
        self.answer(request, reply, b"", flush, empty);
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
        let sync = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| vfs.sync(file, may);
        self.answer(request, reply, b"", sync, empty);
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
        self.release_file(file, reply);
    }

    fn opendir(&self, request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let number = ino(number);
        self.answer_or_undo(
            request,
            reply,
            b"",
            move |vfs, _, may| vfs.open_directory(number, may),
            |reply, answer| match answer {
                Ok(handle) => reply.opened(FileHandle(handle.0), FopenFlags::empty()),
                Err(errno) => reply.error(error(errno)),
            },
            Vfs::release_directory,
        );
    }

    fn readdir(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.list(directory, offset, reply);
    }

    fn readdirplus(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.list_with_attributes(directory, offset, reply);
    }

    fn releasedir(
        &self,
        _request: &Request,
        _number: INodeNo,
        directory: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.vfs.counts().request();
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
        let sync = move |vfs: &Arc<Vfs>, cancel: &Cancel| vfs.sync_directory(number, cancel);
        self.wait(request, reply, sync, empty);
    }

    fn statfs(&self, request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        self.answer(request, reply, b"", |vfs, _, may| vfs.space(may), statfs);
    }

    // Extended attributes cannot be set. The kernel remembers an ENOSYS, and answers by itself.
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
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        size: u32,
        reply: ReplyXattr,
    ) {
        self.get_attribute(request, number, name, size, reply);
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        self.list_attributes(number, size, reply);
    }

    fn removexattr(&self, _request: &Request, number: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.remove_attribute(number, name, reply);
    }

    // FTP has no holes or events. The kernel remembers an ENOSYS.
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
        request: &Request,
        _number: INodeNo,
        file: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.allocate(request, file, (offset, length), mode, reply);
    }

    fn copy_file_range(
        &self,
        request: &Request,
        _from: INodeNo,
        from_file: FileHandle,
        from_offset: u64,
        _to: INodeNo,
        to_file: FileHandle,
        to_offset: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = ((from_file, from_offset), (to_file, to_offset));
        self.copy_range(request, from, to, length, reply);
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

    // The kernel then reports every file as ready, as on a local disk.
    fn poll(
        &self,
        _request: &Request,
        _number: INodeNo,
        _file: FileHandle,
        _notifier: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(fuser::Errno::ENOSYS);
    }

    fn access(&self, request: &Request, number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let (number, mask) = (ino(number), mask.bits());
        let access =
            move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| vfs.access(number, mask, may);
        self.answer(request, reply, b"", access, empty);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (parent, how) = (ino(parent), open_mode(OpenFlags(flags)));
        let thread = request.pid();
        self.answer_or_undo(
            request,
            reply,
            name.as_bytes(),
            move |vfs, name, may| {
                let created = vfs.create(parent, name, mode, how, may);
                created.inspect(|(_, opened)| vfs.record_opener(opened.handle, thread))
            },
            |reply: ReplyCreate, created| match created {
                Ok((fresh, opened)) => {
                    let attr = file_attr(&fresh.value);
                    let file = FileHandle(opened.handle.0);
                    let flags = open_flags(opened.pages);
                    let generation = generation(&fresh.value);
                    reply.created(&fresh.ttl, &attr, generation, file, flags);
                }
                Err(errno) => reply.error(error(errno)),
            },
            |vfs, (fresh, opened)| {
                release_unused(vfs, opened);
                vfs.forget(fresh.value.ino, 1);
            },
        );
    }
}
