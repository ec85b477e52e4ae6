//! The contents of files that are under way, for `ftpfs status`: no more than there are
//! connections.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ftp::RemotePath;

/// A file under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which.
    pub path: RemotePath,
    /// Which way.
    pub direction: Direction,
    /// Bytes so far.
    pub bytes: u64,
    /// For how long.
    pub lasting: Duration,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the server.
    Download,
    /// To it.
    Upload,
}

/// All of them; shared by handle.
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

/// A transfer's place among them; it ends with this.
#[derive(Debug)]
pub(super) struct TransferGuard {
    transfers: Transfers,
    number: u64,
    bytes: Arc<AtomicU64>,
}

impl Transfers {
    /// One more.
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

    /// Those of now, the longest lasting first.
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
        // Nothing under it can panic half way.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl TransferGuard {
    /// So many bytes more.
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
