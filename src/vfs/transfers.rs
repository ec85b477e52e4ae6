//! File transfers in progress, for `ftpfs status`; at most one per connection.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;

/// A transfer in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The file's path on the server.
    pub path: RemotePath,
    /// Its direction.
    pub direction: Direction,
    /// Number of bytes transferred so far.
    pub bytes: u64,
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
    bytes: Arc<AtomicU64>,
    began: Instant,
}

/// The entry of a transfer, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct TransferGuard {
    transfers: Transfers,
    number: u64,
    bytes: Arc<AtomicU64>,
}

impl Transfers {
    /// Adds a transfer.
    pub(super) fn begin(&self, path: RemotePath, direction: Direction) -> TransferGuard {
        let bytes = Arc::new(AtomicU64::new(0));
        let under_way = UnderWay {
            path,
            direction,
            bytes: Arc::clone(&bytes),
            began: Instant::now(),
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
        }
    }

    /// Returns the current transfers, the longest running first.
    pub(super) fn now(&self) -> Vec<Transfer> {
        self.with(|table| {
            let under_way = table.under_way.values();
            under_way
                .map(|it| Transfer {
                    path: it.path.clone(),
                    direction: it.direction,
                    bytes: it.bytes.load(Ordering::Relaxed),
                    lasting: it.began.elapsed(),
                })
                .collect()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut TransferTable) -> T) -> T {
        // Nothing that runs under the lock can panic between two changes.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TransferGuard {
    /// Adds `bytes` to the transfer's count.
    pub(super) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
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
    fn a_transfer_is_told_with_its_bytes_as_long_as_it_lasts() {
        let transfers = Transfers::default();
        let path = RemotePath::new(b"/a").unwrap();
        let first = transfers.begin(path.clone(), Direction::Upload);
        let second = transfers.begin(path.clone(), Direction::Download);
        first.moved(3);
        first.moved(4);
        let now = transfers.now();
        assert_eq!(now.len(), 2);
        assert_eq!((now[0].bytes, now[0].direction), (7, Direction::Upload));
        drop(first);
        assert_eq!(transfers.now().len(), 1);
        drop(second);
        assert!(transfers.now().is_empty());
    }
}
