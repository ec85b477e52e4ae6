//! The bytes on all data connections: their number, and the limits of their rate.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::rate_limit::RateLimit;

/// Counts and limits the bytes of all data connections of the sessions with a clone.
///
/// A limit delays downloads and uploads. Listings are not delayed, but transfers wait for their
/// bytes, too.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<TrafficDirections>);

#[derive(Debug, Default)]
struct TrafficDirections {
    received: TrafficLane,
    sent: TrafficLane,
}

#[derive(Debug, Default)]
struct TrafficLane {
    bytes: AtomicU64,
    limit: RateLimit,
}

/// Limits in bytes per second; `None` is unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Limit of what is received.
    pub down: Option<u64>,
    /// Limit of what is sent.
    pub up: Option<u64>,
}

impl Traffic {
    /// Starts with these limits.
    pub fn limited(limits: RateLimits) -> Self {
        let traffic = Self::default();
        traffic.set_limits(limits);
        traffic
    }

    /// Returns the number of bytes received on data connections, including listings.
    pub fn received(&self) -> u64 {
        self.0.received.bytes.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes sent on data connections.
    pub fn sent(&self) -> u64 {
        self.0.sent.bytes.load(Ordering::Relaxed)
    }

    /// Returns the limits.
    pub fn limits(&self) -> RateLimits {
        RateLimits {
            down: self.0.received.limit.rate(),
            up: self.0.sent.limit.rate(),
        }
    }

    /// Sets the limits, which apply to running transfers, too.
    pub fn set_limits(&self, limits: RateLimits) {
        self.0.received.limit.set_rate(limits.down);
        self.0.sent.limit.set_rate(limits.up);
    }

    /// Returns the part of `buffer` that a download may fill before it [pays](Self::receive).
    pub(super) fn portion<'a>(&self, buffer: &'a mut [u8]) -> &'a mut [u8] {
        let most = self.0.received.limit.quantum();
        let most = most.and_then(|most| usize::try_from(most).ok());
        match most {
            Some(most) if most < buffer.len() => buffer.split_at_mut(most).0,
            _ => buffer,
        }
    }

    /// Counts `bytes` of a download, and waits while they exceed the limit.
    pub(super) fn receive(&self, bytes: usize) {
        self.0.received.count(bytes as u64);
        self.0.received.limit.pay(bytes as u64);
    }

    /// Returns how many of `bytes` an upload may send before it [pays](Self::send).
    pub(super) fn most_to_send(&self, bytes: u64) -> u64 {
        self.0
            .sent
            .limit
            .quantum()
            .map_or(bytes, |most| most.min(bytes))
    }

    /// Counts `bytes` of an upload, and waits while they exceed the limit.
    pub(super) fn send(&self, bytes: u64) {
        self.0.sent.count(bytes);
        self.0.sent.limit.pay(bytes);
    }

    /// Returns a reader of a listing that counts the bytes of `data`.
    pub(super) fn counted<R: Read>(&self, data: R) -> CountedListing<'_, R> {
        CountedListing {
            data,
            lane: &self.0.received,
        }
    }
}

impl TrafficLane {
    fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Reads a listing and counts its bytes.
pub(super) struct CountedListing<'a, R> {
    data: R,
    lane: &'a TrafficLane,
}

impl<R: Read> Read for CountedListing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.data.read(buffer)?;
        self.lane.count(count as u64);
        self.lane.limit.charge(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_direction_has_its_own_count_and_limit() {
        let traffic = Traffic::default();
        traffic.receive(3);
        traffic.send(5);
        let mut listing = Vec::new();
        let read = traffic
            .counted(b"listing".as_slice())
            .read_to_end(&mut listing);
        assert_eq!(
            (read.unwrap(), listing.as_slice()),
            (7, b"listing".as_slice())
        );
        assert_eq!((traffic.received(), traffic.sent()), (10, 5));
        assert_eq!(traffic.portion(&mut [0; 100]).len(), 100);
        assert_eq!(traffic.most_to_send(100), 100);
        let limits = RateLimits {
            down: Some(1000),
            up: None,
        };
        traffic.set_limits(limits);
        assert_eq!(traffic.limits(), limits);
        assert_eq!(traffic.portion(&mut [0; 100]).len(), 50);
        assert_eq!(traffic.most_to_send(100), 100);
    }
}
