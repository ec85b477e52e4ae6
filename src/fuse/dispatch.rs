//! Dispatch of requests that must wait to worker threads, together with their replies. The caller
//! may be released before the worker has finished.

use std::sync::Arc;

use fuser::{ReplyData, ReplyEntry, Request};

use crate::cancel::Cancel;
use crate::vfs::{Attr, Errno, Handle, Vfs, WithTtl};

use super::FuseFs;
use super::interrupts::ErrorReply;
use super::translate::{data, entry};

impl FuseFs {
    /// Runs `job` in a worker and sends its result with `answer`. An interrupted caller gets an
    /// error first, and then the job is cancelled. The result of a job that
    /// finishes anyway is passed to `undo`.
    pub(super) fn spawn_or_undo<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs, &Cancel) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
        undo: impl FnOnce(&Vfs, T) + Send + 'static,
    ) {
        let vfs = Arc::clone(&self.vfs);
        let reply = self.interrupts.watch(request.pid(), reply);
        self.workers.run(move || {
            let done = job(&vfs, reply.cancel());
            match reply.take() {
                Some(reply) => answer(reply, done),
                None => undo(&vfs, done),
            }
        });
    }

    /// Like [`FuseFs::spawn_or_undo`], for a job that needs no undoing: the program learned that
    /// it may have been done.
    pub(super) fn spawn<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.spawn_or_undo(request, reply, |vfs, _| job(vfs), answer, |_, _| {});
    }

    /// Like [`FuseFs::spawn`], for a job that can find out that the reply is no longer wanted.
    pub(super) fn spawn_cancellable<R: ErrorReply, T>(
        &self,
        request: &Request,
        reply: R,
        job: impl FnOnce(&Vfs, &Cancel) -> T + Send + 'static,
        answer: impl FnOnce(R, T) + Send + 'static,
    ) {
        self.spawn_or_undo(request, reply, job, answer, |_, _| {});
    }

    /// Like [`FuseFs::spawn`], for a job that returns an entry, which the kernel would count.
    pub(super) fn spawn_entry(
        &self,
        request: &Request,
        reply: ReplyEntry,
        job: impl FnOnce(&Vfs) -> Result<WithTtl<Attr>, Errno> + Send + 'static,
    ) {
        let job = |vfs: &Vfs, _: &Cancel| job(vfs);
        self.spawn_or_undo(request, reply, job, entry, |vfs, entered| {
            if let Ok(fresh) = entered {
                vfs.forget(fresh.value.ino, 1);
            }
        });
    }

    /// Reads data that is not available yet, while the caller waits for it.
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
            let read = vfs.read(file, offset, length, reply.cancel());
            if let Some(reply) = reply.take() {
                data(reply, read);
            }
        });
    }
}
