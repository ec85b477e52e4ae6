//! What was uploaded a moment ago (`-o writeback`): programs that read it again need not fetch it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{OpenFile, Spooled};
use crate::ftp::Version;
use crate::sys::BootClock;
use crate::vfs::table::ino::Ino;
use crate::vfs::write::state::LocalCopy;

/// Maximum size in bytes of a file.
const LARGEST: u64 = 256 << 10;
/// Maximum number of bytes that all files take together.
const MOST_BYTES: u64 = 8 << 20;
/// Number of bytes that a file takes beside its contents.
const OVERHEAD: u64 = 256;
/// How long files are available whose versions no other client can have given to other contents.
const LIVES: Duration = Duration::from_secs(60);

/// The files that were uploaded last.
#[derive(Debug)]
pub(in crate::vfs) struct RecentUploads {
    clock: BootClock,
    list: Mutex<RecentList>,
}

/// The bookkeeping of [`RecentUploads`]. The current time is an argument.
#[derive(Debug)]
struct RecentList {
    /// How long other files are available: as long as their attributes need no confirmation.
    open_ttl: Duration,
    files: HashMap<Ino, RecentUpload>,
    /// The inodes by the numbers of their uploads.
    order: BTreeMap<u64, Ino>,
    bytes: u64,
    last: u64,
}

#[derive(Debug)]
struct RecentUpload {
    number: u64,
    version: Version,
    bytes: Vec<u8>,
    stored: Instant,
    /// Whether no other contents have this version.
    is_exact: bool,
}

impl RecentUploads {
    /// Creates an empty list. `open_ttl` is how long attributes need no confirmation.
    pub(in crate::vfs) fn new(clock: BootClock, open_ttl: Duration) -> Self {
        Self {
            clock,
            list: Mutex::new(RecentList::new(open_ttl)),
        }
    }

    /// Returns the contents that were uploaded from `ino` a moment ago, if the server has them in
    /// `version`.
    pub(in crate::vfs) fn find(&self, ino: Ino, version: &Version) -> Option<Vec<u8>> {
        self.lock().find(ino, version, self.clock.now())
    }

    /// Forgets what was uploaded from `ino`: its contents are about to change, or another file may
    /// get its number.
    pub(in crate::vfs) fn remove(&self, ino: Ino) {
        self.lock().remove(ino);
    }

    /// Forgets everything.
    pub(in crate::vfs) fn clear(&self) {
        let mut list = self.lock();
        let open_ttl = list.open_ttl;
        *list = RecentList::new(open_ttl);
    }

    fn lock(&self) -> MutexGuard<'_, RecentList> {
        // At worst, a file is fetched again.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RecentList {
    fn new(open_ttl: Duration) -> Self {
        Self {
            open_ttl,
            files: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            last: 0,
        }
    }

    fn add(&mut self, ino: Ino, mut file: RecentUpload) {
        self.remove(ino);
        self.last += 1;
        file.number = self.last;
        self.bytes += file.takes();
        let now = file.stored;
        self.order.insert(self.last, ino);
        self.files.insert(ino, file);
        while let Some(first) = self.order.values().next().copied() {
            let is_over = self.files.get(&first).is_none_or(|it| {
                now.saturating_duration_since(it.stored) >= self.lifetime(it)
                    || self.bytes > MOST_BYTES
            });
            if !is_over {
                break;
            }
            self.remove(first);
        }
    }

    fn remove(&mut self, ino: Ino) {
        if let Some(old) = self.files.remove(&ino) {
            self.bytes -= old.takes();
            self.order.remove(&old.number);
        }
    }

    fn find(&self, ino: Ino, version: &Version, now: Instant) -> Option<Vec<u8>> {
        let file = self.files.get(&ino)?;
        let is_it = if file.is_exact {
            file.version.size == version.size && file.version.modified == version.modified
        } else {
            file.version.size == version.size && version.modified.is_some()
        };
        let age = now.saturating_duration_since(file.stored);
        let is_current = age < self.lifetime(file) && file.version.agrees(version);
        (is_it && is_current).then(|| file.bytes.clone())
    }

    fn lifetime(&self, file: &RecentUpload) -> Duration {
        if file.is_exact {
            LIVES.max(self.open_ttl)
        } else {
            self.open_ttl
        }
    }
}

impl RecentUpload {
    fn takes(&self) -> u64 {
        self.bytes.len() as u64 + OVERHEAD
    }
}

impl OpenFile {
    /// Keeps the contents of `spooled`, which the server has in `version`, for programs that read
    /// them in a moment. `is_exact` says whether no other contents have this version.
    ///
    /// Nothing is kept if the file is large, the spool has only a part of it, or programs change
    /// it.
    pub(super) fn keep_recent(&self, spooled: &Spooled, version: &Version, is_exact: bool) {
        let Some(recent) = &self.services.recent else {
            return;
        };
        let Some(size) = version.size.filter(|size| (1..=LARGEST).contains(size)) else {
            return;
        };
        if spooled.tail.is_some() || spooled.spool.start() > 0 || version.modified.is_none() {
            return;
        }
        let bytes = {
            // A change is counted after it was made.
            let Ok(_none_is_made) = self.changing.try_write() else {
                return;
            };
            if spooled.is_dirty() || spooled.spool.len() != size || spooled.spool.is_partial() {
                return;
            }
            spooled.spool.read_at(0, LARGEST as usize)
        };
        let Some(bytes) = bytes.ok().filter(|bytes| bytes.len() as u64 == size) else {
            return;
        };
        let stored = recent.clock.now();
        let file = RecentUpload {
            number: 0,
            version: *version,
            bytes,
            stored,
            is_exact,
        };
        recent.lock().add(self.ino, file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Precision;

    const TTL: Duration = Duration::from_secs(1);

    fn version(size: u64, seconds: i64) -> Version {
        Version {
            size: Some(size),
            modified: Some((seconds, Precision::Second)),
            unique: 0,
        }
    }

    fn upload(size: u64, stored: Instant, is_exact: bool) -> RecentUpload {
        RecentUpload {
            number: 0,
            version: version(size, 7),
            bytes: vec![b'x'; size as usize],
            stored,
            is_exact,
        }
    }

    #[test]
    fn only_the_uploaded_version_is_found() {
        let now = Instant::now();
        let mut list = RecentList::new(TTL);
        list.add(Ino(1), upload(3, now, true));
        list.add(Ino(2), upload(3, now, false));
        for ino in [Ino(1), Ino(2)] {
            assert_eq!(list.find(ino, &version(3, 7), now).unwrap(), b"xxx");
            assert!(list.find(ino, &version(4, 7), now).is_none());
            assert!(list.find(ino, &version(3, 8), now).is_none());
            let unknown = Version {
                modified: None,
                ..version(3, 7)
            };
            assert!(list.find(ino, &unknown, now).is_none());
        }
        assert!(list.find(Ino(3), &version(3, 7), now).is_none());
    }

    #[test]
    fn a_version_that_others_may_have_is_believed_as_long_as_attributes_are() {
        let now = Instant::now();
        let mut list = RecentList::new(TTL);
        list.add(Ino(1), upload(3, now, true));
        list.add(Ino(2), upload(3, now, false));
        let found = |ino, later| list.find(ino, &version(3, 7), now + later).is_some();
        assert!(found(Ino(1), TTL) && !found(Ino(2), TTL));
        assert!(!found(Ino(1), LIVES));
    }

    #[test]
    fn what_is_about_to_change_is_forgotten() {
        let now = Instant::now();
        let recent = RecentUploads::new(BootClock::start(), TTL);
        recent.lock().add(Ino(1), upload(3, now, true));
        assert!(recent.find(Ino(1), &version(3, 7)).is_some());
        recent.remove(Ino(1));
        assert!(recent.find(Ino(1), &version(3, 7)).is_none());
        assert_eq!(recent.lock().bytes, 0);
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let mut list = RecentList::new(TTL);
        for number in 0..100 {
            list.add(Ino(number), upload(LARGEST, now, true));
            list.add(Ino(1_000), upload(1, now, true));
        }
        assert!(list.bytes <= MOST_BYTES && list.bytes > MOST_BYTES / 2);
        assert_eq!(list.order.len(), list.files.len());
        assert!(list.find(Ino(0), &version(LARGEST, 7), now).is_none());
        assert!(list.find(Ino(99), &version(LARGEST, 7), now).is_some());
        let later = now + LIVES;
        list.add(Ino(5_000), upload(1, later, true));
        assert_eq!((list.files.len(), list.order.len()), (1, 1));
        assert_eq!(list.bytes, 1 + OVERHEAD);
    }
}
