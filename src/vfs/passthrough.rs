//! Files that the kernel reads from the persistent cache by itself (FUSE passthrough).
//!
//! A file that is wholly in the cache, and was read and verified there since the mount began, is
//! opened for reading in this way if no handle of another kind is open. The kernel permits no other
//! kind while such a handle is open. So if a program is going to change the file, or the server has
//! another version, those that read it keep their inode, and the name gets a new one: the answer is
//! `ESTALE`, after which the kernel looks the name up again.
//!
//! The data file is never changed meanwhile. If the remote file grows and a program follows it,
//! the new bytes are appended to the data file, which leaves the cache.
//!
//! A file that was changed recently is probably written to, and read by requests.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::Vfs;
use super::errno::Errno;
use super::file::OpenFile;
use super::read::ReadEnd;
use super::table::handle::Handle;
use super::table::ino::Ino;
use super::table::io_mode::{IoChoice, IoMode};
use crate::cancel::{Blocking, Cancel};
use crate::disk_cache::CachedFile;
use crate::ftp::Version;

/// Minimum size in bytes: below, opening costs more than reading.
const LEAST_SIZE: u64 = 1 << 20;

/// Minimum time since the last change. Covers times that are wrong by a time zone.
const QUIET: Duration = Duration::from_secs(24 * 3600);

/// Maximum number of bytes by which a file may grow at a time to be followed.
const MOST_GROWTH: u64 = 64 << 20;

/// Number of bytes fetched at a time of what was appended.
const GROWTH_READ: u64 = 1 << 20;

/// A data file of the cache that the kernel reads, shared by the handles of an inode.
pub(crate) struct PassthroughFile {
    cached: CachedFile,
    /// Its end, which programs may have read.
    end: ReadEnd,
    /// Whose contents it has.
    owner: Weak<OpenFile>,
    /// Whether it is longer than the remote file was, and no longer in the cache.
    has_grown: AtomicBool,
    /// The kernel's registration of the file, which ends with this.
    registered: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl PassthroughFile {
    /// Returns the data file.
    pub(crate) fn data(&self) -> Option<&File> {
        self.cached.data()
    }

    /// The place of the kernel's registration.
    pub(crate) fn registered(&self) -> &OnceLock<Box<dyn Any + Send + Sync>> {
        &self.registered
    }

    fn is_of(&self, file: &Arc<OpenFile>) -> bool {
        self.owner.as_ptr() == Arc::as_ptr(file)
    }
}

impl fmt::Debug for PassthroughFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PassthroughFile")
            .field("cached", &self.cached)
            .finish_non_exhaustive()
    }
}

/// How the kernel reads each open inode.
#[derive(Debug, Default)]
pub(in crate::vfs) struct KernelReads {
    /// Whether the kernel accepts local files.
    is_enabled: AtomicBool,
    open: Mutex<HashMap<Ino, IoMode<Arc<PassthroughFile>>>>,
}

impl KernelReads {
    /// Closes a handle of `ino`.
    pub(in crate::vfs) fn close(&self, ino: Ino) {
        let mut open = self.lock();
        let Some(mode) = open.get_mut(&ino) else {
            return;
        };
        let unused = mode.close();
        if *mode == IoMode::Closed {
            open.remove(&ino);
        }
        drop(open);
        drop(unused);
    }

    /// Returns the local file that the kernel reads for `ino`.
    pub(in crate::vfs) fn backing(&self, ino: Ino) -> Option<Arc<PassthroughFile>> {
        self.lock().get(&ino)?.backing().cloned()
    }

    fn refuse(&self, ino: Ino) {
        self.is_enabled.store(false, Ordering::Relaxed);
        let unused = self.lock().get_mut(&ino).and_then(IoMode::refuse);
        drop(unused);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Ino, IoMode<Arc<PassthroughFile>>>> {
        // No change panics halfway.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for PassthroughFile {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Vfs {
    /// Whether this mount has local files that the kernel could read.
    pub(crate) fn has_local_files(&self) -> bool {
        self.services.disk.is_some() && !self.options.direct_io
    }

    /// Records that the kernel can read local files by itself.
    pub(crate) fn enable_passthrough(&self) {
        self.kernel_reads.is_enabled.store(true, Ordering::Relaxed);
    }

    /// Records that the kernel has refused the local file of `handle`. It is not asked again.
    pub(crate) fn passthrough_refused(&self, handle: Handle) {
        if let Ok(opened) = self.files.find(handle) {
            self.kernel_reads.refuse(opened.file.ino());
        }
    }

    /// Returns the local file from which the kernel reads `handle`.
    pub(crate) fn passthrough_of(&self, handle: Handle) -> Option<Arc<PassthroughFile>> {
        self.kernel_reads
            .backing(self.files.find(handle).ok()?.file.ino())
    }

    /// Chooses how the kernel reads a new handle of `file`. Only a handle that is `read_only` reads
    /// a local file. Returns whether it does.
    ///
    /// # Errors
    /// `STALE` if the kernel would refuse the handle. The name is free for another inode then.
    pub(in crate::vfs) fn open_kernel_reads(
        &self,
        file: &Arc<OpenFile>,
        read_only: bool,
    ) -> Result<bool, Errno> {
        let ino = file.ino();
        let is_candidate = read_only && self.kernel_reads.backing(ino).is_none();
        let candidate = is_candidate.then(|| self.passthrough_for(file)).flatten();
        let choice = {
            let mut open = self.kernel_reads.lock();
            let mode = open.entry(ino).or_default();
            mode.open(|backing| read_only && backing.is_of(file), candidate)
        };
        match choice {
            IoChoice::Requests => Ok(false),
            IoChoice::Passthrough(backing) => {
                // Nothing shows when a program reaches the end.
                file.has_cached_end(backing.end);
                Ok(true)
            }
            IoChoice::Conflict => {
                self.leave_passthrough(ino);
                self.inodes.detach(ino);
                Err(Errno::STALE)
            }
        }
    }

    /// Separates `ino` from its name if the kernel reads a local file for it, because that will not
    /// have the contents that the name has. Returns whether it does.
    pub(in crate::vfs) fn leave_passthrough(&self, ino: Ino) -> bool {
        let Some(backing) = self.kernel_reads.backing(ino) else {
            return false;
        };
        // Otherwise, another program could open the next inode in this way before the kernel has
        // repeated a request that was answered with `STALE`, which it does once.
        backing.cached.forget_verified();
        if let Some(owner) = backing.owner.upgrade() {
            let place = self.inodes.parent_and_name(ino);
            if self.inodes.detach_file(ino, &owner) {
                self.replaced.add(place.ok().flatten());
            }
            owner.replaced();
        }
        true
    }

    /// Like [`Self::leave_passthrough`], unless `serves` accepts the contents that it reads.
    ///
    /// # Errors
    /// `STALE` if it is separated.
    pub(in crate::vfs) fn check_passthrough(
        &self,
        ino: Ino,
        serves: impl FnOnce(&Arc<OpenFile>) -> bool,
    ) -> Result<(), Errno> {
        let Some(backing) = self.kernel_reads.backing(ino) else {
            return Ok(());
        };
        let open = self.inodes.open_file(ino);
        if open.is_some_and(|open| backing.is_of(&open) && serves(&open)) {
            return Ok(());
        }
        self.leave_passthrough(ino);
        Err(Errno::STALE)
    }

    /// Appends to the local file what `file` has grown by, if the kernel reads one. Returns whether
    /// it has all of it.
    ///
    /// # Errors
    /// The error of the transfer.
    pub(in crate::vfs) fn extend_passthrough(
        &self,
        file: &Arc<OpenFile>,
        size: Option<u64>,
        cancel: &Cancel,
    ) -> Result<bool, Errno> {
        let Some(backing) = self.kernel_reads.backing(file.ino()) else {
            return Ok(true);
        };
        let Some(data) = backing.data().filter(|_| backing.is_of(file)) else {
            return Ok(false);
        };
        let length = data.metadata().map(|about| about.len());
        let (Ok(mut at), Some(size)) = (length, size) else {
            return Ok(false);
        };
        let is_ours = backing.has_grown.swap(true, Ordering::Relaxed) || backing.cached.take_data();
        if !is_ours || size.saturating_sub(at) > MOST_GROWTH {
            return Ok(false);
        }
        while at < size {
            let length = GROWTH_READ.min(size - at) as usize;
            let bytes = file.read(at, length, Blocking::Yes(cancel))?;
            if bytes.is_empty() {
                return if cancel.is_cancelled() {
                    Err(Errno::INTR)
                } else {
                    Ok(false)
                };
            }
            if let Err(error) = data.write_all_at(&bytes, at) {
                log::debug!("cannot follow a file in the cache: {error}");
                return Ok(false);
            }
            at += bytes.len() as u64;
        }
        Ok(true)
    }

    /// Returns the local file that has all of `file`, if the kernel may read it.
    fn passthrough_for(&self, file: &Arc<OpenFile>) -> Option<Arc<PassthroughFile>> {
        if !self.kernel_reads.is_enabled.load(Ordering::Relaxed) || !file.is_clean_remote() {
            return None;
        }
        let version = Version::from(&file.pinned());
        if version.size? < LEAST_SIZE || !is_quiet(&version, SystemTime::now()) {
            return None;
        }
        let path = self.inodes.path(file.ino()).ok()?;
        let disk = self.services.disk.as_ref()?;
        let cached = disk.find_verified(&path, &version)?;
        let mut last = vec![0; ReadEnd::wanted(cached.size())];
        let first = cached.size() - last.len() as u64;
        cached.read(first, &mut last).ok()?;
        Some(Arc::new(PassthroughFile {
            end: ReadEnd::new(cached.size(), &last),
            cached,
            owner: Arc::downgrade(file),
            has_grown: AtomicBool::new(false),
            registered: OnceLock::new(),
        }))
    }
}

/// Whether `version` was not changed recently.
fn is_quiet(version: &Version, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let (Ok(now), Some((modified, _))) = (now, version.modified) else {
        return false;
    };
    modified.saturating_add(QUIET.as_secs() as i64) <= now.as_secs() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Precision;

    #[test]
    fn a_file_is_quiet_a_day_after_its_last_change() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let at = |seconds| Version {
            size: Some(1),
            modified: Some((seconds, Precision::Second)),
            unique: 0,
        };
        assert!(is_quiet(&at(1_000_000 - 86_400), now));
        assert!(!is_quiet(&at(1_000_000 - 86_399), now));
        assert!(!is_quiet(&at(2_000_000), now));
        assert!(!is_quiet(&at(i64::MAX), now));
        let unknown = Version {
            modified: None,
            ..at(0)
        };
        assert!(!is_quiet(&unknown, now));
    }
}
