//! Open handles: what the kernel's numbers for opened files and directories stand for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::cache::{Attributes, Snapshot};

use super::inode::Ino;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;

/// A handle's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// One open of a file.
#[derive(Debug)]
pub(in crate::vfs) struct FileHandle {
    pub(in crate::vfs) file: Arc<OpenFile>,
    /// Opened for writing.
    pub(in crate::vfs) writable: bool,
    /// Closing it stores what the file holds: it may write, or it made the file (O_CREAT, O_RDONLY
    /// or not).
    pub(in crate::vfs) stores: bool,
    /// Opened with O_APPEND.
    pub(in crate::vfs) append: bool,
}

/// One open of a directory: the listing as it was when reading began.
#[derive(Debug)]
pub(in crate::vfs) struct DirectoryHandle {
    pub(in crate::vfs) ino: Ino,
    pub(in crate::vfs) listing: Mutex<Arc<OpenListing>>,
}

/// What one reading of a directory shows, in an order that does not change.
#[derive(Debug)]
pub(in crate::vfs) struct OpenListing {
    pub(in crate::vfs) snapshot: Arc<Snapshot>,
    /// Files made through the mount that the server does not have yet.
    pub(in crate::vfs) unstored: Vec<(Arc<[u8]>, Attributes)>,
}

/// All handles of one sort.
#[derive(Debug)]
pub(in crate::vfs) struct Handles<T> {
    table: RwLock<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self {
            table: RwLock::default(),
            next: AtomicU64::new(1),
        }
    }
}

impl<T> Handles<T> {
    /// A number for `opened`.
    pub(in crate::vfs) fn insert(&self, opened: T) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(handle, Arc::new(opened));
        Handle(handle)
    }

    /// What `handle` stands for.
    pub(in crate::vfs) fn find(&self, handle: Handle) -> Result<Arc<T>, Errno> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&handle.0).cloned().ok_or(Errno::BADF)
    }

    /// Forgets `handle`.
    pub(in crate::vfs) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&handle.0)
    }

    /// Everything open now.
    pub(in crate::vfs) fn all(&self) -> Vec<Arc<T>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().cloned().collect()
    }
}
