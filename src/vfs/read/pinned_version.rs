//! The version of a file when it was opened, so that a later transfer never continues in another
//! one.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::{RangeSource, ReadEnd};
use crate::cancel::Cancel;
use crate::ftp::{Precision, Version};
use crate::remote::{Error, ErrorKind};

/// How long a version counts as confirmed for a program that reads at random offsets. FTP times do
/// not distinguish two changes within a second.
const CONFIRMED: Duration = Duration::from_secs(1);

/// Maximum number of set times that are remembered per file.
const MOST_TIMES: usize = 8;

/// Bytes received at a time to compare the end of what was read.
const CHUNK: usize = 16 << 10;

/// The version of a file being read, and when the server last confirmed it.
#[derive(Debug)]
pub(in crate::vfs) struct PinnedVersion {
    version: Version,
    /// The correct size if that of the version turned out to be wrong.
    corrected: OnceLock<u64>,
    confirmed: Mutex<Instant>,
    /// Whether the server was found to have another version. Bytes that a transfer received may
    /// belong to either.
    changed: AtomicBool,
    /// How far programs have read, if one reached the end: the file may have grown since.
    ends: Mutex<Option<ReadEnds>>,
    /// Size up to which this mount appends to the file; 0 if it does not.
    appended_to: AtomicU64,
    times: Mutex<SetTimes>,
}

/// Modification times that this mount gives to the file while it is read, in Unix seconds.
#[derive(Debug, Default)]
struct SetTimes {
    /// The time that the server's file has, if it is not that of the version.
    current: Option<i64>,
    /// Times that the file may have, oldest first.
    possible: VecDeque<i64>,
}

/// How far programs have read a file that may grow.
#[derive(Debug, Clone, Copy)]
struct ReadEnds {
    furthest: ReadEnd,
    /// The end of the first read after that. If the file is overwritten during the transfer that
    /// follows, the furthest bytes are those of the other file, and only the first ones differ.
    first: Option<ReadEnd>,
}

impl PinnedVersion {
    /// Creates a pinned `version` that the server has just reported, or that all bytes read so far
    /// belong to.
    pub(in crate::vfs) fn new(version: Version) -> Self {
        Self {
            version,
            corrected: OnceLock::new(),
            confirmed: Mutex::new(Instant::now()),
            changed: AtomicBool::new(false),
            ends: Mutex::new(None),
            appended_to: AtomicU64::new(0),
            times: Mutex::default(),
        }
    }

    /// Records that this mount appends to the file until it has `size` bytes. A version that is not
    /// larger still begins with the bytes of this one.
    pub(in crate::vfs) fn may_become(&self, size: u64) {
        self.appended_to.fetch_max(size, Ordering::AcqRel);
    }

    /// Records that this mount is about to give the file the modification time `seconds`. The
    /// contents stay the same.
    pub(in crate::vfs) fn may_get_time(&self, seconds: i64) {
        let mut times = self.times();
        times.possible.retain(|other| *other != seconds);
        if times.possible.len() == MOST_TIMES {
            times.possible.pop_front();
        }
        times.possible.push_back(seconds);
    }

    /// Records that the server's file has the modification time `seconds` by now, if that was
    /// [announced](Self::may_get_time).
    pub(in crate::vfs) fn has_time(&self, seconds: i64) {
        let mut times = self.times();
        if times.possible.contains(&seconds) {
            times.current = Some(seconds);
        }
    }

    /// Whether `now`, which the server has, is the version, maybe with a time that this mount has
    /// set. If so, [`Self::version`] has that time from now on, unless it has one that was set
    /// later: answers may arrive in another order.
    pub(in crate::vfs) fn recognizes(&self, now: &Version) -> bool {
        if now.agrees(&self.version()) {
            return true;
        }
        let has_time = |modified| {
            now.agrees(&Version {
                modified,
                size: self.size(),
                ..self.version
            })
        };
        let mut times = self.times();
        let SetTimes { current, possible } = &mut *times;
        let newest = possible
            .iter()
            .rposition(|time| has_time(Some((*time, Precision::Second))));
        let Some(newest) = newest else {
            return has_time(self.version.modified);
        };
        let place = |time: i64| possible.iter().position(|it| *it == time);
        if current.and_then(place) < Some(newest) {
            *current = possible.get(newest).copied();
        }
        true
    }

    fn times(&self) -> MutexGuard<'_, SetTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records how far a program has read that reached the end, of this version or of one from
    /// which it grew. From now on, the file may grow.
    pub(in crate::vfs) fn set_end(&self, end: ReadEnd) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ends.map(|before| before.first.unwrap_or(end));
        *ends = Some(ReadEnds {
            furthest: end,
            first,
        });
    }

    /// Returns the ends that must be in a version that grew from this one; none if it must not
    /// grow.
    pub(in crate::vfs) fn ends(&self) -> Vec<ReadEnd> {
        let ends = *self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ReadEnds { furthest, first }) = ends else {
            return Vec::new();
        };
        let first = first.filter(|first| *first != furthest);
        [Some(furthest), first].into_iter().flatten().collect()
    }

    /// Whether the file may grow while it is read.
    pub(super) fn may_grow(&self) -> bool {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        ends.is_some() || self.appended_to.load(Ordering::Acquire) > 0
    }

    /// Returns when the server last confirmed the version.
    pub(super) fn confirmed_at(&self) -> Instant {
        *self
            .confirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the version, with the corrected size if there is one, and the time that this mount
    /// has set.
    pub(in crate::vfs) fn version(&self) -> Version {
        let set = self.times().current.map(|it| (it, Precision::Second));
        Version {
            size: self.size(),
            modified: set.or(self.version.modified),
            ..self.version
        }
    }

    /// Returns the size in bytes, or `None` if the server did not report one.
    pub(in crate::vfs) fn size(&self) -> Option<u64> {
        self.corrected_size().or(self.version.size)
    }

    /// Returns the correct size in bytes if the server listed a wrong one.
    pub(in crate::vfs) fn corrected_size(&self) -> Option<u64> {
        self.corrected.get().copied()
    }

    /// Whether the server confirmed the version within the last second.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed_at().elapsed() < CONFIRMED
    }

    /// Asks the server whether it still has this version.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it has another version or no such file; the error of the query if
    /// the server cannot be asked.
    pub(in crate::vfs) fn confirm(
        &self,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        match source.version(cancel) {
            Ok(version) if self.continues_in(&version, source, cancel)? => {
                let mut confirmed = self
                    .confirmed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *confirmed = Instant::now();
                Ok(())
            }
            Ok(_) => Err(self.changed(source)),
            Err(error) if error.kind == ErrorKind::NotFound => Err(self.changed(source)),
            Err(error) => Err(error),
        }
    }

    /// Whether `now`, which the server has, is the version or grew from it.
    fn continues_in(
        &self,
        now: &Version,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        if self.recognizes(now) {
            return Ok(true);
        }
        let version = self.version();
        // The file may have had a time in the future, or of a clock that is ahead of the server's.
        let of_any_time = Version {
            modified: None,
            ..version
        };
        let appended_to = Some(self.appended_to.load(Ordering::Acquire));
        if now.grew_from(&of_any_time) && now.size <= appended_to {
            return Ok(true);
        }
        let ends = self.ends();
        if ends.is_empty() || !now.grew_from(&version) {
            return Ok(false);
        }
        for end in ends {
            let bytes = fetch(source, end.first()..end.at(), cancel)?;
            if !end.precedes(&bytes) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the file ends at `end`, where a transfer of the whole file ended although a larger
    /// size was listed. It does if SIZE returns `end` and the file was not modified since. Some
    /// servers list 32-bit sizes, or the size of the storage that a file occupies.
    ///
    /// # Errors
    /// [`ErrorKind::Changed`] if it was modified; the error of the query if the server cannot be
    /// asked.
    pub(super) fn ends_at(
        &self,
        end: u64,
        source: &dyn RangeSource,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        if source.size(cancel)? != Some(end) {
            return Ok(false);
        }
        let now = source.version(cancel)?;
        let without_size = |version: Version| Version {
            size: None,
            ..version
        };
        if now.modified.is_none() || self.version.modified.is_none() {
            return Ok(false);
        }
        if !self.recognizes(&without_size(now)) {
            return Err(self.changed(source));
        }
        // If another thread was first, it found the same size.
        let _ = self.corrected.set(end);
        log::info!(
            path = source.path();
            "{}: a size of {} was listed, and it has {end} bytes",
            source.path(),
            self.version.size.unwrap_or_default()
        );
        Ok(true)
    }

    /// Records that the server has another file than the one that was opened, and returns the error
    /// for it.
    pub(in crate::vfs) fn changed(&self, source: &dyn RangeSource) -> Error {
        self.refuse();
        Error {
            kind: ErrorKind::Changed,
            operation: "read",
            path: source.path(),
            reason: "it was changed on the server while it was read".to_owned(),
            reply: None,
        }
    }

    /// Records that the server has another file than the one that was opened.
    pub(super) fn refuse(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Whether the server was found to have another version.
    pub(in crate::vfs) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }
}

/// Returns the bytes in `range`, fewer if the file ends before.
fn fetch(source: &dyn RangeSource, range: Range<u64>, cancel: &Cancel) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    if range.is_empty() {
        return Ok(bytes);
    }
    let (mut transfer, start) = source.open_at(range.start, cancel)?;
    let mut skipped = range.start.saturating_sub(start);
    let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut buffer = vec![0; CHUNK];
    while bytes.len() < wanted {
        let count = transfer.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        let before = skipped.min(count as u64);
        skipped -= before;
        let new = buffer.get(before as usize..count).unwrap_or_default();
        bytes.extend_from_slice(new.get(..wanted - bytes.len()).unwrap_or(new));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vfs::read::fake::{FakeFile, FakeSource, sample};

    fn of_size(size: u64) -> Version {
        Version {
            size: Some(size),
            ..Version::default()
        }
    }

    #[test]
    fn a_version_has_the_times_that_this_mount_sets_and_no_others() {
        let of_time = |seconds| Version {
            modified: Some((seconds, Precision::Second)),
            ..of_size(10)
        };
        let pinned = PinnedVersion::new(of_time(1_000_000));
        pinned.may_get_time(2_000_000);
        pinned.may_get_time(3_000_000);
        assert!(pinned.recognizes(&of_time(1_000_000)));
        assert!(pinned.recognizes(&of_time(2_000_000)));
        assert_eq!(pinned.version(), of_time(2_000_000));
        assert!(pinned.recognizes(&of_time(3_000_000)));
        assert!(pinned.recognizes(&of_time(2_000_000)) && pinned.recognizes(&of_time(1_000_000)));
        assert_eq!(pinned.version(), of_time(3_000_000), "it was set later");
        assert!(!pinned.recognizes(&of_time(4_000_000)));
        let of_other_size = Version {
            size: Some(11),
            ..of_time(3_000_000)
        };
        assert!(!pinned.recognizes(&of_other_size));
        for day in 1..=2 * MOST_TIMES as i64 {
            pinned.may_get_time(day * 86_400 * 365);
        }
        assert!(!pinned.recognizes(&of_time(86_400 * 365)));
        pinned.has_time(5_000_000);
        assert_ne!(pinned.version(), of_time(5_000_000));
        pinned.may_get_time(5_000_000);
        pinned.has_time(5_000_000);
        assert_eq!(pinned.version(), of_time(5_000_000));
    }

    #[test]
    fn a_version_to_which_this_mount_appends_may_get_an_older_time() {
        let of = |size, seconds| Version {
            modified: Some((seconds, Precision::Second)),
            ..of_size(size)
        };
        let file = FakeFile::new(sample(10_000), &[]);
        let confirms = |appended_to, now| {
            let pinned = PinnedVersion::new(of(9_000, 2_000_000_000));
            pinned.may_become(appended_to);
            file.says(now);
            let source = FakeSource(Arc::clone(&file));
            pinned.confirm(&source, &Cancel::never()).is_ok()
        };
        assert!(confirms(10_000, of(9_500, 1_000_000_000)));
        assert!(!confirms(9_400, of(9_500, 1_000_000_000)));
        assert!(!confirms(10_000, of(8_000, 1_000_000_000)));
    }

    #[test]
    fn a_version_overwritten_while_it_was_read_on_is_another() {
        let file = FakeFile::new(sample(10_000), &[]);
        file.says(of_size(10_000));
        let confirm = |first: &[u8]| {
            let pinned = PinnedVersion::new(of_size(9_000));
            for end in [100, 9_000] {
                pinned.set_end(ReadEnd::new(end, &file.bytes()[..end as usize]));
                if end == 100 {
                    pinned.set_end(ReadEnd::new(first.len() as u64, first));
                }
            }
            let confirmed = pinned.confirm(&FakeSource(Arc::clone(&file)), &Cancel::never());
            confirmed.is_ok()
        };
        let first = file.bytes()[..200].to_vec();
        assert!(confirm(&first));
        let mut other = first;
        other[150] ^= 1;
        assert!(!confirm(&other));
    }

    #[test]
    fn a_larger_version_continues_the_pinned_one_if_the_read_end_is_still_there() {
        let file = FakeFile::new(sample(10_000), &[]);
        file.says(of_size(10_000));
        let read = file.bytes().get(..6_000).unwrap();
        let mut other = read.to_vec();
        other[5_999] ^= 1;
        let confirm = |end: Option<&[u8]>| {
            let pinned = PinnedVersion::new(of_size(6_000));
            if let Some(bytes) = end {
                pinned.set_end(ReadEnd::new(6_000, bytes));
            }
            let confirmed = pinned.confirm(&FakeSource(Arc::clone(&file)), &Cancel::never());
            assert_eq!(confirmed.is_err(), pinned.has_changed());
            confirmed.is_ok()
        };
        assert!(!confirm(None), "no program has reached the end");
        assert!(!confirm(Some(&other)));
        assert!(confirm(Some(read)));
        file.restart_at_zero();
        assert!(confirm(Some(read)));
        assert_eq!(file.opened(), [1_904; 3]);
        file.says(of_size(5_999));
        assert!(!confirm(Some(read)), "it shrank");
    }
}
