//! Uploaded contents in the persistent cache, so that the next mount need not fetch what this one
//! has stored.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use super::{OpenFile, Spooled};
use crate::disk_cache::{FillPiece, OnKept};
use crate::ftp::{RemotePath, Version};
use crate::vfs::local::spool::Spool;
use crate::vfs::write::state::LocalCopy;

/// Bytes copied at a time.
const COPIED: u64 = 1 << 20;

/// Maximum number of files that wait to be copied, and of their bytes unless there is only one.
/// Until then, they take space on the local disk.
const MOST_FILES: usize = 64;
const MOST_BYTES: u64 = 256 << 20;

/// A file that waits takes at most this part of what all local files may take.
const PART_OF_LIMIT: u64 = 4;

/// The uploaded files that wait to be copied into the persistent cache.
#[derive(Debug, Default)]
pub(in crate::vfs) struct KeptUploads(Mutex<WaitingCopies>);

#[derive(Debug, Default)]
struct WaitingCopies {
    files: usize,
    bytes: u64,
}

/// A file that waits. Dropping it makes room for others.
struct WaitingCopy {
    bytes: u64,
    waiting: Arc<KeptUploads>,
}

impl KeptUploads {
    /// Returns the right of a file of `bytes` bytes to wait, or `None` if too much waits already.
    fn admit(self: &Arc<Self>, bytes: u64) -> Option<WaitingCopy> {
        let mut waiting = self.lock();
        let all = waiting.bytes.saturating_add(bytes);
        if waiting.files > 0 && (waiting.files >= MOST_FILES || all > MOST_BYTES) {
            return None;
        }
        waiting.files += 1;
        waiting.bytes = all;
        drop(waiting);
        Some(WaitingCopy {
            bytes,
            waiting: Arc::clone(self),
        })
    }

    /// Whether files wait. They take room on the local disk until they are copied.
    pub(in crate::vfs) fn has_any(&self) -> bool {
        self.lock().files > 0
    }

    fn lock(&self) -> MutexGuard<'_, WaitingCopies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingCopy {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.files = waiting.files.saturating_sub(1);
        waiting.bytes = waiting.bytes.saturating_sub(self.bytes);
    }
}

/// Bytes of a spool.
struct SpoolPiece {
    spool: Arc<Spool>,
    offset: u64,
    length: u64,
    // Dropped after the spool, which takes room until then.
    _waiting: Arc<WaitingCopy>,
}

/// What was copied, until it is known whether the copy is good.
struct Copied {
    spooled: Spooled,
    generation: u64,
    size: u64,
    changing: Arc<RwLock<()>>,
    // Dropped after the spool, which takes room until then.
    _waiting: Arc<WaitingCopy>,
}

impl Copied {
    /// Whether no program has changed it meanwhile.
    fn is_unchanged(&self) -> bool {
        // A change is counted after it was made.
        let _none_is_made = self
            .changing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        !self.spooled.is_dirty()
            && self.spooled.store.generation() == self.generation
            && self.spooled.spool.len() == self.size
            && !self.spooled.spool.is_partial()
    }
}

impl OpenFile {
    /// Removes what is cached of `target`, whose contents are about to change. The new contents may
    /// have the same size and time.
    pub(super) fn forget_cached(&self, target: &RemotePath) {
        if let Some(recent) = &self.services.recent {
            recent.remove(self.ino);
        }
        if let Some(disk) = &self.services.disk {
            disk.forget(target);
        }
    }

    /// Puts the contents of `spooled` into the persistent cache. The server has them as `target`,
    /// in `version`, and had no other file of that version after `began`. Does not wait for the
    /// local disk.
    ///
    /// Nothing is kept if the version cannot be recognised later, the spool has only a part of the
    /// contents, programs change it before it is copied, or too much waits already.
    pub(super) fn keep_uploaded(
        &self,
        spooled: &Spooled,
        target: &RemotePath,
        version: &Version,
        began: SystemTime,
    ) {
        let (Some(disk), Some(size)) = (&self.services.disk, version.size) else {
            return;
        };
        if spooled.tail.is_some() || spooled.spool.start() > 0 || disk.exceeds_one(size) {
            return;
        }
        if !self
            .services
            .spools
            .can_hold(size.saturating_mul(PART_OF_LIMIT))
        {
            return;
        }
        let Some(waiting) = self.services.kept_uploads.admit(size).map(Arc::new) else {
            return;
        };
        let generation = spooled.store.generation();
        let nobody: OnKept = Arc::new(|_, _| ());
        let Some(fill) = disk.fill(target, version, began, nobody) else {
            return;
        };
        for offset in (0..size).step_by(COPIED as usize) {
            let piece = SpoolPiece {
                _waiting: Arc::clone(&waiting),
                spool: Arc::clone(&spooled.spool),
                offset,
                length: COPIED.min(size - offset),
            };
            fill.offer(offset, piece, Duration::ZERO);
        }
        let copied = Copied {
            spooled: spooled.clone(),
            generation,
            size,
            changing: Arc::clone(&self.changing),
            _waiting: waiting,
        };
        fill.confirm_if(move || copied.is_unchanged());
    }
}

impl FillPiece for SpoolPiece {
    /// The bytes are on the local disk.
    fn memory(&self) -> usize {
        0
    }

    fn read(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let bytes = self.spool.read_at(self.offset, self.length as usize);
        take(&bytes.map_err(io::Error::other)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_to_be_copied_is_bounded() {
        let waiting = Arc::new(KeptUploads::default());
        let large = waiting.admit(MOST_BYTES * 2).unwrap();
        assert!(waiting.admit(1).is_none());
        drop(large);
        let files: Vec<_> = (0..MOST_FILES).map(|_| waiting.admit(1).unwrap()).collect();
        assert!(waiting.admit(1).is_none());
        drop(files);
        let half = waiting.admit(MOST_BYTES / 2);
        assert!(half.is_some() && waiting.admit(MOST_BYTES / 2 + 1).is_none());
    }
}
