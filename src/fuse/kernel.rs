//! Invalidation of the kernel's caches.

use std::fmt;
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use crate::vfs::Ino;

/// The kernel's caches, accessible once the session exists.
#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<OnceLock<Notifier>>);

impl Kernel {
    /// Sets the session's notifier.
    pub(crate) fn attach(&self, notifier: Notifier) {
        // A mount has one session, so a second call has no effect.
        let _ = self.0.set(notifier);
    }

    /// Makes the kernel request size and times of `ino` before it uses them again.
    pub(super) fn forget_attributes(&self, ino: Ino) {
        // By convention (fuse_lowlevel_notify_inval_inode), a negative offset does not affect the
        // pages.
        let result = self.0.get().map(|it| it.inval_inode(INodeNo(ino.0), -1, 0));
        if let Some(Err(error)) = result {
            log::debug!(
                "cannot invalidate the attributes of inode {}: {error}",
                ino.0
            );
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}
