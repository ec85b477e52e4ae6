//! A request that has to wait: it goes to a worker with its reply, and its caller may be let go
//! before.

use std::sync::Arc;

use fuser::{ReplyData, ReplyEntry, Request};

use crate::vfs::{Attr, Errno, Handle, Vfs, WithTtl};

use super::FuseFs;
use super::interrupts::ErrorReply;
use super::translate::{data, entry};

impl FuseFs {
    /// Does in a worker what has to wait, and answers. A caller that is to stop is answered before,
    /// which the job is told when it asks whether the answer is wanted; what was done all the same
    /// is then undone.
    pub(super) fn spawn_or_undo<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs, &dyn Fn() -> bool) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
        undo: impl FnOnce(&Vfs, T) + Send + 'static,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let reply = self.interrupts.watch(request.pid(), reply);
        self.workers.run(move || {
            let done = job(&vfs, &|| !reply.is_given());
            match reply.take() {
                Some(reply) => answer(reply, done),
                None => undo(&vfs, done),
            }
        });
    }

    /// … what leaves nothing to undo: the program was told that it may have been done.
    pub(super) fn spawn<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.spawn_or_undo(request, reply, |vfs, _| job(vfs), answer, |_, _| {});
    }

    /// The same of a job that may find that the answer is not wanted any more.
    pub(super) fn spawn_cancellable<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs, &dyn Fn() -> bool) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.spawn_or_undo(request, reply, job, answer, |_, _| {});
    }

    /// … what gives an entry, which the kernel would count.
    pub(super) fn spawn_entry(
        &self,
        request: &Request,
        reply: ReplyEntry,
        job: impl FnOnce(&Vfs) -> Result<WithTtl<Attr>, Errno> + Send + 'static,
    ) {
        let job = |vfs: &Vfs, _: &dyn Fn() -> bool| job(vfs);
        self.spawn_or_undo(request, reply, job, entry, |vfs, entered| {
            if let Ok(fresh) = entered {
                vfs.forget(fresh.value.ino, 1);
            }
        });
    }

    /// Reads what is not at hand, as long as the caller waits for it.
    pub(super) fn spawn_read(
        &self,
        request: &Request,
        file: Handle,
        offset: u64,
        length: usize,
        reply: ReplyData,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let reply = self.interrupts.watch(request.pid(), reply);
        self.workers.run(move || {
            let read = vfs.read(file, offset, length, &|| !reply.is_given());
            if let Some(reply) = reply.take() {
                data(reply, read);
            }
        });
    }
}
