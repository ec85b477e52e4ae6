//! Dispatch of requests: answered on the FUSE loop if memory can answer them, otherwise by a worker
//! thread that may wait.
//!
//! A FUSE loop has no [`Cancel`], so it cannot call anything that waits. Each request that a worker
//! runs has one, which is cancelled when its caller is interrupted.

use std::sync::Arc;

use fuser::{FileHandle, ReplyEmpty, ReplyEntry, ReplyOpen, Request};

use crate::cancel::{Blocking, Cancel};
use crate::vfs::{Attr, Errno, Ino, Opened, Vfs, WithTtl};

use super::FuseFs;
use super::interrupts::ErrorReply;
use super::translate::{empty, entry, handle, opened};

impl FuseFs {
    /// Sends the result of `operation` with `send`. Runs it here if it need not wait, otherwise
    /// again in a worker. `argument` is a name or data that the request lends.
    pub(super) fn answer<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        argument: &[u8],
        operation: impl Fn(&Arc<Vfs>, &[u8], Blocking<'_>) -> Result<T, Errno> + Send + 'static,
        send: impl FnOnce(R, Result<T, Errno>) + Send + 'static,
    ) {
        self.answer_or_undo(request, reply, argument, operation, send, |_, _| {});
    }

    /// Like [`FuseFs::answer`]. The result of an operation whose caller was interrupted is passed
    /// to `undo`.
    pub(super) fn answer_or_undo<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        argument: &[u8],
        operation: impl Fn(&Arc<Vfs>, &[u8], Blocking<'_>) -> Result<T, Errno> + Send + 'static,
        send: impl FnOnce(R, Result<T, Errno>) + Send + 'static,
        undo: impl FnOnce(&Vfs, T) + Send + 'static,
    ) {
        match operation(&self.vfs, argument, Blocking::No) {
            Err(Errno::WOULD_BLOCK) => {}
            answer => {
                self.vfs.counts().request();
                count_failure(&self.vfs, &answer);
                return send(reply, answer);
            }
        }
        let argument = argument.to_vec();
        let operation =
            move |vfs: &Arc<Vfs>, cancel: &Cancel| operation(vfs, &argument, Blocking::Yes(cancel));
        self.wait_or_undo(request, reply, operation, send, undo);
    }

    /// Returns what sends the result of opening `number`.
    pub(super) fn opening(
        &self,
        number: Ino,
    ) -> impl FnOnce(ReplyOpen, Result<Opened, Errno>) + Send + use<> {
        let (kernel, followers) = (self.kernel.clone(), self.followers.clone());
        let (passthrough, vfs) = (self.passthrough.clone(), Arc::clone(&self.vfs));
        move |reply, answer| {
            if answer.is_ok_and(|opened| opened.changed) {
                kernel.forget_attributes(number);
            }
            followers.opened(&answer);
            match answer {
                Ok(done) if done.is_local => passthrough.reply(&vfs, reply, done),
                answer => opened(reply, answer),
            }
        }
    }

    /// Answers fallocate of `offset` and `length`.
    pub(super) fn allocate(
        &self,
        request: &Request,
        file: FileHandle,
        (offset, length): (u64, u64),
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let file = handle(file);
        let allocate = move |vfs: &Arc<Vfs>, _: &[u8], may: Blocking<'_>| {
            vfs.allocate(file, (offset, length), mode, may)
        };
        self.answer(request, reply, b"", allocate, empty);
    }

    /// Sends the result of `operation`, which waits for the server, with `send`. It needs no
    /// undoing if its caller is interrupted: the program learned that it may have been done.
    pub(super) fn wait<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        operation: impl FnOnce(&Arc<Vfs>, &Cancel) -> Result<T, Errno> + Send + 'static,
        send: impl FnOnce(R, Result<T, Errno>) + Send + 'static,
    ) {
        self.wait_or_undo(request, reply, operation, send, |_, _| {});
    }

    /// Like [`FuseFs::wait`], for an operation that returns an entry, which the kernel would count.
    pub(super) fn wait_for_entry(
        &self,
        request: &Request,
        reply: ReplyEntry,
        operation: impl FnOnce(&Arc<Vfs>, &Cancel) -> Result<WithTtl<Attr>, Errno> + Send + 'static,
    ) {
        self.wait_or_undo(request, reply, operation, entry, forget_entry);
    }

    fn wait_or_undo<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        operation: impl FnOnce(&Arc<Vfs>, &Cancel) -> Result<T, Errno> + Send + 'static,
        send: impl FnOnce(R, Result<T, Errno>) + Send + 'static,
        undo: impl FnOnce(&Vfs, T) + Send + 'static,
    ) {
        let vfs = Arc::clone(&self.vfs);
        vfs.counts().request();
        vfs.counts().waiting();
        let reply = self.interrupts.watch(request.pid(), reply);
        self.workers.run(move || {
            let cancel = reply.cancel();
            let answer = vfs.attach(cancel).and_then(|()| operation(&vfs, cancel));
            count_failure(&vfs, &answer);
            match (reply.take(), answer) {
                (Some(reply), answer) => send(reply, answer),
                (None, Ok(done)) => undo(&vfs, done),
                (None, Err(_)) => {}
            }
        });
    }

    /// Releases a file. No program waits for this reply, so nothing interrupts it.
    pub(super) fn release_file(&self, file: FileHandle, reply: ReplyEmpty) {
        let file = handle(file);
        self.vfs.counts().request();
        if self.vfs.release(file, Blocking::No) != Err(Errno::WOULD_BLOCK) {
            return reply.ok();
        }
        let vfs = Arc::clone(&self.vfs);
        self.workers.run(move || {
            empty(reply, vfs.release(file, Blocking::Yes(&Cancel::never())));
        });
    }
}

fn count_failure<T>(vfs: &Vfs, answer: &Result<T, Errno>) {
    if answer.as_ref().is_err_and(|errno| errno.is_failure()) {
        vfs.counts().failure();
    }
}

/// Forgets an entry that the kernel does not get.
pub(super) fn forget_entry(vfs: &Vfs, fresh: WithTtl<Attr>) {
    vfs.forget(fresh.value.ino, 1);
}

/// Releases an opened file whose handle no program gets.
pub(super) fn release_unused(vfs: &Vfs, opened: Opened) {
    let released = vfs.release(opened.handle, Blocking::Yes(&Cancel::never()));
    if let Err(errno) = released {
        log::debug!("cannot release a file: {errno:?}");
    }
}
