//! Inode numbers that survive the mount (`-o export`): file handles of NFS clients contain them.
//!
//! | file | contents |
//! |---|---|
//! | `inodes/HASH` | a record of 32 bytes per number: its directory, its name, its generation |
//! | `inodes/HASH.names` | the names, one after the other |
//!
//! HASH is that of the mounted directory's path, on which the meaning of number 1 depends. A number
//! is never given twice. A rename overwrites the record in place, a removal marks it. What damage
//! makes unreadable stands for nothing, and the file gets another number.
//!
//! Opening reads the header and the lengths. The first search for a name reads all records into an
//! index in memory, 8 bytes a place; the names stay on the disk.

mod index;
mod record;

use std::fmt::Write as _;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::entry::new_nonce;
use super::{CacheDir, DiskCacheError};
use crate::ftp::RemotePath;
use crate::sys::private_files::{open_or_create, private_directories};
use index::NumberIndex;
use record::{NumberRecord, NumberState, NumbersHeader, RECORD};

/// Follows the name of the records in the name of the file of names.
const NAMES: &str = ".names";

/// Number of bytes of the hash in a file's name.
const HASH_BYTES: usize = 8;

/// The first number: 1 is the root, and 0 none.
const FIRST: u64 = 2;

/// Number of records that are read in one piece.
const PIECE: usize = 2048;

/// Why inode numbers cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NumbersError {
    /// Two mounts would give the same number to different files.
    #[error(
        "another mount of this directory uses the inode numbers in {}: unmount it first, or set another cache_dir",
        _0.display()
    )]
    InUse(PathBuf),
    /// The files cannot be used.
    #[error(transparent)]
    Disk(#[from] DiskCacheError),
}

/// The numbers of the files below one mounted directory.
#[derive(Debug)]
pub(crate) struct InodeNumbers {
    /// Locked while the numbers are in use.
    records: File,
    names: File,
    header: NumbersHeader,
    /// The number that the next new name gets.
    next: u64,
    /// Where the next name is appended.
    names_end: u64,
    /// Made when a name is looked for the first time.
    index: Option<NumberIndex>,
    generations: RandomState,
    /// Whether the user knows that the disk fails.
    has_warned: bool,
}

/// A number and its generation. Together they never stand for another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GivenNumber {
    pub(crate) number: u64,
    pub(crate) generation: u32,
}

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NumberedName {
    /// The number of its directory.
    pub(crate) parent: u64,
    /// Its name there.
    pub(crate) name: Vec<u8>,
    pub(crate) is_directory: bool,
    pub(crate) generation: u32,
}

impl InodeNumbers {
    /// Opens the numbers of the files below `root`, or begins new ones if there are none or their
    /// header is damaged.
    ///
    /// # Errors
    /// Another mount uses them, or the disk failed.
    pub(crate) fn open(directory: &CacheDir, root: &RemotePath) -> Result<Self, NumbersError> {
        let folder = directory.numbers();
        private_directories(&folder).map_err(DiskCacheError::from)?;
        let mut name = String::new();
        for byte in Sha256::digest(root.as_bytes()).iter().take(HASH_BYTES) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        let path = folder.join(&name);
        let failed = |source| DiskCacheError {
            path: path.clone(),
            source,
        };
        let records = open_or_create(&path).map_err(failed)?;
        match records.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(NumbersError::InUse(path)),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error).into()),
        }
        let names = open_or_create(&folder.join(name + NAMES)).map_err(failed)?;
        Ok(Self::of_files(records, names, root).map_err(failed)?)
    }

    fn of_files(records: File, names: File, root: &RemotePath) -> io::Result<Self> {
        let wanted = NumbersHeader::new(new_nonce(), root.as_bytes());
        let length = records.metadata()?.len();
        let mut bytes = [0; RECORD];
        let found = if length >= RECORD as u64 {
            records.read_exact_at(&mut bytes, 0)?;
            NumbersHeader::decode(&bytes).filter(|found| found.root == wanted.root)
        } else {
            None
        };
        if found.is_none() {
            if length > 0 {
                log::warn!(
                    "the stored inode numbers are damaged: NFS clients see stale file handles"
                );
            }
            records.set_len(0)?;
            names.set_len(0)?;
            records.write_all_at(&wanted.encode(), 0)?;
        }
        Ok(Self {
            // An incomplete record at the end is never read, and its number not given again.
            next: records.metadata()?.len().div_ceil(RECORD as u64).max(FIRST),
            names_end: names.metadata()?.len(),
            records,
            names,
            header: found.unwrap_or(wanted),
            index: None,
            generations: RandomState::new(),
            has_warned: false,
        })
    }

    /// Returns the number of `name` in the directory `parent`. A name without a number, or one that
    /// stood for another kind of file, gets a new one, which is stored.
    pub(crate) fn number_of(
        &mut self,
        parent: u64,
        name: &[u8],
        is_directory: bool,
    ) -> GivenNumber {
        let state = if is_directory {
            NumberState::Directory
        } else {
            NumberState::File
        };
        if let Some((number, record)) = self.find(parent, name) {
            if record.state == state {
                return GivenNumber {
                    number: number.into(),
                    generation: record.generation,
                };
            }
            self.mark_removed(number, record);
        }
        let number = self.next;
        self.next += 1;
        // Numbers that the kernel truncates to 32 bits; 0 is the root's.
        let generation = (self.generations.hash_one(number) as u32).max(1);
        if let Err(error) = self.store(number, generation, state, (parent, name)) {
            self.warn(&error);
        }
        GivenNumber { number, generation }
    }

    /// Returns what `number` stands for. `None` if it was never given, if its file was removed, or
    /// if the record or the name is damaged.
    pub(crate) fn read(&self, number: u64) -> Option<NumberedName> {
        let number = u32::try_from(number).ok()?;
        let record = self.record(number)?;
        if record.state == NumberState::Removed {
            return None;
        }
        Some(NumberedName {
            parent: record.parent.into(),
            name: self.name(number, &record)?,
            is_directory: record.state == NumberState::Directory,
            generation: record.generation,
        })
    }

    /// Makes `number` stand for nothing, for ever.
    pub(crate) fn remove(&mut self, number: u64) {
        if let Ok(number) = u32::try_from(number)
            && let Some(record) = self.record(number)
        {
            self.mark_removed(number, record);
        }
    }

    /// Makes the number of `name` in `parent` stand for nothing, for ever.
    pub(crate) fn remove_name(&mut self, parent: u64, name: &[u8]) {
        if let Some((number, record)) = self.find(parent, name) {
            self.mark_removed(number, record);
        }
    }

    /// Makes the number of `from` stand for `to`, and that of the previous `to` for nothing.
    pub(crate) fn rename(&mut self, from: (u64, &[u8]), to: (u64, &[u8])) {
        let moved = self.find(from.0, from.1);
        if let Some((replaced, record)) = self.find(to.0, to.1)
            && moved.is_none_or(|(number, _)| number != replaced)
        {
            self.mark_removed(replaced, record);
        }
        let Some((number, record)) = moved else {
            return;
        };
        if let Some(index) = &mut self.index {
            index.remove(record.tag, number);
        }
        if let Err(error) = self.store(number.into(), record.generation, record.state, to) {
            // It must not stand for the next file with the old name.
            self.mark_removed(number, record);
            self.warn(&error);
        }
    }

    /// Stores that `number` stands for this name in this directory.
    fn store(
        &mut self,
        number: u64,
        generation: u32,
        state: NumberState,
        (parent, name): (u64, &[u8]),
    ) -> io::Result<()> {
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let number = u32::try_from(number).map_err(too_large)?;
        let parent = u32::try_from(parent).map_err(too_large)?;
        let record = NumberRecord {
            generation,
            tag: self.header.tag(parent, name),
            parent,
            state,
            length: u16::try_from(name.len()).map_err(too_large)?,
            offset: self.names_end,
            name: self.header.name_checksum(number, name),
        };
        self.names.write_all_at(name, self.names_end)?;
        self.names_end += name.len() as u64;
        self.write(number, &record)?;
        if let Some(index) = &mut self.index {
            index.insert(record.tag, number);
        }
        Ok(())
    }

    fn mark_removed(&mut self, number: u32, record: NumberRecord) {
        if let Some(index) = &mut self.index {
            index.remove(record.tag, number);
        }
        let state = NumberState::Removed;
        if let Err(error) = self.write(number, &NumberRecord { state, ..record }) {
            self.warn(&error);
        }
    }

    /// Returns the number of `name` in `parent` and its record.
    fn find(&mut self, parent: u64, name: &[u8]) -> Option<(u32, NumberRecord)> {
        let parent = u32::try_from(parent).ok()?;
        if self.index.is_none() {
            match self.read_index() {
                Ok(index) => self.index = Some(index),
                Err(error) => self.warn(&error),
            }
        }
        let tag = self.header.tag(parent, name);
        self.index.as_ref()?.find(tag).find_map(|number| {
            let record = self.record(number)?;
            let is_same = record.parent == parent
                && record.state != NumberState::Removed
                && usize::from(record.length) == name.len()
                && self.name(number, &record)? == name;
            is_same.then_some((number, record))
        })
    }

    /// Reads all records.
    fn read_index(&self) -> io::Result<NumberIndex> {
        let count = usize::try_from(self.next).unwrap_or(usize::MAX);
        let mut index = NumberIndex::with_capacity(count);
        let mut records = io::BufReader::with_capacity(PIECE * RECORD, &self.records);
        records.seek(SeekFrom::Start(FIRST * RECORD as u64))?;
        let mut bytes = [0; RECORD];
        for number in (FIRST..self.next).map_while(|number| u32::try_from(number).ok()) {
            match records.read_exact(&mut bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error),
            }
            if let Some(record) = NumberRecord::decode(&self.header, number, &bytes)
                && record.state != NumberState::Removed
            {
                index.insert(record.tag, number);
            }
        }
        Ok(index)
    }

    fn record(&self, number: u32) -> Option<NumberRecord> {
        if u64::from(number) < FIRST || u64::from(number) >= self.next {
            return None;
        }
        let mut bytes = [0; RECORD];
        self.records.read_exact_at(&mut bytes, at(number)).ok()?;
        NumberRecord::decode(&self.header, number, &bytes)
    }

    /// Returns the name of `number`, unless it is damaged.
    fn name(&self, number: u32, record: &NumberRecord) -> Option<Vec<u8>> {
        let mut name = vec![0; record.length.into()];
        self.names.read_exact_at(&mut name, record.offset).ok()?;
        (self.header.name_checksum(number, &name) == record.name).then_some(name)
    }

    fn write(&self, number: u32, record: &NumberRecord) -> io::Result<()> {
        let bytes = record.encode(&self.header, number);
        self.records.write_all_at(&bytes, at(number))
    }

    /// Reports the first failure of the disk.
    fn warn(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.has_warned, true) {
            log::warn!(
                "cannot store inode numbers: {error}; NFS clients will see stale file handles"
            );
        }
    }
}

/// Returns where the record of `number` is.
fn at(number: u32) -> u64 {
    u64::from(number) * RECORD as u64
}

#[cfg(test)]
mod tests;
