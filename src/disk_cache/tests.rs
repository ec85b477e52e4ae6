//! Filling a cache, by several mounts and on disks that fail.

use std::sync::mpsc;

use super::*;
use crate::ftp::Precision;

const PATIENCE: Duration = Duration::from_secs(60);

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

fn open(base: &std::path::Path, disk: u64) -> Arc<DiskCache> {
    let options = DiskCacheOptions {
        place: CachePlace::of(base, "anna", "h", 21),
        limits: DiskCacheLimits {
            disk,
            free: Some(0),
        },
    };
    Arc::new(DiskCache::open(&options).unwrap())
}

fn version(size: u64) -> Version {
    Version {
        size: Some(size),
        modified: Some((1_000_000, Precision::Second)),
        unique: 0,
    }
}

fn path(name: &str) -> RemotePath {
    RemotePath::new(name.as_bytes()).unwrap()
}

fn sample(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at * at / 101 % 255) as u8).collect()
}

fn fill(cache: &Arc<DiskCache>, name: &str, size: u64) -> Option<CacheFill> {
    let now = SystemTime::now();
    cache.fill(&path(name), &version(size), now, Arc::new(|_, _| ()))
}

fn read(cache: &DiskCache, name: &str, size: u64) -> Option<Vec<u8>> {
    let file = cache.find(&path(name), &version(size))?;
    let mut bytes = vec![0; size as usize];
    file.read(0, &mut bytes).ok()?;
    Some(bytes)
}

#[test]
fn what_is_confirmed_is_there_and_nothing_else() {
    let base = tempfile::tempdir().unwrap();
    let cache = open(base.path(), 1 << 30);
    for (name, size) in [
        ("/small", 100),
        ("/block", BLOCK),
        ("/large", 5 * BLOCK + 9),
    ] {
        let (kept, told) = mpsc::channel();
        let on_kept: OnKept = Arc::new(move |_, ranges| {
            let _ = kept.send(ranges.to_vec());
        });
        let now = SystemTime::now();
        let filling = cache
            .fill(&path(name), &version(size), now, on_kept)
            .unwrap();
        for (number, piece) in sample(size).chunks(50_000).enumerate() {
            filling.offer(number as u64 * 50_000, Piece(piece.to_vec()), PATIENCE);
        }
        cache.finish(PATIENCE);
        assert_eq!(
            cache.share_of(&path(name), &version(size)),
            CachedShare::None
        );
        filling.confirm();
        let all: Vec<_> = std::iter::once(0..size).collect();
        assert_eq!(told.recv().unwrap(), all);
        assert!(read(&cache, name, size).unwrap() == sample(size), "{name}");
        assert_eq!(
            cache.share_of(&path(name), &version(size)),
            CachedShare::Whole
        );
        assert_eq!(
            cache.share_of(&path(name), &version(size + 1)),
            CachedShare::None
        );
        let again = open(base.path(), 1 << 30);
        assert!(read(&again, name, size).unwrap() == sample(size), "{name}");
    }
    assert_eq!(DiskCache::contents(cache.directory()).unwrap().files, 3);
}

#[test]
fn a_part_is_a_part() {
    let base = tempfile::tempdir().unwrap();
    let cache = open(base.path(), 1 << 30);
    let filling = fill(&cache, "/f", 9 * BLOCK).unwrap();
    filling.offer(BLOCK - 5, Piece(vec![1; 2 * BLOCK as usize]), PATIENCE);
    filling.confirm();
    cache.finish(PATIENCE);
    let share = cache.share_of(&path("/f"), &version(9 * BLOCK));
    assert_eq!(share, CachedShare::Part(BLOCK));
    assert_eq!(read(&cache, "/f", 9 * BLOCK), None);
}

#[test]
fn what_cannot_be_recognised_later_is_not_kept() {
    let base = tempfile::tempdir().unwrap();
    let cache = open(base.path(), 1 << 30);
    assert!(fill(&cache, "/empty", 0).is_none());
    let on_kept: OnKept = Arc::new(|_, _| ());
    let changed_now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_060);
    let filling = cache.fill(&path("/f"), &version(1), changed_now, Arc::clone(&on_kept));
    assert!(filling.is_none());
    let timeless = Version {
        modified: None,
        ..version(1)
    };
    let now = SystemTime::now();
    assert!(cache.fill(&path("/f"), &timeless, now, on_kept).is_none());
}

#[test]
fn two_mounts_fill_and_trim_one_entry() {
    const SIZE: u64 = 40 * BLOCK + 11;
    let base = tempfile::tempdir().unwrap();
    let bytes = sample(SIZE);
    let mounts: Vec<_> = (0..4).map(|_| open(base.path(), 1 << 30)).collect();
    std::thread::scope(|scope| {
        for (number, cache) in mounts.iter().enumerate() {
            let bytes = &bytes;
            scope.spawn(move || {
                for round in 0..20 {
                    let filling = fill(cache, "/f", SIZE).unwrap();
                    for start in (0..SIZE as usize).step_by(100_000) {
                        let end = (start + 100_000).min(bytes.len());
                        filling.offer(start as u64, Piece(bytes[start..end].to_vec()), PATIENCE);
                    }
                    filling.confirm();
                    if (round + number) % 5 == 0 {
                        DiskCache::clear(cache.directory()).unwrap();
                    }
                    if let Some(file) = cache.find(&path("/f"), &version(SIZE)) {
                        for range in file.present().unwrap_or_default() {
                            let mut found = vec![0; (range.end - range.start) as usize];
                            if file.read(range.start, &mut found).is_ok() {
                                let range = range.start as usize..range.end as usize;
                                assert!(found == bytes[range]);
                            }
                        }
                    }
                }
                cache.finish(PATIENCE);
            });
        }
    });
    let filling = fill(&mounts[0], "/f", SIZE).unwrap();
    filling.offer(0, Piece(bytes.clone()), PATIENCE);
    filling.confirm();
    mounts[0].finish(PATIENCE);
    assert!(read(&mounts[1], "/f", SIZE).unwrap() == bytes);
}

#[test]
fn a_cache_stays_within_its_limit() {
    let base = tempfile::tempdir().unwrap();
    let limit = 40 * BLOCK;
    let cache = open(base.path(), limit);
    for number in 0..100 {
        let filling = fill(&cache, &format!("/{number}"), 3 * BLOCK).unwrap();
        filling.offer(0, Piece(sample(3 * BLOCK)), PATIENCE);
        filling.confirm();
        cache.finish(PATIENCE);
        while cache.is_trimming.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }
    let contents = DiskCache::contents(cache.directory()).unwrap();
    assert!(contents.bytes <= limit + 4 * BLOCK, "{contents:?}");
    assert!(contents.files > 3, "{contents:?}");
    let large = fill(&cache, "/large", 400 * BLOCK).unwrap();
    large.offer(0, Piece(sample(400 * BLOCK)), PATIENCE);
    large.confirm();
    cache.finish(PATIENCE);
    let kept = match cache.share_of(&path("/large"), &version(400 * BLOCK)) {
        CachedShare::Part(bytes) => bytes,
        CachedShare::None => 0,
        CachedShare::Whole => panic!("it is larger than the cache"),
    };
    assert!(kept <= limit / 2, "{kept}");
}

#[test]
fn a_failing_disk_stops_the_filling() {
    let base = tempfile::tempdir().unwrap();
    let cache = open(base.path(), 1 << 30);
    cache.failed(&io::ErrorKind::StorageFull.into());
    let filling = fill(&cache, "/f", 10).unwrap();
    filling.offer(0, Piece(sample(10)), PATIENCE);
    filling.confirm();
    cache.finish(PATIENCE);
    assert_eq!(read(&cache, "/f", 10), None);
}
