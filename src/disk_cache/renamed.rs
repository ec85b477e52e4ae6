//! Entries of files that this mount renames, replaces or removes.
//!
//! A file that takes the name of another one may have the same size and time. So the entry of a
//! name goes before the server gives the name to another file: a process that is killed in between
//! leaves no entry. The entries of what was renamed follow afterwards.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use super::DiskCache;
use super::entry::{EntryName, read_header};
use super::header::EntryHeader;
use super::place::CacheDir;
use super::trim;
use crate::ftp::RemotePath;
use crate::sys::private_files::new_directories;

/// What is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RenamedKind {
    File,
    /// With everything below it.
    Directory,
}

/// Entries that follow a rename. Dropping it leaves them under the old names.
#[derive(Debug)]
#[must_use]
pub(crate) struct RenamedEntries {
    directory: CacheDir,
    /// Their old and new paths.
    paths: Vec<(RemotePath, RemotePath)>,
}

impl DiskCache {
    /// Removes the entry of the file `path`, whose contents are about to change or are gone. What
    /// transfers still bring of the old contents is not kept.
    pub(crate) fn forget(&self, path: &RemotePath) {
        self.end_fills(|filled| filled == path);
        EntryName::of(&self.directory, path).remove();
    }

    /// Prepares the rename of `from` to `to`: removes the entries of what `to` names, which the
    /// rename replaces or others have removed. For a directory, reads the headers of all entries.
    pub(crate) fn begin_rename(
        self: &Arc<Self>,
        from: &RemotePath,
        to: &RemotePath,
        kind: RenamedKind,
    ) -> RenamedEntries {
        let mut paths = Vec::new();
        match kind {
            RenamedKind::File => {
                self.end_fills(|filled| filled == from || filled == to);
                EntryName::of(&self.directory, to).remove();
                paths.push((from.clone(), to.clone()));
            }
            RenamedKind::Directory => {
                let is_below = |path: &RemotePath, above: &RemotePath| path.below(above).is_some();
                self.end_fills(|filled| is_below(filled, from) || is_below(filled, to));
                let found = trim::visit_headers(&self.directory, &mut |header| {
                    let path = header.path;
                    if let Some(renamed) = path.rebased(from, to) {
                        paths.push((path, renamed));
                    } else if is_below(&path, to) {
                        EntryName::of(&self.directory, &path).remove();
                    }
                });
                if let Err(error) = found {
                    log::debug!("cannot read the cache for the rename of {from}: {error}");
                }
            }
        }
        RenamedEntries {
            directory: self.directory.clone(),
            paths,
        }
    }
}

impl RenamedEntries {
    /// Gives the entries their new names, after the server has renamed the files.
    pub(crate) fn finish(self) {
        for (from, to) in &self.paths {
            if let Err(error) = rename_entry(&self.directory, from, to) {
                log::debug!("what the cache has of {from} is lost: {error}");
                EntryName::of(&self.directory, from).remove();
            }
        }
    }
}

/// Gives the entry of `from` to `to`, which has none. The data is not copied, unless it is small.
fn rename_entry(directory: &CacheDir, from: &RemotePath, to: &RemotePath) -> io::Result<()> {
    let (old, new) = (EntryName::of(directory, from), EntryName::of(directory, to));
    let renamed = |header: EntryHeader| {
        let is_own = header.path == *from;
        is_own.then(|| header.renamed(to)).flatten()
    };
    if let Some((header, data_at, file)) = read_header(&old.whole())? {
        if let Some(header) = renamed(header) {
            new.create_folder()?;
            rewrite(directory, &file, data_at, &header, &new.whole())?;
        }
        fs::remove_file(old.whole())?;
    }
    if let Some((header, slots_at, file)) = read_header(&old.slots())? {
        let nonce = header.nonce;
        if let Some(header) = renamed(header) {
            new.create_folder()?;
            fs::rename(old.data(nonce), new.data(nonce))?;
            rewrite(directory, &file, slots_at, &header, &new.slots())?;
        }
        fs::remove_file(old.slots())?;
    }
    Ok(())
}

/// Creates `target` with `header` and what `file` has from `rest` on. It counts as used when `file`
/// was.
fn rewrite(
    directory: &CacheDir,
    mut file: &File,
    rest: u64,
    header: &EntryHeader,
    target: &Path,
) -> io::Result<()> {
    let mut copy = tempfile::NamedTempFile::new_in(directory.temporary())?;
    copy.write_all(&header.encode())?;
    file.seek(SeekFrom::Start(rest))?;
    io::copy(&mut file, copy.as_file_mut())?;
    copy.as_file().set_modified(file.metadata()?.modified()?)?;
    copy.persist(target).map_err(|error| error.error)?;
    Ok(())
}

impl EntryName {
    fn create_folder(&self) -> io::Result<()> {
        new_directories(self.folder()).map_err(|error| error.source)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::super::block::BLOCK;
    use super::super::entry::{CachedFile, new_nonce};
    use super::super::{CachePlace, DiskCacheLimits, DiskCacheOptions, OnKept};
    use super::*;
    use crate::disk_cache::fill::FillPiece;
    use crate::ftp::{Precision, Version};

    fn path(text: &str) -> RemotePath {
        RemotePath::new(text.as_bytes()).unwrap()
    }

    fn version(size: u64) -> Version {
        Version {
            size: Some(size),
            modified: Some((7, Precision::Second)),
            unique: 0,
        }
    }

    fn cache() -> (tempfile::TempDir, Arc<DiskCache>) {
        let base = tempfile::tempdir().unwrap();
        let options = DiskCacheOptions {
            place: CachePlace::of(base.path(), "a", "h", 1),
            limits: DiskCacheLimits {
                disk: 1 << 40,
                free: Some(0),
            },
        };
        let cache = Arc::new(DiskCache::open(&options).unwrap());
        (base, cache)
    }

    fn bytes(size: u64, seed: u8) -> Vec<u8> {
        (0..size)
            .map(|at| (at / 7) as u8 ^ (at / BLOCK) as u8 ^ seed)
            .collect()
    }

    /// Adds an entry of a file with these bytes.
    fn add(cache: &DiskCache, name: &str, bytes: &[u8]) {
        let size = bytes.len() as u64;
        let header = EntryHeader::new(&path(name), &version(size), 0, new_nonce()).unwrap();
        if size <= BLOCK {
            CachedFile::create_whole(&cache.directory, header, bytes).unwrap();
            return;
        }
        let entry = CachedFile::create(&cache.directory, header).unwrap();
        let blocks = bytes.chunks(BLOCK as usize).zip(0..);
        let slots: Vec<_> = blocks
            .map(|(block, index)| (index, entry.write(index, block).unwrap()))
            .collect();
        entry.confirm(&slots).unwrap();
    }

    fn read(cache: &DiskCache, name: &str, size: u64) -> Option<Vec<u8>> {
        let entry = cache.find(&path(name), &version(size))?;
        let mut bytes = vec![0; size as usize];
        entry.read(0, &mut bytes).unwrap();
        Some(bytes)
    }

    fn files(cache: &DiskCache) -> usize {
        let folders = fs::read_dir(cache.directory.files()).unwrap();
        let count = |folder: fs::DirEntry| fs::read_dir(folder.path()).unwrap().count();
        folders.map(|folder| count(folder.unwrap())).sum()
    }

    #[test]
    fn the_entry_of_a_renamed_file_has_the_new_name() {
        for size in [1, 500, BLOCK, BLOCK + 1, 5 * BLOCK + 9] {
            let (_base, cache) = cache();
            let long = format!("/{}x", "directory/".repeat(300));
            add(&cache, "/a", &bytes(size, 1));
            // The replaced file has the same size and time, or is smaller.
            add(&cache, "/b", &bytes(size, 2));
            add(&cache, &long, &bytes(7, 3));
            for (from, to) in [("/a", "/b"), ("/b", long.as_str()), (long.as_str(), "/a")] {
                let renamed = cache.begin_rename(&path(from), &path(to), RenamedKind::File);
                assert_eq!(read(&cache, to, size), None, "before the server renames it");
                renamed.finish();
                assert!(read(&cache, to, size).unwrap() == bytes(size, 1));
                assert_eq!(read(&cache, from, size), None);
            }
            assert_eq!(files(&cache), if size <= BLOCK { 1 } else { 2 });
            cache.forget(&path("/a"));
            assert_eq!(files(&cache), 0);
        }
    }

    #[test]
    fn the_entries_below_a_directory_follow_it() {
        let (_base, cache) = cache();
        let sizes = [10, 3 * BLOCK];
        for (size, name) in sizes.into_iter().zip(["x", "deep/y"]) {
            for (seed, directory) in [(1, "/from"), (2, "/to"), (3, "/from more")] {
                add(&cache, &format!("{directory}/{name}"), &bytes(size, seed));
            }
        }
        add(&cache, "/to/left", &bytes(10, 4));
        let used = SystemTime::now() - Duration::from_secs(50_000);
        let entry = cache.find(&path("/from/x"), &version(10)).unwrap();
        entry.used_at(used);
        cache
            .begin_rename(&path("/from"), &path("/to"), RenamedKind::Directory)
            .finish();
        let moved = EntryName::of(&cache.directory, &path("/to/x")).whole();
        let time = fs::metadata(moved).unwrap().modified().unwrap();
        assert!(time < SystemTime::now() - Duration::from_secs(40_000));
        for (size, name) in sizes.into_iter().zip(["x", "deep/y"]) {
            assert!(read(&cache, &format!("/to/{name}"), size).unwrap() == bytes(size, 1));
            assert!(read(&cache, &format!("/from more/{name}"), size).unwrap() == bytes(size, 3));
            assert_eq!(read(&cache, &format!("/from/{name}"), size), None);
        }
        assert_eq!(read(&cache, "/to/left", 10), None);
        assert_eq!(files(&cache), 2 * 3);
    }

    struct Piece(Vec<u8>);

    impl FillPiece for Piece {
        fn memory(&self) -> usize {
            self.0.len()
        }

        fn read(&self, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
            take(&self.0);
            Ok(())
        }
    }

    #[test]
    fn what_arrives_of_the_old_contents_is_not_kept() {
        let patience = Duration::from_secs(60);
        for size in [100, 4 * BLOCK] {
            let (_base, cache) = cache();
            let nobody: OnKept = Arc::new(|_, _| ());
            let now = SystemTime::now();
            let fill = || cache.fill(&path("/a"), &version(size), now, Arc::clone(&nobody));
            let old = fill().unwrap();
            let half = (size / 2) as usize;
            let (one, two) = (
                bytes(size, 1)[..half].to_vec(),
                bytes(size, 1)[half..].to_vec(),
            );
            old.offer(0, Piece(one), patience);
            cache.finish(patience);
            cache.forget(&path("/a"));
            old.offer(half as u64, Piece(two), patience);
            old.confirm();
            cache.finish(patience);
            assert_eq!(files(&cache), 0);
            let new = fill().unwrap();
            new.offer(0, Piece(bytes(size, 2)), patience);
            new.confirm();
            old.confirm();
            cache.finish(patience);
            assert!(read(&cache, "/a", size).unwrap() == bytes(size, 2));
        }
    }
}
