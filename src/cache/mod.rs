//! Directory listings with their attributes: an LRU bounded by memory, with an age.

use std::sync::Arc;
use std::time::Duration;

use crate::ftp::{Entry, Kind, RemotePath};

/// How much and for how long.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// A listing older than this is fetched anew.
    pub ttl: Duration,
    /// Most bytes held.
    pub max_bytes: usize,
}

/// A cached entry's attributes: what a listing said, or what was done through the mount since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// Size in octets.
    pub size: Option<u64>,
    /// Seconds since the epoch (UTC), and how exact.
    pub modified: Option<(i64, crate::ftp::Precision)>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// A symlink's target, where listed.
    pub target: Option<Box<[u8]>>,
    /// A short hash of the `unique` fact; 0 where there is none.
    pub unique: u64,
}

/// What the cache knows of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It is there; `Duration` is how long that is still fresh.
    Present(Attributes, Duration),
    /// A complete fresh listing does not have it, or it was removed through the mount.
    Absent(Duration),
    /// Ask the server.
    Unknown,
}

/// A complete listing as it was at one moment, cheap to hold while it is read (readdir).
#[derive(Debug)]
pub struct Snapshot {}

/// The cache; shared by handle, every method takes `&self`.
#[derive(Debug)]
pub struct Cache {}

#[allow(unused_variables)]
impl Cache {
    /// An empty one.
    pub fn new(options: CacheOptions) -> Self {
        todo!()
    }

    /// What is known of `name` in `directory`, without waiting.
    pub fn lookup(&self, directory: &RemotePath, name: &[u8]) -> Answer {
        todo!()
    }

    /// The complete fresh listing of `directory`, without waiting.
    pub fn snapshot(&self, directory: &RemotePath) -> Option<Arc<Snapshot>> {
        todo!()
    }

    /// The listing of `directory`: the cached one, or what `fetch` brings. Of many concurrent askers one fetches and
    /// the others wait for its outcome (an error goes to all of them). Changes made while the fetch was under way are replayed onto its result.
    pub fn snapshot_or_fetch<E: Clone>(
        &self,
        directory: &RemotePath,
        fetch: impl FnOnce() -> Result<Vec<Entry>, E>,
    ) -> Result<Arc<Snapshot>, E> {
        todo!()
    }

    /// How many lookups in `directory` went unanswered since it was last listed or forgotten: the vfs lists a directory rather than ask for its names one by one.
    pub fn misses(&self, directory: &RemotePath) -> u32 {
        todo!()
    }

    /// `name` is there with these attributes: the server said so (a single stat), or it was made through the mount.
    pub fn insert(&self, directory: &RemotePath, name: &[u8], attributes: Attributes) {
        todo!()
    }

    /// `name` is not there: removed through the mount, or a single stat said so.
    pub fn remove(&self, directory: &RemotePath, name: &[u8]) {
        todo!()
    }

    /// `from` is now `to`, and what is cached below it moved along; what was at `to` is gone.
    pub fn rename(&self, from: &RemotePath, to: &RemotePath) {
        todo!()
    }

    /// A directory made through the mount: known, complete and empty.
    pub fn insert_empty_directory(&self, directory: &RemotePath) {
        todo!()
    }

    /// Forgets the listing of `directory` (not those below it).
    pub fn forget(&self, directory: &RemotePath) {
        todo!()
    }

    /// Forgets `directory` and all below it.
    pub fn forget_tree(&self, directory: &RemotePath) {
        todo!()
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        todo!()
    }
}

#[allow(unused_variables)]
impl Snapshot {
    /// Number of entries.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// The `index`th entry; the order never changes within one snapshot.
    pub fn get(&self, index: usize) -> Option<(&[u8], Attributes)> {
        todo!()
    }
}
