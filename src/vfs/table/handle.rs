//! Open handles: the kernel's numbers for opened files and directories.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::cache::{Attributes, Snapshot};

use super::ino::Ino;
use crate::vfs::errno::Errno;
use crate::vfs::file::OpenFile;

/// The number of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Handle(pub u64);

/// An open file handle.
#[derive(Debug)]
pub(in crate::vfs) struct FileHandle {
    pub(in crate::vfs) file: Arc<OpenFile>,
    /// What it was opened for.
    pub(in crate::vfs) used_for: HandleUse,
    /// Whether it was opened with O_APPEND.
    pub(in crate::vfs) append: bool,
    /// The threads that wrote through it.
    pub(in crate::vfs) writers: Mutex<Vec<WritingThread>>,
    /// The process that opened it, or 0 if that is unknown.
    pub(in crate::vfs) opener: AtomicU32,
}

impl FileHandle {
    /// Whether it was opened for writing.
    pub(in crate::vfs) fn is_writable(&self) -> bool {
        self.used_for == HandleUse::Write
    }

    /// Whether closing it stores the file.
    pub(in crate::vfs) fn stores(&self) -> bool {
        matches!(self.used_for, HandleUse::Write | HandleUse::StoreAndRead)
    }
}

/// What a file was opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) enum HandleUse {
    /// execve(2). The kernel closes the file when the program ends.
    Execute,
    /// O_RDONLY.
    Read,
    /// O_RDONLY, of a file that the open created (O_CREAT) or truncated (O_TRUNC).
    StoreAndRead,
    /// O_WRONLY or O_RDWR.
    Write,
}

/// A thread that wrote through a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct WritingThread {
    pub(in crate::vfs) thread: u32,
    /// Its process, if that is known.
    pub(in crate::vfs) process: Option<u32>,
    /// Whether the process has closed the handle since.
    pub(in crate::vfs) has_closed: bool,
}

/// An open directory handle: the listing from the time when reading began.
#[derive(Debug)]
pub(in crate::vfs) struct DirectoryHandle {
    pub(in crate::vfs) ino: Ino,
    pub(in crate::vfs) listing: Mutex<Arc<OpenListing>>,
}

/// The entries that one reading of a directory shows, in a fixed order.
#[derive(Debug)]
pub(in crate::vfs) struct OpenListing {
    pub(in crate::vfs) snapshot: Arc<Snapshot>,
    /// Files created through the mount that the server does not have yet.
    pub(in crate::vfs) unstored: Vec<(Arc<[u8]>, Attributes)>,
}

/// All handles of one kind.
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
    /// Assigns a number to `opened`.
    pub(in crate::vfs) fn insert(&self, opened: T) -> Handle {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.insert(handle, Arc::new(opened));
        Handle(handle)
    }

    /// Returns the object behind `handle`.
    pub(in crate::vfs) fn find(&self, handle: Handle) -> Result<Arc<T>, Errno> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.get(&handle.0).cloned().ok_or(Errno::BADF)
    }

    /// Removes `handle`.
    pub(in crate::vfs) fn remove(&self, handle: Handle) -> Option<Arc<T>> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.remove(&handle.0)
    }

    /// Returns all open objects.
    pub(in crate::vfs) fn all(&self) -> Vec<Arc<T>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.values().cloned().collect()
    }
}
