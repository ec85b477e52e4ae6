//! The bytes that a read returns: a slice of the memory that the transfer filled, shared and not
//! copied.
//!
//! Buffers are zeroed once, when they are allocated. A [`BufferPool`] reuses them after the last
//! reader has dropped them.

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk_cache::{CachedFile, DamagedBlocks, FillPiece};
use crate::vfs::local::quota::QuotaFile;

/// Minimum size in bytes of a buffer that is kept for reuse. A smaller one is cheap to allocate.
const KEPT_FROM: usize = 128 * 1024;

/// Bytes of a file. Read-only and cheap to clone; the buffer is returned when the last clone is
/// dropped.
#[derive(Clone, Default)]
pub(crate) struct Bytes {
    piece: Arc<Buffer>,
    range: Range<usize>,
}

impl Bytes {
    /// Returns the `range` of `piece`. A range that is not inside the piece yields no bytes.
    pub(super) fn slice(piece: &Arc<Buffer>, range: Range<usize>) -> Self {
        Self {
            piece: Arc::clone(piece),
            range,
        }
    }

    /// Joins consecutive `parts` into one slice. Copies them into a buffer of `free`, unless they
    /// are a single piece of memory. Reads the parts that are on the local disk.
    ///
    /// # Errors
    /// The block that cannot be read.
    pub(super) fn load(
        parts: Vec<BlockBytes>,
        free: &Arc<BufferPool>,
    ) -> Result<Self, UnreadableBlock> {
        if let [BlockBytes::Memory(bytes)] = parts.as_slice() {
            return Ok(bytes.clone());
        }
        let length = parts.iter().map(BlockBytes::len).sum();
        let mut joined = free.take(length);
        let mut rest = joined.as_mut_slice();
        for part in parts {
            let Some((to, behind)) = rest.split_at_mut_checked(part.len()) else {
                break;
            };
            match part {
                BlockBytes::Memory(bytes) => to.copy_from_slice(&bytes),
                BlockBytes::Disk { file, from, .. } => {
                    if let Err(error) = file.file().read_exact_at(to, from) {
                        free.give(joined);
                        return Err(UnreadableBlock::Local { file, error });
                    }
                }
                BlockBytes::Cached { file, from, .. } => {
                    if let Err(DamagedBlocks { ranges }) = file.read(from, to) {
                        free.give(joined);
                        return Err(UnreadableBlock::Cached { file, ranges });
                    }
                }
            }
            rest = behind;
        }
        let piece = Arc::new(Buffer::recycled(joined, free));
        Ok(Self::slice(&piece, 0..length))
    }
}

/// Consecutive bytes of a file, and where they are stored.
#[derive(Debug)]
pub(super) enum BlockBytes {
    Memory(Bytes),
    Disk {
        file: Arc<QuotaFile>,
        /// Their offset in the local file.
        from: u64,
        length: usize,
    },
    /// In the persistent cache.
    Cached {
        file: Arc<CachedFile>,
        /// Their offset in the file.
        from: u64,
        length: usize,
    },
}

impl BlockBytes {
    fn len(&self) -> usize {
        match self {
            Self::Memory(bytes) => bytes.len(),
            Self::Disk { length, .. } | Self::Cached { length, .. } => *length,
        }
    }
}

/// Bytes on the local disk that cannot be read.
#[derive(Debug)]
pub(super) enum UnreadableBlock {
    /// Those of this local file.
    Local {
        file: Arc<QuotaFile>,
        error: io::Error,
    },
    /// These of the persistent cache, which are damaged.
    Cached {
        file: Arc<CachedFile>,
        ranges: Vec<Range<u64>>,
    },
}

/// Bytes of a local file, to be put into the persistent cache.
pub(super) struct LocalPiece {
    pub(super) file: Arc<QuotaFile>,
    /// Their offset in the local file.
    pub(super) from: u64,
    pub(super) length: u64,
}

/// One part in this many of the bytes of a local file counts as memory.
const COUNTED: usize = 8;
/// Bytes read at a time from a local file for the cache.
const COPIED: u64 = 256 << 10;

impl FillPiece for Bytes {
    fn memory(&self) -> usize {
        self.len()
    }

    fn read(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        take(self);
        Ok(())
    }
}

impl FillPiece for LocalPiece {
    /// The bytes are on the local disk. A share of them counts, because their file cannot be closed
    /// before they are copied.
    fn memory(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX) / COUNTED
    }

    fn read(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; self.length.min(COPIED) as usize];
        let mut done = 0;
        while done < self.length {
            let some = (self.length - done).min(COPIED) as usize;
            let piece = buffer.get_mut(..some).unwrap_or_default();
            self.file.file().read_exact_at(piece, self.from + done)?;
            take(piece);
            done += some as u64;
        }
        Ok(())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(buffer: Vec<u8>) -> Self {
        Self {
            range: 0..buffer.len(),
            piece: Arc::new(Buffer::from(buffer)),
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let range = self.range.clone();
        self.piece.buffer.get(range).unwrap_or_default()
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}

/// A buffer that is no longer written to.
#[derive(Default)]
pub(super) struct Buffer {
    buffer: Vec<u8>,
    /// The pool that receives the buffer after its last reader.
    home: Option<Arc<BufferPool>>,
}

impl Buffer {
    /// Wraps a filled `buffer` that was taken from `home`.
    pub(super) fn recycled(buffer: Vec<u8>, home: &Arc<BufferPool>) -> Self {
        Self {
            buffer,
            home: Some(Arc::clone(home)),
        }
    }

    /// Copies `bytes` into a buffer of exactly their size.
    pub(super) fn copied(bytes: &[u8]) -> Self {
        Self::from(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(buffer: Vec<u8>) -> Self {
        Self { buffer, home: None }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.buffer.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give(std::mem::take(&mut self.buffer));
        }
    }
}

/// A pool of buffers for reuse. Its lock is the innermost: no other lock is taken under it.
pub(super) struct BufferPool {
    buffers: Mutex<Vec<Vec<u8>>>,
    /// Maximum number of bytes kept. Buffers beyond it are freed.
    limit: usize,
}

impl BufferPool {
    /// Creates a pool that keeps at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            buffers: Mutex::default(),
            limit,
        }
    }

    /// Returns an initialised buffer of at least `size` bytes.
    pub(super) fn take(&self, size: usize) -> Vec<u8> {
        if size < KEPT_FROM {
            return vec![0; size];
        }
        // A smaller buffer dates from before the requests grew, and is of no more use.
        while let Some(buffer) = self.lock().pop() {
            if buffer.len() >= size {
                return buffer;
            }
        }
        vec![0; size]
    }

    /// Puts a buffer that is no longer needed back into the pool.
    pub(super) fn give(&self, buffer: Vec<u8>) {
        if buffer.len() < KEPT_FROM {
            return;
        }
        let mut buffers = self.lock();
        let held: usize = buffers.iter().map(Vec::len).sum();
        if held + buffer.len() <= self.limit {
            buffers.push(buffer);
        }
    }

    /// Frees all buffers.
    pub(super) fn clear(&self) {
        let buffers = std::mem::take(&mut *self.lock());
        drop(buffers);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_last_reader_is_gone() {
        let free = Arc::new(BufferPool::new(1 << 20));
        let mut buffer = free.take(KEPT_FROM);
        buffer[0] = 7;
        let piece = Arc::new(Buffer::recycled(buffer, &free));
        let bytes = Bytes::slice(&piece, 0..1);
        drop(piece);
        assert_eq!(*bytes, [7]);
        assert!(free.lock().is_empty(), "still read by `bytes`");
        drop(bytes);
        assert_eq!(free.lock().len(), 1);
        assert_eq!(free.take(KEPT_FROM)[0], 7, "not zeroed again");
    }

    #[test]
    fn the_free_list_is_bounded() {
        let free = BufferPool::new(3 * KEPT_FROM);
        for _ in 0..5 {
            free.give(vec![0; KEPT_FROM]);
        }
        assert_eq!(free.lock().len(), 3);
        assert_eq!(free.take(2 * KEPT_FROM).len(), 2 * KEPT_FROM);
        assert!(free.lock().is_empty(), "too small for today's requests");
    }

    #[test]
    fn one_part_is_shared_and_several_are_joined() {
        let one = Bytes::from(b"hello ".to_vec());
        let free = Arc::new(BufferPool::new(0));
        let alone = Bytes::load(vec![BlockBytes::Memory(one.clone())], &free).unwrap();
        assert!(Arc::ptr_eq(&one.piece, &alone.piece));
        let file = Arc::new(QuotaFile::unaccounted());
        file.file().write_all_at(b"the world", 0).unwrap();
        let (from, length) = (4, 5);
        let two = BlockBytes::Disk { file, from, length };
        let joined = Bytes::load(vec![BlockBytes::Memory(one), two], &free).unwrap();
        assert_eq!(&*joined, b"hello world");
        assert!(Bytes::load(Vec::new(), &free).unwrap().is_empty());
    }
}
