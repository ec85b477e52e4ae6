//! Fills entries with what transfers bring.
//!
//! A transfer [offers](CacheFill::offer) its bytes as they arrive. The thread of the cache writes
//! them beside their slots. When the server has [confirmed](CacheFill::confirm) the transfer and
//! the version, the thread writes the slots, which makes the blocks present. A transfer that fails,
//! or whose file changed, leaves no slot.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::DiskCache;
use super::block::{self, BLOCK, BlockAssembler, BlockSlot};
use super::entry::{CachedFile, new_nonce};
use super::header::EntryHeader;
use crate::ftp::RemotePath;

/// Called when blocks are present: with the entry and their bytes.
pub(crate) type OnKept = Arc<dyn Fn(&Arc<CachedFile>, &[Range<u64>]) + Send + Sync>;

/// Consecutive bytes of a file, somewhere in memory or on the disk.
pub(crate) trait FillPiece: Send + 'static {
    /// The bytes of memory that the piece holds.
    fn memory(&self) -> usize;

    /// Calls `take` with the bytes, in order.
    ///
    /// # Errors
    /// They cannot be read.
    fn read(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()>;
}

/// The fills that may still add something.
#[derive(Debug, Default)]
pub(super) struct LiveFills(Mutex<Vec<Weak<FillShared>>>);

/// What one transfer brings of a file.
pub(crate) struct CacheFill {
    shared: Arc<FillShared>,
}

pub(super) struct FillShared {
    cache: Arc<DiskCache>,
    header: EntryHeader,
    on_kept: OnKept,
    state: Mutex<FillState>,
}

struct FillState {
    assembler: BlockAssembler,
    entry: Option<Arc<CachedFile>>,
    /// Blocks that were written and are not confirmed.
    pending: Vec<(u64, BlockSlot)>,
    /// The contents of a file of one block, which are not confirmed.
    small: Option<Vec<u8>>,
    /// Bytes of the entry on the local disk.
    stored: u64,
    /// Whether nothing more is kept.
    is_over: bool,
}

impl CacheFill {
    pub(super) fn new(cache: &Arc<DiskCache>, header: EntryHeader, on_kept: OnKept) -> Self {
        let state = FillState {
            assembler: BlockAssembler::new(header.size),
            entry: None,
            pending: Vec::new(),
            small: None,
            stored: 0,
            is_over: false,
        };
        let shared = Arc::new(FillShared {
            cache: Arc::clone(cache),
            header,
            on_kept,
            state: Mutex::new(state),
        });
        cache.fills.add(&shared);
        Self { shared }
    }

    /// Offers the bytes from `offset` on. They are skipped if the thread of the cache is behind and
    /// does not catch up within `patience`.
    pub(crate) fn offer(&self, offset: u64, piece: impl FillPiece, patience: Duration) {
        let memory = piece.memory();
        let shared = Arc::clone(&self.shared);
        let take = move || {
            let mut at = offset;
            let read = piece.read(&mut |bytes| {
                shared.take(at, bytes);
                at += bytes.len() as u64;
            });
            if let Err(error) = read {
                log::debug!("cannot read what the cache would keep: {error}");
            }
        };
        let queue = &self.shared.cache.queue;
        if !queue.offer(memory, patience, Box::new(take)) {
            log::debug!("the local disk is behind: bytes at {offset} are not kept");
        }
    }

    /// Records that all bytes offered so far belong to the version: the server has confirmed the
    /// transfer and still has that version.
    pub(crate) fn confirm(&self) {
        self.confirm_if(|| true);
    }

    /// Like [`Self::confirm`], if `is_valid` says so once all of them were taken.
    pub(crate) fn confirm_if(&self, is_valid: impl FnOnce() -> bool + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let confirm = move || {
            if is_valid() {
                shared.confirm();
            }
        };
        self.shared
            .cache
            .queue
            .offer(0, Duration::ZERO, Box::new(confirm));
    }
}

impl LiveFills {
    fn add(&self, fill: &Arc<FillShared>) {
        let mut fills = self.lock();
        fills.retain(|fill| fill.strong_count() > 0);
        fills.push(Arc::downgrade(fill));
    }

    /// Ends those of files whose path `is_other` now. Afterwards they add nothing.
    pub(super) fn end(&self, is_other: impl Fn(&RemotePath) -> bool) {
        let live: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        for fill in live.iter().filter(|fill| is_other(&fill.header.path)) {
            let mut state = fill.lock();
            state.is_over = true;
            state.small = None;
            state.pending.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<FillShared>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FillShared {
    /// Takes bytes of the file, which are at `offset`.
    fn take(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let FillState {
            assembler,
            entry,
            pending,
            small,
            stored,
            is_over,
        } = &mut *state;
        assembler.push(offset, bytes, &mut |index, block| {
            if *is_over {
                return;
            }
            if self.header.size <= BLOCK {
                *small = Some(block.to_vec());
                return;
            }
            match self.write(entry, stored, index, block) {
                Ok(Some(slot)) => pending.push((index, slot)),
                Ok(None) => {}
                Err(error) => {
                    *is_over = true;
                    self.cache.failed(&error);
                }
            }
        });
    }

    /// Writes a block to the entry, which is created if there is none. Returns its slot, or `None`
    /// if it is there already or there is no room for it.
    fn write(
        &self,
        entry: &mut Option<Arc<CachedFile>>,
        stored: &mut u64,
        index: u64,
        bytes: &[u8],
    ) -> io::Result<Option<BlockSlot>> {
        if !self.cache.has_room() {
            return Ok(None);
        }
        let entry = if let Some(entry) = entry {
            entry
        } else {
            let opened = self.open_or_create()?;
            *stored = opened.stored();
            entry.insert(Arc::new(opened))
        };
        let length = bytes.len() as u64;
        if *stored + length > self.cache.most_of_one() || entry.has(index)? {
            return Ok(None);
        }
        let slot = entry.write(index, bytes)?;
        *stored += length;
        self.cache.wrote(length);
        Ok(Some(slot))
    }

    fn open_or_create(&self) -> io::Result<CachedFile> {
        let directory = &self.cache.directory;
        let version = self.header.version();
        if let Ok(Some(entry)) = CachedFile::open(directory, &self.header.path, &version) {
            return Ok(entry.verifying(&self.cache.verified));
        }
        let nonce = new_nonce();
        let header = EntryHeader {
            nonce,
            ..self.header.clone()
        };
        let entry = CachedFile::create(directory, header)?;
        Ok(entry.verifying(&self.cache.verified))
    }

    /// Makes the blocks present that were taken so far.
    fn confirm(&self) {
        let mut state = self.lock();
        let kept = if let Some(bytes) = state.small.take() {
            self.keep_small(&mut state, &bytes)
        } else {
            let pending = std::mem::take(&mut state.pending);
            let Some(entry) = state.entry.as_ref().filter(|_| !pending.is_empty()) else {
                return;
            };
            let indices = pending.iter().map(|(index, _)| *index);
            let kept = block::runs(indices, self.header.size);
            entry.confirm(&pending).map(|()| kept)
        };
        let entry = state.entry.clone();
        drop(state);
        match (kept, entry) {
            (Ok(kept), Some(entry)) => (self.on_kept)(&entry, &kept),
            (Ok(_), None) => {}
            (Err(error), _) => self.cache.failed(&error),
        }
    }

    fn keep_small(&self, state: &mut FillState, bytes: &[u8]) -> io::Result<Vec<Range<u64>>> {
        if !self.cache.has_room() {
            return Ok(Vec::new());
        }
        let directory = &self.cache.directory;
        let entry = CachedFile::create_whole(directory, self.header.clone(), bytes)?;
        self.cache.wrote(bytes.len() as u64);
        state.entry = Some(Arc::new(entry));
        Ok(block::runs([0], self.header.size))
    }

    fn lock(&self) -> MutexGuard<'_, FillState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for FillShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FillShared")
            .field("path", &self.header.path)
            .finish_non_exhaustive()
    }
}
