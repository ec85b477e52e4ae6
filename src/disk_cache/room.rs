//! How much the cache may still write: its limits, the free space of the file system, and a pause
//! after the local disk failed.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::DiskCacheLimits;

/// How long nothing is written after the local disk failed.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a look at the file system is valid.
const LOOKED: Duration = Duration::from_secs(1);

/// The smallest default of the space that stays free, in bytes.
const LEAST_FREE: u64 = 1 << 30;
/// The default is one part in this many.
const FREE_SHARE: u64 = 20;

/// The part of its limit down to which a cache is trimmed, in percent.
const TRIMMED: u64 = 95;

/// The space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskSpace {
    pub(super) total: u64,
    /// What a program of this user can still write.
    pub(super) free: u64,
}

/// What may be written. Time is an argument.
#[derive(Debug, Default)]
pub(super) struct CacheRoom {
    paused_until: Option<Instant>,
    looked: Option<(Instant, bool)>,
    /// Bytes of the cache at the last count, and written since. `None` before the first count.
    used: Option<u64>,
    written: u64,
    has_warned: bool,
}

/// What the writer does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RoomAdvice {
    Write,
    /// Write, and count what is there.
    WriteAndCount,
    /// Write nothing large until something was removed.
    Trim,
    /// Write nothing until there is more free space.
    MakeSpace,
    /// Write nothing for a while.
    Pause,
}

impl CacheRoom {
    /// Returns what to do at `now`. `space` is asked for at most once a second.
    pub(super) fn advice(
        &mut self,
        limits: &DiskCacheLimits,
        now: Instant,
        space: impl FnOnce() -> Option<DiskSpace>,
    ) -> RoomAdvice {
        if self.paused_until.is_some_and(|until| now < until) {
            return RoomAdvice::Pause;
        }
        let has_space = match self.looked {
            Some((at, has_space)) if now.saturating_duration_since(at) < LOOKED => has_space,
            _ => {
                let has_space = space().is_none_or(|it| it.free >= limits.kept_free(it.total));
                self.looked = Some((now, has_space));
                has_space
            }
        };
        match self.used {
            _ if !has_space => RoomAdvice::MakeSpace,
            None => RoomAdvice::WriteAndCount,
            Some(used) if used.saturating_add(self.written) > limits.disk => RoomAdvice::Trim,
            Some(_) => RoomAdvice::Write,
        }
    }

    /// Records that `bytes` bytes were written.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.written = self.written.saturating_add(bytes);
    }

    /// Records that the cache was counted, and has `used` bytes.
    pub(super) fn counted(&mut self, used: u64) {
        self.used = Some(used);
        self.written = 0;
        self.looked = None;
    }

    /// Records that the local disk failed at `now`, or is full of other files. Returns whether to
    /// warn of it.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.paused_until = Some(now + PAUSE);
        !std::mem::replace(&mut self.has_warned, true)
    }
}

impl DiskCacheLimits {
    /// Returns the bytes of a file system with `total` bytes that stay free.
    pub(super) fn kept_free(&self, total: u64) -> u64 {
        // A file system that is smaller than the default leaves a twentieth.
        let share = total / FREE_SHARE;
        let usual = if total > 2 * LEAST_FREE {
            share.max(LEAST_FREE)
        } else {
            share
        };
        self.free.unwrap_or(usual)
    }

    /// Returns how many bytes of a cache of `used` bytes must be removed.
    pub(super) fn excess(&self, used: u64, space: Option<DiskSpace>) -> u64 {
        let by_size = if used > self.disk {
            used - self.disk / 100 * TRIMMED
        } else {
            0
        };
        let by_space = space.map_or(0, |it| {
            let kept = self.kept_free(it.total);
            if it.free < kept {
                kept + kept / 100 * (100 - TRIMMED) - it.free
            } else {
                0
            }
        });
        by_size.max(by_space)
    }
}

/// Returns the space of the file system of `path`, if it says.
pub(super) fn space_of(path: &Path) -> Option<DiskSpace> {
    let answer = rustix::fs::statvfs(path).ok()?;
    let unit = answer.f_frsize.max(1);
    (answer.f_blocks > 0).then(|| DiskSpace {
        total: answer.f_blocks.saturating_mul(unit),
        free: answer.f_bavail.saturating_mul(unit),
    })
}

/// Whether `error` says that the local disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DiskCacheLimits = DiskCacheLimits {
        disk: 1000,
        free: Some(100),
    };

    fn space(free: u64) -> DiskSpace {
        DiskSpace { total: 5000, free }
    }

    #[test]
    fn it_writes_within_its_limits() {
        let (mut room, now) = (CacheRoom::default(), Instant::now());
        let advice =
            |room: &mut CacheRoom, now, free| room.advice(&LIMITS, now, || Some(space(free)));
        assert_eq!(advice(&mut room, now, 100), RoomAdvice::WriteAndCount);
        room.counted(600);
        room.wrote(400);
        assert_eq!(advice(&mut room, now, 100), RoomAdvice::Write);
        room.wrote(1);
        assert_eq!(advice(&mut room, now, 100), RoomAdvice::Trim);
        room.counted(500);
        assert_eq!(advice(&mut room, now, 99), RoomAdvice::MakeSpace);
        assert_eq!(
            advice(&mut room, now, 5000),
            RoomAdvice::MakeSpace,
            "it just looked"
        );
        assert_eq!(advice(&mut room, now + LOOKED, 5000), RoomAdvice::Write);
        assert!(room.failed(now) && !room.failed(now));
        assert_eq!(advice(&mut room, now + LOOKED, 5000), RoomAdvice::Pause);
        assert_eq!(advice(&mut room, now + PAUSE, 5000), RoomAdvice::Write);
        assert_eq!(
            room.advice(&LIMITS, now + 2 * PAUSE, || None),
            RoomAdvice::Write
        );
    }

    #[test]
    fn what_is_too_much_is_removed_with_a_margin() {
        assert_eq!(LIMITS.excess(1000, Some(space(100))), 0);
        assert_eq!(LIMITS.excess(1001, Some(space(100))), 51);
        assert_eq!(LIMITS.excess(10, Some(space(60))), 45);
        assert_eq!(LIMITS.excess(10, None), 0);
        let usual = DiskCacheLimits {
            disk: 1,
            free: None,
        };
        assert_eq!(usual.kept_free(1 << 40), (1 << 40) / 20);
        assert_eq!(usual.kept_free(10 << 30), 1 << 30);
        assert_eq!(usual.kept_free(16 << 20), (16 << 20) / 20);
    }
}
