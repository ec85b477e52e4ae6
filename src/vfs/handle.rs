//! Open handles: what the kernel's numbers for opened files and directories stand for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::cache::{Attributes, Snapshot};

use super::errno::Errno;
use super::inode::Ino;
use super::open_file::OpenFile;

/// A handle's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// One open of a file.
#[derive(Debug)]
pub(super) struct FileHandle {
    pub(super) file: Arc<OpenFile>,
    /// Opened for writing.
    pub(super) writable: bool,
    /// Closing it stores what the file holds: it may write, or it made the file (O_CREAT, O_RDONLY
    /// or not).
    pub(super) stores: bool,
    /// Opened with O_APPEND.
    pub(super) append: bool,
}

/// One open of a directory: the listing as it was when reading began.
#[derive(Debug)]
pub(super) struct DirectoryHandle {
    pub(super) ino: Ino,
    pub(super) listing: Mutex<Arc<OpenListing>>,
}

/// What one reading of a directory shows, in an order that does not change.
#[derive(Debug)]
pub(super) struct OpenListing {
    pub(super) snapshot: Arc<Snapshot>,
    /// Files made through the mount that the server does not have yet.
    pub(super) unstored: Vec<(Arc<[u8]>, Attributes)>,
}

/// All handles of one sort.
#[derive(Debug)]
pub(super) struct Handles<T> {
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
    pub(super) fn insert(&self, opened: T) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(handle, Arc::new(opened));
        Handle(handle)
    }

    /// What `handle` stands for.
    pub(super) fn find(&self, handle: Handle) -> Result<Arc<T>, Errno> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&handle.0).cloned().ok_or(Errno::BADF)
    }

    /// Forgets `handle`.
    pub(super) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&handle.0)
    }

    /// Everything open now.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().cloned().collect()
    }
}
