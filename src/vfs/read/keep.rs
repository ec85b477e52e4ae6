//! The persistent cache of a reader: what it has of the version, and what transfers add to it.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use super::ReaderShared;
use super::block_map::{BlockPlace, Retention};
use crate::cancel::Cancel;
use crate::disk_cache::{BLOCK, CacheFill, CachedFile, DiskCache, FillPiece, OnKept};

/// What a transfer adds to the persistent cache.
pub(super) struct Keeping {
    fill: CacheFill,
    /// Whether something was offered that is not confirmed.
    is_open: Cell<bool>,
    began: Instant,
    /// How long the transfer has waited for the local disk.
    waited: Cell<Duration>,
}

/// How long a transfer that no reader waits for may wait for the local disk.
const PATIENCE: Duration = Duration::from_millis(500);
/// Damaged bytes from which on nothing of an entry is used.
const MUCH_DAMAGE: u64 = 1 << 20;
/// A transfer that a reader waits for spends at most one part in this many of its time on that.
const SHARE: u32 = 10;

impl ReaderShared {
    /// Adds to the map what the persistent cache has of the file, once. No lock is held meanwhile.
    pub(super) fn find_cached(&self) {
        if let Some(disk) = &self.disk {
            self.has_looked.get_or_init(|| self.add_cached(disk));
        }
    }

    /// Returns where a transfer for a read at `offset` starts. Only whole blocks are kept, so it
    /// begins with one where there is a cache.
    pub(super) fn start_for(&self, offset: u64) -> u64 {
        match self.disk {
            Some(_) => offset - offset % BLOCK,
            None => offset,
        }
    }

    /// Removes from the map what is damaged in `file`. Once that is a lot, nothing of it is used:
    /// after a power cut, slots may be there whose data never was, and a transfer for each of them
    /// would be slow.
    pub(super) fn lose_cached(&self, file: &Arc<CachedFile>, ranges: &[Range<u64>]) {
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let before = self.damaged.fetch_add(bytes, Ordering::Relaxed);
        let is_much = before + bytes >= MUCH_DAMAGE;
        // Blocks are discarded before they can be fetched, so that none is discarded that a
        // transfer has just added.
        if is_much && before < MUCH_DAMAGE {
            file.discard();
        }
        let mut state = self.lock();
        for range in ranges {
            state.blocks.lose_cached(file, range);
        }
        if is_much {
            state.blocks.lose_cached(file, &(0..u64::MAX));
        }
    }

    fn add_cached(&self, disk: &DiskCache) {
        let version = self.expected.version();
        let Some(file) = disk.find(&self.source.path(), &version) else {
            return;
        };
        let Ok(present) = file.present() else {
            return;
        };
        let is_whole = present
            .first()
            .is_some_and(|range| *range == (0..file.size()));
        let place = BlockPlace::Cached(Arc::new(file));
        let mut state = self.lock();
        for range in present {
            let from = range.start;
            state.blocks.insert(range, &place, from, Retention::File);
        }
        drop(state);
        if is_whole {
            self.source.begin_cached(&version);
        }
    }
}

impl Keeping {
    /// Starts to keep what a transfer brings that began at `began`. `None` if there is no cache, or
    /// the bytes may belong to more than one version.
    pub(super) fn start(shared: &Arc<ReaderShared>, began: SystemTime) -> Option<Self> {
        let disk = shared.disk.as_ref()?;
        let expected = &shared.expected;
        if expected.may_grow() || expected.corrected_size().is_some() {
            return None;
        }
        let reader = Arc::downgrade(shared);
        let on_kept: OnKept = Arc::new(move |file, ranges| {
            let Some(shared) = reader.upgrade() else {
                return;
            };
            let place = BlockPlace::Cached(Arc::clone(file));
            let mut state = shared.lock();
            for range in ranges {
                let from = range.start;
                state
                    .blocks
                    .insert(range.clone(), &place, from, Retention::File);
            }
            let released = state.take_released();
            drop(state);
            drop(released);
        });
        let (path, version) = (shared.source.path(), expected.version());
        let fill = disk.fill(&path, &version, began, on_kept)?;
        Some(Self {
            fill,
            is_open: Cell::new(false),
            began: Instant::now(),
            waited: Cell::new(Duration::ZERO),
        })
    }

    /// Offers the bytes from `offset` on. If the local disk is behind, waits a moment, a shorter
    /// one if a reader waits for the transfer.
    pub(super) fn offer(&self, offset: u64, piece: impl FillPiece, is_awaited: bool) {
        self.is_open.set(true);
        let patience = if is_awaited {
            (self.began.elapsed() / SHARE).saturating_sub(self.waited.get())
        } else {
            PATIENCE
        };
        let offered = Instant::now();
        self.fill.offer(offset, piece, patience.min(PATIENCE));
        if is_awaited {
            self.waited.set(self.waited.get() + offered.elapsed());
        }
    }

    /// Makes valid what was offered.
    pub(super) fn confirm(self) {
        self.fill.confirm();
    }

    /// Makes valid what was offered of a transfer that was given up, if the server still has the
    /// version. Waits for the server.
    pub(super) fn confirm_part(self, shared: &ReaderShared) {
        if !self.is_open.get() || shared.expected.has_changed() {
            return;
        }
        // No read depends on the answer, so it does not end those that memory can answer.
        match shared.source.version(&Cancel::never()) {
            Ok(now) if shared.expected.recognizes(&now) => self.fill.confirm(),
            Ok(_) => {}
            Err(error) => log::debug!("what was read is not kept: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::disk_cache::{CachePlace, CachedShare, DiskCacheLimits, DiskCacheOptions};
    use crate::ftp::{Precision, RemotePath, Version};
    use crate::journal::Journal;
    use crate::remote::ErrorKind;
    use crate::vfs::local::spool_dir::SpoolDir;
    use crate::vfs::read::fake::{FakeFile, FakeSource, PATIENCE, Plan, sample};
    use crate::vfs::read::parallel::ParallelReads;
    use crate::vfs::read::{PinnedVersion, ReadOptions, Reader};

    const M: usize = 1 << 20;

    struct Fixture {
        base: TempDir,
        disk: Arc<DiskCache>,
    }

    impl Fixture {
        fn new() -> Self {
            let base = tempfile::tempdir().unwrap();
            let options = DiskCacheOptions {
                place: CachePlace::of(base.path(), "a", "h", 1),
                limits: DiskCacheLimits {
                    disk: 1 << 40,
                    free: Some(0),
                },
            };
            let disk = Arc::new(DiskCache::open(&options).unwrap());
            Self { base, disk }
        }

        fn reader(&self, file: &Arc<FakeFile>, version: Version) -> Reader {
            let options = ReadOptions {
                read_ahead: 4 * M,
                streams: 3,
                timeout: PATIENCE,
            };
            let spools = SpoolDir::new(Journal::disabled(None), None);
            Reader::new(
                Arc::new(FakeSource(Arc::clone(file))),
                Arc::new(PinnedVersion::new(version)),
                options,
                ParallelReads::new(spools),
                Some(Arc::clone(&self.disk)),
            )
        }

        /// Waits until the transfers have ended and the cache has what they brought.
        fn settle(&self, file: &FakeFile, share: impl Fn(CachedShare) -> bool, version: Version) {
            file.wait_for_live(0);
            let began = std::time::Instant::now();
            while !share(self.disk.share_of(&RemotePath::root(), &version)) {
                assert!(began.elapsed() < PATIENCE, "the cache lacks it");
                std::thread::sleep(Duration::from_millis(1));
            }
        }

        /// The files of all entries.
        fn stored(&self) -> Vec<PathBuf> {
            fn below(path: &Path) -> Vec<PathBuf> {
                let entries = fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path());
                entries
                    .flat_map(|path| {
                        if path.is_dir() {
                            below(&path)
                        } else {
                            vec![path]
                        }
                    })
                    .collect()
            }
            let files = below(self.base.path()).into_iter();
            files
                .filter(|path| path.to_string_lossy().contains("/files/"))
                .collect()
        }
    }

    fn version(size: usize, time: i64) -> Version {
        Version {
            size: Some(size as u64),
            modified: Some((time, Precision::Second)),
            unique: 0,
        }
    }

    fn read(reader: &Reader, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < length {
            let (at, left) = (offset + bytes.len() as u64, length - bytes.len());
            let piece = reader.read(at, left.min(M), &Cancel::never()).unwrap();
            if piece.is_empty() {
                break;
            }
            bytes.extend_from_slice(&piece);
        }
        bytes
    }

    #[test]
    fn what_was_read_is_not_fetched_again_by_the_next_reader() {
        for size in [1, 1000, 65_536, 65_537, 7 * M + 77] {
            let fixture = Fixture::new();
            let file = FakeFile::new(sample(size), &[]);
            let version = version(size, 5);
            file.says(version);
            assert!(read(&fixture.reader(&file, version), 0, size) == file.bytes());
            fixture.settle(&file, |it| it == CachedShare::Whole, version);
            let (opened, asked) = (file.opened().len(), file.asked());
            let reader = fixture.reader(&file, version);
            for offset in (0..size as u64).step_by(M / 2) {
                let expected = &file.bytes()[offset as usize..];
                let length = expected.len().min(M);
                let found = reader.available(offset, M).expect("nothing to wait for");
                assert!(*found == expected[..length]);
            }
            assert_eq!((file.opened().len(), file.asked()), (opened, asked));
        }
    }

    #[test]
    fn a_part_that_was_read_is_kept_if_the_file_is_still_the_same() {
        let size = 64 * M;
        for is_same in [true, false] {
            let fixture = Fixture::new();
            let file = FakeFile::new(sample(size), &[]);
            let version = version(size, 5);
            file.says(if is_same {
                version
            } else {
                self::version(size, 6)
            });
            let reader = fixture.reader(&file, version);
            assert!(read(&reader, 0, 2 * M) == file.bytes()[..2 * M]);
            drop(reader);
            file.wait_for_live(0);
            if is_same {
                fixture.settle(&file, |it| it != CachedShare::None, version);
                let opened = file.opened().len();
                let reader = fixture.reader(&file, version);
                assert!(read(&reader, M as u64, M) == file.bytes()[M..2 * M]);
                assert_eq!(file.opened().len(), opened);
            } else {
                let began = std::time::Instant::now();
                while file.asked() == 0 && began.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_millis(1));
                }
                fixture.disk.finish(PATIENCE);
                let share = fixture.disk.share_of(&RemotePath::root(), &version);
                assert_eq!(share, CachedShare::None);
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_a_transfer_that_failed() {
        let size = 8 * M;
        let fixture = Fixture::new();
        let refuse = [Plan::Break(5 * M, ErrorKind::PermissionDenied); 1];
        let file = FakeFile::new(sample(size), &refuse);
        let version = version(size, 5);
        file.says(self::version(size, 6));
        let reader = fixture.reader(&file, version);
        let mut outcome = Ok(());
        for offset in (0..size as u64).step_by(M) {
            outcome = reader.read(offset, M, &Cancel::never()).map(drop);
            if outcome.is_err() {
                break;
            }
        }
        assert!(outcome.is_err());
        drop(reader);
        file.wait_for_live(0);
        fixture.disk.finish(PATIENCE);
        let share = fixture.disk.share_of(&RemotePath::root(), &version);
        assert_eq!(share, CachedShare::None);
    }

    #[test]
    fn another_version_is_fetched() {
        let fixture = Fixture::new();
        let old = FakeFile::new(vec![1; 3 * M], &[]);
        let new = FakeFile::new(vec![2; 3 * M], &[]);
        assert!(read(&fixture.reader(&old, version(3 * M, 5)), 0, 3 * M) == old.bytes());
        fixture.settle(&old, |it| it == CachedShare::Whole, version(3 * M, 5));
        assert!(read(&fixture.reader(&new, version(3 * M, 6)), 0, 3 * M) == new.bytes());
        fixture.settle(&new, |it| it == CachedShare::Whole, version(3 * M, 6));
        let share = fixture
            .disk
            .share_of(&RemotePath::root(), &version(3 * M, 5));
        assert_eq!(share, CachedShare::None, "replaced");
    }

    #[test]
    fn damaged_blocks_are_fetched_again() {
        let fixture = Fixture::new();
        let file = FakeFile::new(sample(7 * M), &[]);
        let version = version(7 * M, 5);
        assert!(read(&fixture.reader(&file, version), 0, 7 * M) == file.bytes());
        fixture.settle(&file, |it| it == CachedShare::Whole, version);
        for path in fixture.stored() {
            if path.extension().is_some_and(|it| it != "m") {
                let mut bytes = fs::read(&path).unwrap();
                bytes[4 * M + 7] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
        let opened = file.opened().len();
        assert!(read(&fixture.reader(&file, version), 0, 7 * M) == file.bytes());
        assert!(file.opened().len() > opened);
        fixture.settle(&file, |it| it == CachedShare::Whole, version);
    }

    #[test]
    fn an_entry_without_its_data_costs_few_transfers() {
        let fixture = Fixture::new();
        // What the queue to the local disk takes is never left out.
        let file = FakeFile::new(sample(6 * M), &[]);
        let version = version(6 * M, 5);
        assert!(read(&fixture.reader(&file, version), 0, 6 * M) == file.bytes());
        fixture.settle(&file, |it| it == CachedShare::Whole, version);
        for path in fixture.stored() {
            if path.extension().is_some_and(|it| it != "m") {
                let data = fs::File::options().write(true).open(&path).unwrap();
                data.set_len(0).unwrap();
                data.set_len(6 * M as u64).unwrap();
            }
        }
        let opened = file.opened().len();
        assert!(read(&fixture.reader(&file, version), 0, 6 * M) == file.bytes());
        let opened = file.opened().len() - opened;
        assert!(opened <= 3, "{opened}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn readers_that_jump_and_come_back_read_the_file(
            reads in proptest::collection::vec((0..6 * M, 1..M, any::<bool>()), 1..30),
        ) {
            let fixture = Fixture::new();
            let file = FakeFile::new(sample(6 * M), &[]);
            let version = version(6 * M, 5);
            file.says(version);
            let mut reader = fixture.reader(&file, version);
            for (offset, length, reopens) in reads {
                if reopens {
                    reader = fixture.reader(&file, version);
                }
                let end = (offset + length).min(6 * M);
                let found = read(&reader, offset as u64, end - offset);
                prop_assert!(found == file.bytes()[offset..end]);
            }
        }
    }
}
