//! Invalidation of the kernel's caches.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use crate::vfs::{CachedNode, Ino};

/// The kernel's caches, accessible once the session exists.
#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<OnceLock<Notifier>>);

impl Kernel {
    /// Sets the session's notifier.
    pub(crate) fn attach(&self, notifier: Notifier) {
        // A mount has one session, so a second call has no effect.
        let _ = self.0.set(notifier);
    }

    /// Makes the kernel forget what it knows about `node`: its attributes, and name and pages of a
    /// file that no program has open.
    pub(crate) fn forget_node(&self, node: &CachedNode) {
        let Some((parent, name)) = &node.unused_file else {
            return self.forget_attributes(node.ino);
        };
        let Some(notifier) = self.0.get() else { return };
        // A length of 0 is the whole file. The kernel may have forgotten the inode in the meantime.
        let result = notifier
            .inval_inode(INodeNo(node.ino.0), 0, 0)
            .and_then(|()| notifier.inval_entry(INodeNo(parent.0), OsStr::from_bytes(name)));
        if let Err(error) = result {
            log::debug!("cannot invalidate inode {}: {error}", node.ino.0);
        }
    }

    /// Makes the kernel look `name` in `parent` up before it uses it again.
    pub(super) fn forget_name(&self, parent: Ino, name: &[u8]) {
        let name = OsStr::from_bytes(name);
        let result = self
            .0
            .get()
            .map(|it| it.inval_entry(INodeNo(parent.0), name));
        if let Some(Err(error)) = result {
            log::debug!("cannot invalidate {}: {error}", name.display());
        }
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
