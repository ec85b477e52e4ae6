//! An open entry: the file that holds the blocks of one version of a remote file.
//!
//! ```text
//! files/HHH/REST          at most one block: header, slot, data
//! files/HHH/REST.m        more: header and slots
//! files/HHH/REST.NONCE    sparse, exactly as long as the remote file: data
//! ```
//!
//! HHH and REST are the hash of the remote path. An entry appears with rename(2) and disappears
//! with unlink(2), so processes that share a cache need no lock: who has it open keeps what it
//! opened. Data is written before its slot, and neither is synced: after a power cut the checksums
//! do not match. Every read checks them.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::block::{self, BLOCK, BlockSlot, SLOT};
use super::header::{EntryHeader, MOST_HEADER};
use super::place::CacheDir;
use super::verified::{DataStamp, VerifiedFiles};
use crate::ftp::{RemotePath, Version};
use crate::sys::private_files::{NO_LINK, PRIVATE_FILE, new_directories};

/// Follows the name of the file with header and slots.
pub(super) const SLOTS_SUFFIX: &str = ".m";

/// Number of digits of the hash that name the folder.
const FOLDER_DIGITS: usize = 3;
/// Number of bytes of the hash.
const HASH_BYTES: usize = 16;

/// Bytes read first, which hold the header unless the path is long.
const FIRST_READ: usize = 4 << 10;
/// Bytes of slots read at a time.
const SLOTS_READ: u64 = 64 << 10;

/// After this time, the use of an entry is recorded again.
const USED_AGAIN: Duration = Duration::from_secs(3600);

/// An open entry. Its blocks are checked whenever they are read.
#[derive(Debug)]
pub(crate) struct CachedFile {
    header: EntryHeader,
    /// Offset of the first slot.
    slots_at: u64,
    /// The file with header and slots.
    slots: File,
    data: EntryData,
    path: PathBuf,
    /// Where it is recorded which blocks matched.
    verified: Option<Arc<Mutex<VerifiedFiles>>>,
}

/// Where the data is.
#[derive(Debug)]
enum EntryData {
    /// In the same file, from this offset on.
    Behind(u64),
    /// In a file of its own.
    Beside(File),
}

/// Blocks whose bytes are not those that were stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DamagedBlocks {
    /// Their bytes, in order.
    pub(crate) ranges: Vec<Range<u64>>,
}

/// Returns the folder and the rest of the name for what is stored of the remote file `path`.
pub(super) fn hashed_name(path: &RemotePath) -> (String, String) {
    let mut digits = String::with_capacity(HASH_BYTES * 2);
    for byte in Sha256::digest(path.as_bytes()).iter().take(HASH_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
    }
    let rest = digits.split_off(FOLDER_DIGITS.min(digits.len()));
    (digits, rest)
}

/// The paths of an entry.
#[derive(Debug, Clone)]
pub(super) struct EntryName {
    folder: PathBuf,
    rest: String,
}

impl EntryName {
    /// Returns the name of the entry for the remote file `path`.
    pub(super) fn of(directory: &CacheDir, path: &RemotePath) -> Self {
        let (folder, rest) = hashed_name(path);
        Self {
            folder: directory.files().join(folder),
            rest,
        }
    }

    /// The folder that the files of the entry are in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of an entry of at most one block.
    pub(super) fn whole(&self) -> PathBuf {
        self.folder.join(&self.rest)
    }

    /// The file with header and slots of a larger entry.
    pub(super) fn slots(&self) -> PathBuf {
        self.folder.join(format!("{}{SLOTS_SUFFIX}", self.rest))
    }

    /// The file with the data of a larger entry.
    pub(super) fn data(&self, nonce: u64) -> PathBuf {
        self.folder
            .join(format!("{}.{}", self.rest, data_suffix(nonce)))
    }

    /// Removes the entry, if there is one.
    pub(super) fn remove(&self) {
        let large = read_header(&self.slots()).ok().flatten();
        // Slots go before the data, so that no entry without data is opened.
        for path in [self.slots(), self.whole()] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                log::debug!("cannot remove {}: {error}", path.display());
            }
        }
        if let Some((header, _, _)) = large {
            let _ = fs::remove_file(self.data(header.nonce));
        }
    }
}

impl CachedFile {
    /// Opens the entry of the remote file `path` if it has the contents of `version`.
    ///
    /// # Errors
    /// The local disk failed.
    pub(super) fn open(
        directory: &CacheDir,
        path: &RemotePath,
        version: &Version,
    ) -> io::Result<Option<Self>> {
        let Some(size) = version.size else {
            return Ok(None);
        };
        let name = EntryName::of(directory, path);
        let is_small = size <= BLOCK;
        let at = if is_small { name.whole() } else { name.slots() };
        let Some((header, slots_at, slots)) = read_header(&at)? else {
            return Ok(None);
        };
        if !header.serves(path, version) {
            return Ok(None);
        }
        let data = if is_small {
            let data_at = slots_at + SLOT;
            if slots.metadata()?.len() != data_at + size {
                return Ok(None);
            }
            EntryData::Behind(data_at)
        } else {
            let data = match open_private(&name.data(header.nonce)) {
                Ok(data) => data,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            let all_slots = slots_at + block::count(size) * SLOT;
            if data.metadata()?.len() != size || slots.metadata()?.len() != all_slots {
                return Ok(None);
            }
            EntryData::Beside(data)
        };
        let opened = Self {
            header,
            slots_at,
            slots,
            data,
            path: at,
            verified: None,
        };
        opened.used();
        Ok(Some(opened))
    }

    /// Creates an entry without blocks for a file of more than one block. It replaces the one of
    /// another version.
    ///
    /// # Errors
    /// The local disk failed or is full.
    pub(super) fn create(directory: &CacheDir, header: EntryHeader) -> io::Result<Self> {
        let name = EntryName::of(directory, &header.path);
        new_directories(&name.folder).map_err(|error| error.source)?;
        let replaced = read_header(&name.slots()).ok().flatten();
        let data_path = name.data(header.nonce);
        let data = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&data_path)?;
        let encoded = header.encode();
        let made = data.set_len(header.size).and_then(|()| {
            let mut slots = tempfile::NamedTempFile::new_in(directory.temporary())?;
            slots.write_all(&encoded)?;
            let length = encoded.len() as u64 + block::count(header.size) * SLOT;
            slots.as_file().set_len(length)?;
            slots.persist(name.slots()).map_err(|error| error.error)
        });
        let slots = made.inspect_err(|_| drop(fs::remove_file(&data_path)))?;
        if let Some((replaced, _, _)) = replaced {
            let _ = fs::remove_file(name.data(replaced.nonce));
        }
        let _ = fs::remove_file(name.whole());
        Ok(Self {
            slots_at: encoded.len() as u64,
            header,
            slots,
            data: EntryData::Beside(data),
            path: name.slots(),
            verified: None,
        })
    }

    /// Creates the entry of a file of at most one block, which contains `bytes`. It replaces the
    /// one of another version.
    ///
    /// # Errors
    /// The local disk failed or is full.
    pub(super) fn create_whole(
        directory: &CacheDir,
        header: EntryHeader,
        bytes: &[u8],
    ) -> io::Result<Self> {
        let name = EntryName::of(directory, &header.path);
        new_directories(&name.folder).map_err(|error| error.source)?;
        let mut entry = header.encode();
        let slots_at = entry.len() as u64;
        entry.extend(BlockSlot::of(header.nonce, 0, bytes).encode(header.nonce, 0));
        entry.extend(bytes);
        let mut file = tempfile::NamedTempFile::new_in(directory.temporary())?;
        file.write_all(&entry)?;
        let replaced = read_header(&name.slots()).ok().flatten();
        let slots = file.persist(name.whole()).map_err(|error| error.error)?;
        if let Some((replaced, _, _)) = replaced {
            let _ = fs::remove_file(name.slots());
            let _ = fs::remove_file(name.data(replaced.nonce));
        }
        Ok(Self {
            header,
            slots_at,
            slots,
            data: EntryData::Behind(slots_at + SLOT),
            path: name.whole(),
            verified: None,
        })
    }

    /// Whether it has the contents of `version` of the file `path`.
    pub(crate) fn serves(&self, path: &RemotePath, version: &Version) -> bool {
        self.header.serves(path, version)
    }

    /// Returns the size of the remote file in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.header.size
    }

    /// Returns the bytes that are there, in order. Their checksums are not compared yet.
    ///
    /// # Errors
    /// The local disk failed.
    pub(crate) fn present(&self) -> io::Result<Vec<Range<u64>>> {
        let mut present = Vec::new();
        let mut buffer = vec![0; SLOTS_READ as usize];
        let count = block::count(self.header.size);
        let mut first = 0;
        while first < count {
            let some = (SLOTS_READ / SLOT).min(count - first);
            let stored = buffer.get_mut(..(some * SLOT) as usize).unwrap_or_default();
            self.read_slots(first, stored)?;
            let indices = stored.chunks(SLOT as usize).zip(first..);
            present.extend(indices.filter_map(|(slot, index)| {
                BlockSlot::decode(self.header.nonce, index, slot).map(|_| index)
            }));
            first += some;
        }
        Ok(block::runs(present, self.header.size))
    }

    /// Whether the block `index` is there.
    ///
    /// # Errors
    /// The local disk failed.
    pub(super) fn has(&self, index: u64) -> io::Result<bool> {
        let mut slot = [0; SLOT as usize];
        self.read_slots(index, &mut slot)?;
        Ok(BlockSlot::decode(self.header.nonce, index, &slot).is_some())
    }

    /// Whether all bytes are there. Their checksums are not compared yet.
    pub(crate) fn is_whole(&self) -> bool {
        let is_all = |present: Vec<Range<u64>>| present.first() == Some(&(0..self.header.size));
        self.present().is_ok_and(is_all)
    }

    /// Reads the bytes at `offset` into `buffer`, all of which must be there. Checks every block.
    ///
    /// # Errors
    /// The blocks that are absent or damaged. They count as absent from then on.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DamagedBlocks> {
        let end = offset.saturating_add(buffer.len() as u64);
        let (first, last) = (offset / BLOCK, end.saturating_sub(1) / BLOCK);
        let mut stored = vec![0; ((last - first + 1) * SLOT) as usize];
        if end > self.header.size || self.read_slots(first, &mut stored).is_err() {
            let ranges = block::runs(first..=last, self.header.size);
            return Err(DamagedBlocks { ranges });
        }
        let stamp = self.verified.as_ref().and_then(|_| self.stamp());
        let mut damaged = Vec::new();
        let mut scratch = Vec::new();
        let mut rest = buffer;
        for (slot, index) in stored.chunks(SLOT as usize).zip(first..=last) {
            let block = block::range_of(index, self.header.size);
            let wanted = block.start.max(offset)..block.end.min(end);
            let length = (wanted.end - wanted.start) as usize;
            let (piece, behind) = rest.split_at_mut(length.min(rest.len()));
            let is_whole = wanted == block;
            let bytes = if is_whole {
                &mut *piece
            } else {
                scratch.resize((block.end - block.start) as usize, 0);
                scratch.as_mut_slice()
            };
            let slot = BlockSlot::decode(self.header.nonce, index, slot);
            let is_right = slot.is_some_and(|slot| {
                self.read_data(block.start, bytes).is_ok()
                    && BlockSlot::of(self.header.nonce, index, bytes) == slot
            });
            if !is_right {
                self.lose(index);
                damaged.push(index);
            } else if !is_whole {
                let from = (wanted.start - block.start) as usize;
                let found = scratch.get(from..from + length).unwrap_or_default();
                if found.len() == piece.len() {
                    piece.copy_from_slice(found);
                }
            }
            rest = behind;
        }
        if damaged.is_empty() {
            if let (Some(verified), Some(stamp)) = (&self.verified, stamp) {
                let count = block::count(self.header.size);
                let mut verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
                verified.record(self.header.nonce, stamp, count, first..=last);
            }
            return Ok(());
        }
        let ranges = block::runs(damaged, self.header.size);
        Err(DamagedBlocks { ranges })
    }

    /// Records in `files` which blocks match when they are read.
    pub(super) fn verifying(mut self, files: &Arc<Mutex<VerifiedFiles>>) -> Self {
        self.verified = Some(Arc::clone(files));
        self
    }

    /// Whether every block is there and was read and verified, and the data has not changed since.
    pub(super) fn is_verified(&self) -> bool {
        let Some(stamp) = self.stamp() else {
            return false;
        };
        let is_known = |verified: &VerifiedFiles| verified.is_whole(self.header.nonce, stamp);
        // Another mount may have found damage.
        self.with_verified(is_known).unwrap_or_default() && self.is_whole()
    }

    /// Whether some block was read and verified.
    pub(super) fn is_partly_verified(&self) -> bool {
        let is_known = |verified: &VerifiedFiles| verified.knows(self.header.nonce);
        self.with_verified(is_known).unwrap_or_default()
    }

    /// Returns the file with the data, which is exactly as long as the remote file. `None` if the
    /// data is behind a header.
    pub(crate) fn data(&self) -> Option<&File> {
        match &self.data {
            EntryData::Behind(_) => None,
            EntryData::Beside(data) => Some(data),
        }
    }

    /// Removes the name of the data file, which this process will make longer, so that it is no
    /// longer a part of the cache. Returns whether it is as long as the remote file was.
    pub(crate) fn take_data(&self) -> bool {
        self.forget_verified();
        let _ = fs::remove_file(self.path.with_extension(data_suffix(self.header.nonce)));
        let length = self.data().and_then(|data| data.metadata().ok());
        length.is_some_and(|about| about.len() == self.header.size)
    }

    fn with_verified<T>(&self, look: impl FnOnce(&VerifiedFiles) -> T) -> Option<T> {
        let verified = self.verified.as_ref()?.lock();
        Some(look(&verified.unwrap_or_else(PoisonError::into_inner)))
    }

    /// Makes the next reading of the entry verify it again.
    pub(crate) fn forget_verified(&self) {
        if let Some(verified) = &self.verified {
            let mut verified = verified.lock().unwrap_or_else(PoisonError::into_inner);
            verified.forget(self.header.nonce);
        }
    }

    fn stamp(&self) -> Option<DataStamp> {
        let about = self.data()?.metadata().ok()?;
        Some(DataStamp {
            device: about.dev(),
            inode: about.ino(),
            length: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }

    /// Makes all blocks absent, because many are damaged. The entry itself stays, so that transfers
    /// that add to it do not write to a file without a name.
    pub(crate) fn discard(&self) {
        log::info!("what the cache has of {} is damaged", self.header.path);
        self.make_absent(0..block::count(self.header.size));
    }

    /// Writes the bytes of the block `index`, and returns the slot that makes it present.
    ///
    /// # Errors
    /// The local disk failed or is full.
    pub(super) fn write(&self, index: u64, bytes: &[u8]) -> io::Result<BlockSlot> {
        match &self.data {
            EntryData::Behind(_) => return Err(io::ErrorKind::Unsupported.into()),
            EntryData::Beside(data) => data.write_all_at(bytes, index * BLOCK)?,
        }
        Ok(BlockSlot::of(self.header.nonce, index, bytes))
    }

    /// Makes blocks present, whose bytes were written.
    ///
    /// # Errors
    /// The local disk failed or is full.
    pub(super) fn confirm(&self, slots: &[(u64, BlockSlot)]) -> io::Result<()> {
        let mut run: Vec<u8> = Vec::new();
        let mut first = 0;
        for (index, slot) in slots {
            if !run.is_empty() && first + run.len() as u64 / SLOT != *index {
                self.slots.write_all_at(&run, self.slot_at(first))?;
                run.clear();
            }
            if run.is_empty() {
                first = *index;
            }
            run.extend(slot.encode(self.header.nonce, *index));
        }
        self.slots.write_all_at(&run, self.slot_at(first))
    }

    /// Returns the bytes that the data takes on the local disk.
    pub(super) fn stored(&self) -> u64 {
        let file = match &self.data {
            EntryData::Behind(_) => &self.slots,
            EntryData::Beside(data) => data,
        };
        file.metadata().map_or(0, |about| about.blocks() * 512)
    }

    /// Makes the block `index` absent.
    fn lose(&self, index: u64) {
        log::info!(
            "block {index} of {} in the cache is damaged, and is fetched again",
            self.header.path
        );
        self.make_absent(index..index + 1);
    }

    fn make_absent(&self, blocks: Range<u64>) {
        self.forget_verified();
        let is_written = match &self.data {
            EntryData::Behind(_) => Err(io::ErrorKind::Unsupported.into()),
            EntryData::Beside(_) => self.clear_slots(blocks),
        };
        if let Err(error) = is_written {
            log::debug!("{} is removed: {error}", self.path.display());
            let _ = fs::remove_file(&self.path);
        }
    }

    fn clear_slots(&self, blocks: Range<u64>) -> io::Result<()> {
        let absent = vec![0; SLOTS_READ as usize];
        let (mut at, end) = (self.slot_at(blocks.start), self.slot_at(blocks.end));
        while at < end {
            let length = (end - at).min(SLOTS_READ);
            let piece = absent.get(..length as usize).unwrap_or_default();
            self.slots.write_all_at(piece, at)?;
            at += length;
        }
        Ok(())
    }

    fn read_slots(&self, first: u64, stored: &mut [u8]) -> io::Result<()> {
        self.slots.read_exact_at(stored, self.slot_at(first))
    }

    fn read_data(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.data {
            EntryData::Behind(at) => self.slots.read_exact_at(bytes, at + offset),
            EntryData::Beside(data) => data.read_exact_at(bytes, offset),
        }
    }

    fn slot_at(&self, index: u64) -> u64 {
        self.slots_at + index * SLOT
    }

    /// Records that the entry was used: what was used least recently is removed first.
    fn used(&self) {
        let now = SystemTime::now();
        let modified = self.slots.metadata().and_then(|about| about.modified());
        let is_recent =
            modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age < USED_AGAIN));
        if !is_recent && let Err(error) = self.slots.set_modified(now) {
            log::debug!("cannot touch {}: {error}", self.path.display());
        }
    }
}

fn data_suffix(nonce: u64) -> String {
    format!("{nonce:016x}")
}

/// Returns a random number for a new entry.
pub(super) fn new_nonce() -> u64 {
    RandomState::new().hash_one(SystemTime::now())
}

/// Reads the header of an entry. `None` if there is no entry or it is damaged.
pub(super) fn read_header(path: &Path) -> io::Result<Option<(EntryHeader, u64, File)>> {
    let file = match open_private(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; FIRST_READ];
    let count = read_up_to(&file, &mut bytes)?;
    let mut parsed = EntryHeader::decode(bytes.get(..count).unwrap_or_default());
    if parsed.is_none() && count == FIRST_READ {
        bytes.resize(MOST_HEADER, 0);
        let count = read_up_to(&file, &mut bytes)?;
        parsed = EntryHeader::decode(bytes.get(..count).unwrap_or_default());
    }
    Ok(parsed.map(|(header, length)| (header, length, file)))
}

/// Reads from the start of `file` until its end or until `buffer` is full.
fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(NO_LINK | OFlags::NONBLOCK.bits() as i32)
        .open(path)
}

#[cfg(test)]
mod tests;
