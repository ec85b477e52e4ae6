//! Uploaded contents in the persistent cache, so that the next mount need not fetch what this one
//! has stored.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use super::{OpenFile, Spooled};
use crate::disk_cache::{FillPiece, OnKept};
use crate::ftp::{RemotePath, Version};
use crate::vfs::local::spool::Spool;
use crate::vfs::write::state::LocalCopy;

/// Bytes copied at a time.
const COPIED: u64 = 1 << 20;

/// Bytes of a spool.
struct SpoolPiece {
    spool: Arc<Spool>,
    offset: u64,
    length: u64,
}

impl OpenFile {
    /// Removes from the persistent cache what it has of `target`, whose contents are about to
    /// change. The new contents may have the same size and time.
    pub(super) fn forget_cached(&self, target: &RemotePath) {
        if let Some(disk) = &self.services.disk {
            disk.forget(target);
        }
    }

    /// Puts the contents of `spooled` into the persistent cache. The server has them as `target`,
    /// in `version`, and had no other file of that version after `began`. Does not wait for the
    /// local disk.
    ///
    /// Nothing is kept if the version cannot be recognised later, the spool has only a part of the
    /// contents, or programs change it before it is copied.
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
        let generation = spooled.store.generation();
        let nobody: OnKept = Arc::new(|_, _| ());
        let Some(fill) = disk.fill(target, version, began, nobody) else {
            return;
        };
        for offset in (0..size).step_by(COPIED as usize) {
            let piece = SpoolPiece {
                spool: Arc::clone(&spooled.spool),
                offset,
                length: COPIED.min(size - offset),
            };
            fill.offer(offset, piece, Duration::ZERO);
        }
        let (changing, copied) = (Arc::clone(&self.changing), spooled.clone());
        fill.confirm_if(move || {
            // A change is counted after it was made.
            let _none_is_made = changing.write().unwrap_or_else(PoisonError::into_inner);
            !copied.is_dirty()
                && copied.store.generation() == generation
                && copied.spool.len() == size
                && !copied.spool.is_partial()
        });
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
