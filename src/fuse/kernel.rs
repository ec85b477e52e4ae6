//! What the kernel remembers of the mount, and is to forget.

use std::fmt;
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier};

use crate::vfs::Ino;

/// The way to the kernel's memory, once the session has one.
#[derive(Clone, Default)]
pub struct Kernel(Arc<OnceLock<Notifier>>);

impl Kernel {
    /// The session is there.
    pub fn attach(&self, notifier: Notifier) {
        // A mount has one session: a second word changes nothing.
        let _ = self.0.set(notifier);
    }

    /// The kernel is to ask for `ino`'s size and times before it uses them again.
    pub(super) fn forget_attributes(&self, ino: Ino) {
        // By its convention (fuse_lowlevel_notify_inval_inode) a negative offset leaves the pages
        // alone.
        let told = self.0.get().map(|it| it.inval_inode(INodeNo(ino.0), -1, 0));
        if let Some(Err(error)) = told {
            log::debug!("inode {} keeps its attributes for a while: {error}", ino.0);
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kernel")
    }
}
