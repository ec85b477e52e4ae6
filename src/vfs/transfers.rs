//! File transfers in progress, for `ftpfs status`; at most one per connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::table::ino::Ino;
use crate::ftp::RemotePath;

/// Minimum age of the earlier of two marks between which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// A transfer in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The file's path on the server.
    pub path: RemotePath,
    /// Its direction.
    pub direction: Direction,
    /// Number of bytes transferred so far.
    pub bytes: u64,
    /// Number of bytes that this transfer has to move, if known.
    pub length: Option<u64>,
    /// Bytes per second during the last few seconds.
    pub rate: u64,
    /// Time since it started.
    pub lasting: Duration,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the server.
    Download,
    /// To the server.
    Upload,
}

/// The part of a file that a transfer moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// From this offset to the end of the file.
    ToEnd(Ino, u64),
    /// This number of bytes.
    Bytes(u64),
}

/// All transfers. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Transfers(Arc<Mutex<TransferTable>>);

#[derive(Debug, Default)]
struct TransferTable {
    under_way: BTreeMap<u64, UnderWay>,
    next: u64,
}

#[derive(Debug)]
struct UnderWay {
    path: RemotePath,
    direction: Direction,
    extent: Extent,
    bytes: Arc<AtomicU64>,
    began: Instant,
    rate: RateWindow,
}

/// Measures a rate over the last few seconds. The current time is an argument.
#[derive(Debug)]
struct RateWindow {
    earlier: (Instant, u64),
    later: (Instant, u64),
}

/// The entry of a transfer, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct TransferGuard {
    transfers: Transfers,
    number: u64,
    bytes: Arc<AtomicU64>,
    marked: Instant,
}

impl Transfer {
    /// Returns the time until the transfer ends at its current rate, if that is known.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let left = self.length?.saturating_sub(self.bytes);
        if left == 0 {
            return Some(Duration::ZERO);
        }
        let seconds = left.checked_div(self.rate)?;
        Some(Duration::from_secs(seconds.max(1)))
    }
}

impl Transfers {
    /// Adds a transfer of this part of a file.
    pub(super) fn begin(
        &self,
        path: RemotePath,
        direction: Direction,
        extent: Extent,
    ) -> TransferGuard {
        let bytes = Arc::new(AtomicU64::new(0));
        let began = Instant::now();
        let under_way = UnderWay {
            path,
            direction,
            extent,
            bytes: Arc::clone(&bytes),
            began,
            rate: RateWindow::new(began),
        };
        let number = self.with(|table| {
            table.next += 1;
            table.under_way.insert(table.next, under_way);
            table.next
        });
        TransferGuard {
            transfers: self.clone(),
            number,
            bytes,
            marked: began,
        }
    }

    /// Returns the current transfers, the longest running first. `size` returns the size of a file,
    /// if it is known.
    pub(super) fn now(&self, size: impl Fn(Ino) -> Option<u64>) -> Vec<Transfer> {
        let now = Instant::now();
        let mut extents = Vec::new();
        let mut transfers: Vec<_> = self.with(|table| {
            let under_way = table.under_way.values_mut();
            under_way
                .map(|it| {
                    extents.push(it.extent);
                    it.current(now)
                })
                .collect()
        });
        // The sizes are behind locks of their own.
        for (transfer, extent) in transfers.iter_mut().zip(extents) {
            transfer.length = match extent {
                Extent::ToEnd(ino, start) => size(ino).and_then(|size| size.checked_sub(start)),
                Extent::Bytes(length) => Some(length),
            };
        }
        transfers
    }

    fn with<T>(&self, work: impl FnOnce(&mut TransferTable) -> T) -> T {
        // Nothing that runs under the lock can panic between two changes.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UnderWay {
    fn current(&mut self, now: Instant) -> Transfer {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.rate.mark(now, bytes);
        Transfer {
            path: self.path.clone(),
            direction: self.direction,
            bytes,
            length: None,
            rate: self.rate.per_second(now, bytes),
            lasting: now.saturating_duration_since(self.began),
        }
    }
}

impl RateWindow {
    fn new(now: Instant) -> Self {
        Self {
            earlier: (now, 0),
            later: (now, 0),
        }
    }

    /// Records that `bytes` were moved until `now`.
    fn mark(&mut self, now: Instant, bytes: u64) {
        if now.saturating_duration_since(self.later.0) >= RATE_WINDOW {
            self.earlier = self.later;
            self.later = (now, bytes);
        }
    }

    fn per_second(&self, now: Instant, bytes: u64) -> u64 {
        let (since, before) = self.earlier;
        let seconds = now
            .saturating_duration_since(since)
            .as_secs_f64()
            .max(0.001);
        (bytes.saturating_sub(before) as f64 / seconds) as u64
    }
}

impl TransferGuard {
    /// Adds `bytes` to the transfer's count.
    pub(super) fn moved(&mut self, bytes: u64) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let now = Instant::now();
        if now.saturating_duration_since(self.marked) < RATE_WINDOW {
            return;
        }
        self.marked = now;
        self.transfers.with(|table| {
            if let Some(under_way) = table.under_way.get_mut(&self.number) {
                under_way.rate.mark(now, bytes);
            }
        });
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        self.transfers
            .with(|table| table.under_way.remove(&self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_is_reported_with_its_bytes_while_it_lasts() {
        let transfers = Transfers::default();
        let path = RemotePath::new(b"/a").unwrap();
        let (ino, other) = (Ino(7), Ino(8));
        let mut first = transfers.begin(path.clone(), Direction::Upload, Extent::ToEnd(ino, 10));
        let second = transfers.begin(path.clone(), Direction::Download, Extent::Bytes(5));
        let third = transfers.begin(path, Direction::Download, Extent::ToEnd(other, 0));
        first.moved(3);
        first.moved(4);
        let now = transfers.now(|it| (it == ino).then_some(30));
        assert_eq!(now.len(), 3);
        assert_eq!((now[0].bytes, now[0].direction), (7, Direction::Upload));
        let lengths: Vec<_> = now.iter().map(|it| it.length).collect();
        assert_eq!(lengths, [Some(20), Some(5), None]);
        drop(first);
        drop(third);
        assert_eq!(transfers.now(|_| None).len(), 1);
        drop(second);
        assert!(transfers.now(|_| None).is_empty());
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = RateWindow::new(start);
        for second in 1..=10 {
            window.mark(at(second), second * 1000);
        }
        assert_eq!(window.per_second(at(10), 10_000), 1000);
        // It then stalls.
        window.mark(at(20), 10_000);
        window.mark(at(30), 10_000);
        assert_eq!(window.per_second(at(30), 10_000), 0);
    }

    #[test]
    fn the_time_left_needs_a_length_and_a_rate() {
        let transfer = Transfer {
            path: RemotePath::root(),
            direction: Direction::Download,
            bytes: 400,
            length: Some(1000),
            rate: 100,
            lasting: Duration::ZERO,
        };
        assert_eq!(transfer.time_left(), Some(Duration::from_secs(6)));
        let stalled = Transfer {
            rate: 0,
            ..transfer.clone()
        };
        assert_eq!(stalled.time_left(), None);
        let open = Transfer {
            length: None,
            ..transfer.clone()
        };
        assert_eq!(open.time_left(), None);
        let over = Transfer {
            bytes: 2000,
            ..transfer
        };
        assert_eq!(over.time_left(), Some(Duration::ZERO));
    }
}
