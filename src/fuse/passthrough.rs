//! Replies to open with which the kernel reads a local file by itself (FUSE passthrough).
//!
//! Registering a local file, and ending that, requires the privilege that only one thread keeps. It
//! gets the whole reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fuser::{BackingId, FileHandle, FopenFlags, KernelConfig, ReplyOpen};

use crate::vfs::{Opened, PassthroughFile, Vfs};

use super::init;
use super::translate::opened;

/// Runs a task in the thread that keeps the privilege, later.
pub(crate) type PrivilegedRunner = Arc<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;

/// Opens files from which the kernel reads by itself.
#[derive(Clone)]
pub(super) struct Passthrough {
    /// `None` if this user cannot have the privilege.
    runner: Option<PrivilegedRunner>,
    /// Whether the kernel has refused a file.
    is_refused: Arc<AtomicBool>,
}

/// The registration of a local file, which ends with this.
struct RegisteredFile {
    id: Option<BackingId>,
    runner: PrivilegedRunner,
}

impl Passthrough {
    pub(super) fn new(runner: Option<PrivilegedRunner>) -> Self {
        Self {
            runner,
            is_refused: Arc::default(),
        }
    }

    /// Negotiates with the kernel, if `vfs` has local files.
    pub(super) fn negotiate(&self, config: &mut KernelConfig, vfs: &Vfs) {
        if self.runner.is_none() || !vfs.has_local_files() {
            return;
        }
        if init::negotiate_passthrough(config) {
            vfs.enable_passthrough();
        } else {
            log::debug!("this kernel cannot read the cache by itself");
        }
    }

    /// Sends that a file is open, from which the kernel may read by itself.
    pub(super) fn reply(&self, vfs: &Arc<Vfs>, reply: ReplyOpen, done: Opened) {
        let (Some(runner), Some(file)) = (&self.runner, vfs.passthrough_of(done.handle)) else {
            vfs.passthrough_refused(done.handle);
            return opened(reply, Ok(done));
        };
        let (this, vfs, for_file) = (self.clone(), Arc::clone(vfs), Arc::clone(runner));
        runner(Box::new(move || {
            let Some(registered) = this.register(&file, &reply, for_file) else {
                vfs.passthrough_refused(done.handle);
                return opened(reply, Ok(done));
            };
            log::debug!("the kernel reads handle {} by itself", done.handle.0);
            // With FOPEN_KEEP_CACHE, open fails with EIO.
            let flags = FopenFlags::empty();
            reply.opened_passthrough(FileHandle(done.handle.0), flags, registered);
        }));
    }

    /// Returns the registration of `file`, which all its handles share. Runs in one thread only.
    fn register<'a>(
        &self,
        file: &'a PassthroughFile,
        reply: &ReplyOpen,
        runner: PrivilegedRunner,
    ) -> Option<&'a BackingId> {
        if file.registered().get().is_none() {
            if self.is_refused.load(Ordering::Relaxed) {
                return None;
            }
            let id = match reply.open_backing(file.data()?) {
                Ok(id) => id,
                Err(error) => {
                    // For example ELOOP on overlayfs, or EPERM in a user namespace.
                    log::debug!("the kernel does not read the cache by itself: {error}");
                    self.is_refused.store(true, Ordering::Relaxed);
                    return None;
                }
            };
            let id = Some(id);
            let registered = Box::new(RegisteredFile { id, runner });
            // No other thread sets it.
            let _ = file.registered().set(registered);
        }
        let registered = file.registered().get()?;
        registered.downcast_ref::<RegisteredFile>()?.id.as_ref()
    }
}

impl Drop for RegisteredFile {
    fn drop(&mut self) {
        let id = self.id.take();
        (self.runner)(Box::new(move || drop(id)));
    }
}

impl fmt::Debug for Passthrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passthrough")
    }
}
