//! Counts what is in a cache, files and listings, and removes what was used least recently.
//!
//! One walk counts the bytes by age, in a histogram of a few hundred numbers for any size of
//! the cache. A second walk removes what is older than the cut. Only whole files are removed, by
//! unlink(2): who has one open keeps it.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::entry::{SLOTS_SUFFIX, read_header};
use super::header::EntryHeader;
use super::place::CacheDir;

/// Number of ages that a histogram tells apart. Each is a quarter longer than the one before, up to
/// some years.
const AGES: usize = 128;
/// Ages per doubling.
const PER_DOUBLING: f64 = 4.0;

/// Age after which a file that belongs to no entry is removed: another process may be writing it.
const LEFTOVER: Duration = Duration::from_secs(3600);

/// What is in a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct CacheContents {
    /// Number of remote files.
    pub(crate) files: u64,
    /// Number of listings of directories.
    pub(crate) listings: u64,
    /// Bytes on the local disk.
    pub(crate) bytes: u64,
}

/// Bytes by age.
#[derive(Debug)]
pub(super) struct AgeHistogram([u64; AGES]);

/// What the walk finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FoundKind {
    File,
    Listing,
    /// A part of an entry that a killed process has left.
    Leftover,
}

/// An entry or a listing as the walk finds it.
struct FoundEntry {
    kind: FoundKind,
    paths: Vec<PathBuf>,
    bytes: u64,
    /// Time since its last use.
    age: Duration,
}

impl CacheContents {
    fn add(&mut self, entry: &FoundEntry) {
        self.bytes += entry.bytes;
        self.files += u64::from(entry.kind == FoundKind::File);
        self.listings += u64::from(entry.kind == FoundKind::Listing);
    }

    /// Returns what is left after `removed` was removed.
    pub(super) fn without(self, removed: Self) -> Self {
        Self {
            files: self.files.saturating_sub(removed.files),
            listings: self.listings.saturating_sub(removed.listings),
            bytes: self.bytes.saturating_sub(removed.bytes),
        }
    }
}

impl AgeHistogram {
    fn new() -> Self {
        Self([0; AGES])
    }

    fn add(&mut self, age: Duration, bytes: u64) {
        if let Some(count) = self.0.get_mut(step_of(age)) {
            *count += bytes;
        }
    }

    /// Returns the step of the age from which on entries have at least `bytes` bytes together.
    fn cut(&self, bytes: u64) -> usize {
        let mut sum = 0;
        for (step, count) in self.0.iter().enumerate().rev() {
            sum += count;
            if sum >= bytes {
                return step;
            }
        }
        0
    }
}

fn step_of(age: Duration) -> usize {
    let steps = (age.as_secs_f64() + 1.0).log2() * PER_DOUBLING;
    (steps as usize).min(AGES - 1)
}

/// Counts what is in the cache.
///
/// # Errors
/// The local disk failed.
pub(super) fn count(directory: &CacheDir) -> io::Result<(CacheContents, AgeHistogram)> {
    let now = SystemTime::now();
    let (mut contents, mut histogram) = (CacheContents::default(), AgeHistogram::new());
    walk(directory, now, &mut |entry| {
        contents.add(&entry);
        if entry.kind != FoundKind::Leftover {
            histogram.add(entry.age, entry.bytes);
        }
        true
    })?;
    Ok((contents, histogram))
}

/// Removes at least `bytes` bytes of what was used least recently, and leftovers of killed
/// processes. Returns what was removed.
///
/// # Errors
/// The local disk failed.
pub(super) fn remove(
    directory: &CacheDir,
    histogram: &AgeHistogram,
    bytes: u64,
) -> io::Result<CacheContents> {
    let now = SystemTime::now();
    let cut = histogram.cut(bytes);
    let mut removed = CacheContents::default();
    remove_leftovers(directory, now)?;
    // The youngest step may hold much more than must go. What is clearly older goes first.
    for at_cut in [false, true] {
        walk(directory, now, &mut |entry| {
            let is_chosen = match entry.kind {
                FoundKind::Leftover => true,
                _ if at_cut => step_of(entry.age) == cut,
                _ => step_of(entry.age) > cut,
            };
            if is_chosen && (!at_cut || removed.bytes < bytes) {
                removed.add(&entry);
                unlink(&entry);
            }
            !at_cut || removed.bytes < bytes
        })?;
        if removed.bytes >= bytes {
            break;
        }
    }
    Ok(removed)
}

/// Removes everything. Returns what was removed.
///
/// # Errors
/// The local disk failed.
pub(super) fn clear(directory: &CacheDir) -> io::Result<CacheContents> {
    let mut removed = CacheContents::default();
    walk(directory, SystemTime::now(), &mut |entry| {
        removed.add(&entry);
        unlink(&entry);
        true
    })?;
    Ok(removed)
}

/// Removes all listings.
///
/// # Errors
/// The local disk failed.
pub(super) fn clear_listings(directory: &CacheDir) -> io::Result<()> {
    let now = SystemTime::now();
    let mut remove = |listing: FoundEntry| {
        unlink(&listing);
        true
    };
    walk_folders(&directory.listings(), &mut remove, |files| {
        listings_of(files, now)
    })?;
    Ok(())
}

/// Calls `visit` with the header of each entry.
///
/// # Errors
/// The local disk failed.
pub(super) fn visit_headers(
    directory: &CacheDir,
    visit: &mut dyn FnMut(EntryHeader),
) -> io::Result<()> {
    walk_files(directory, SystemTime::now(), &mut |entry| {
        // The first file has the header, unless it is a leftover.
        let header = entry.paths.first().map(|path| read_header(path));
        if let Some(Ok(Some((header, _, _)))) = header {
            visit(header);
        }
        true
    })?;
    Ok(())
}

fn unlink(entry: &FoundEntry) {
    for path in &entry.paths {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

fn remove_leftovers(directory: &CacheDir, now: SystemTime) -> io::Result<()> {
    for file in fs::read_dir(directory.temporary())?.flatten() {
        if file
            .metadata()
            .is_ok_and(|about| age_of(&about, now) > LEFTOVER)
        {
            let _ = fs::remove_file(file.path());
        }
    }
    Ok(())
}

/// Calls `visit` with every entry and every listing, until it returns false. They come and go
/// meanwhile.
fn walk(
    directory: &CacheDir,
    now: SystemTime,
    visit: &mut dyn FnMut(FoundEntry) -> bool,
) -> io::Result<()> {
    if walk_files(directory, now, visit)? {
        walk_folders(&directory.listings(), visit, |files| {
            listings_of(files, now)
        })?;
    }
    Ok(())
}

/// Like [`walk`], with entries only. Returns false if `visit` did.
fn walk_files(
    directory: &CacheDir,
    now: SystemTime,
    visit: &mut dyn FnMut(FoundEntry) -> bool,
) -> io::Result<bool> {
    walk_folders(&directory.files(), visit, |files| entries_of(files, now))
}

fn walk_folders(
    above: &Path,
    visit: &mut dyn FnMut(FoundEntry) -> bool,
    found: impl Fn(&mut dyn Iterator<Item = DirEntry>) -> Vec<FoundEntry>,
) -> io::Result<bool> {
    for folder in fs::read_dir(above)?.flatten() {
        let files = match fs::read_dir(folder.path()) {
            Ok(files) => files,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if !found(&mut files.flatten()).into_iter().all(&mut *visit) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the listings in the files `files`.
fn listings_of(files: &mut dyn Iterator<Item = DirEntry>, now: SystemTime) -> Vec<FoundEntry> {
    let listing = |file: DirEntry| {
        let about = file.metadata().ok()?;
        Some(FoundEntry {
            kind: FoundKind::Listing,
            paths: vec![file.path()],
            bytes: about.blocks() * 512,
            age: age_of(&about, now),
        })
    };
    files.filter_map(listing).collect()
}

/// Returns the entries whose files are `files`, all of one folder.
fn entries_of(files: &mut dyn Iterator<Item = DirEntry>, now: SystemTime) -> Vec<FoundEntry> {
    let mut found: HashMap<OsString, FoundEntry> = HashMap::new();
    for file in files {
        let Ok(about) = file.metadata() else {
            continue;
        };
        let name = file.file_name();
        let bytes = name.as_bytes();
        let dot = bytes.iter().position(|byte| *byte == b'.');
        let (rest, suffix) = bytes.split_at(dot.unwrap_or(bytes.len()));
        let entry = found
            .entry(std::ffi::OsStr::from_bytes(rest).to_owned())
            .or_insert_with(|| FoundEntry {
                kind: FoundKind::Leftover,
                paths: Vec::new(),
                bytes: 0,
                age: Duration::MAX,
            });
        let is_data = !suffix.is_empty() && suffix != SLOTS_SUFFIX.as_bytes();
        if !is_data {
            entry.kind = FoundKind::File;
            entry.age = age_of(&about, now);
        }
        // Slots go before the data, so that no entry without data is opened.
        let at = if is_data { entry.paths.len() } else { 0 };
        entry.paths.insert(at, file.path());
        entry.bytes += about.blocks() * 512;
    }
    let is_old = |entry: &FoundEntry| {
        // Data without slots may be of an entry that is being created.
        let newest = entry.paths.iter().filter_map(|path| path.metadata().ok());
        entry.kind == FoundKind::File
            || newest
                .map(|about| age_of(&about, now))
                .all(|age| age > LEFTOVER)
    };
    found.into_values().filter(is_old).collect()
}

fn age_of(about: &Metadata, now: SystemTime) -> Duration {
    let modified = about.modified().unwrap_or(now);
    now.duration_since(modified).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::block::BLOCK;
    use super::super::entry::{CachedFile, EntryName, new_nonce};
    use super::super::header::EntryHeader;
    use super::super::place::CachePlace;
    use super::*;
    use crate::ftp::{Precision, RemotePath, Version};

    fn path(number: u32) -> RemotePath {
        RemotePath::new(format!("/file {number}").as_bytes()).unwrap()
    }

    fn version(size: u64) -> Version {
        Version {
            size: Some(size),
            modified: Some((1, Precision::Second)),
            unique: 0,
        }
    }

    /// Adds an entry of two blocks that was used `age` ago.
    fn add(directory: &CacheDir, number: u32, age: Duration) {
        let version = version(2 * BLOCK);
        let header = EntryHeader::new(&path(number), &version, 0, new_nonce()).unwrap();
        let entry = CachedFile::create(directory, header).unwrap();
        let block = vec![number as u8; BLOCK as usize];
        let slots = [0, 1].map(|index| (index, entry.write(index, &block).unwrap()));
        entry.confirm(&slots).unwrap();
        entry.used_at(SystemTime::now() - age);
    }

    fn is_there(directory: &CacheDir, number: u32) -> bool {
        let opened = CachedFile::open(directory, &path(number), &version(2 * BLOCK));
        opened.unwrap().is_some()
    }

    #[test]
    fn what_was_used_least_recently_goes_first_and_no_more_than_needed() {
        let base = tempfile::tempdir().unwrap();
        let directory = CachePlace::of(base.path(), "a", "h", 1).open().unwrap();
        let hour = Duration::from_secs(3600);
        for number in 0..10 {
            add(&directory, number, hour * (1 << number));
        }
        let (contents, histogram) = count(&directory).unwrap();
        assert_eq!(contents.files, 10);
        assert!(contents.bytes >= 20 * BLOCK);
        let removed = remove(&directory, &histogram, contents.bytes / 10 * 3).unwrap();
        assert!((3..=4).contains(&removed.files), "{removed:?}");
        let left: Vec<_> = (0..10)
            .filter(|number| is_there(&directory, *number))
            .collect();
        assert_eq!(left, (0..10 - removed.files as u32).collect::<Vec<_>>());
        let counted = count(&directory).unwrap().0;
        assert_eq!(counted.bytes, contents.bytes - removed.bytes);
        assert_eq!(clear(&directory).unwrap(), counted);
        assert_eq!(count(&directory).unwrap().0, CacheContents::default());
    }

    #[test]
    fn entries_of_one_age_go_one_by_one() {
        let base = tempfile::tempdir().unwrap();
        let directory = CachePlace::of(base.path(), "a", "h", 1).open().unwrap();
        for number in 0..10 {
            add(&directory, number, Duration::ZERO);
        }
        let (contents, histogram) = count(&directory).unwrap();
        let removed = remove(&directory, &histogram, contents.bytes / 2).unwrap();
        assert_eq!(removed.files, 5);
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_when_they_are_old() {
        let base = tempfile::tempdir().unwrap();
        let directory = CachePlace::of(base.path(), "a", "h", 1).open().unwrap();
        add(&directory, 1, Duration::ZERO);
        let name = EntryName::of(&directory, &path(1));
        fs::remove_file(name.slots()).unwrap();
        let before = SystemTime::now() - 2 * LEFTOVER;
        let nothing = AgeHistogram::new();
        remove(&directory, &nothing, 0).unwrap();
        let folder = name.slots().parent().unwrap().to_owned();
        let files = || fs::read_dir(&folder).unwrap().count();
        assert_eq!(files(), 1, "an entry may be in the making");
        let data = fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
        let data = fs::File::options().write(true).open(data.path()).unwrap();
        data.set_modified(before).unwrap();
        remove(&directory, &nothing, 0).unwrap();
        assert_eq!(files(), 0);
    }
}
