//! What is known of one directory: its last listing, and what was heard of single names since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::Precision;

use super::{Answer, Attributes, Snapshot};

/// Changes are kept apart from the listing until they are a quarter of it, so that making many files
/// one by one does not copy the listing for each.
const MERGE_AT: usize = 4;
/// … but at least so many.
const MERGE_FROM: usize = 64;

/// What was heard of one name apart from a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Present(Attributes),
    Absent,
    /// Something changed there, and what it is now is not known; with what it was before.
    Doubtful(Option<Attributes>),
}

/// What was heard, and when.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) known: Known,
    at: Instant,
}

/// What was heard of names, in their order.
pub(super) type Changes = BTreeMap<Box<[u8]>, Heard>;

/// A listing and what was heard after it, as they were at one moment.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) listing: Arc<Snapshot>,
    pub(super) changes: Arc<Changes>,
}

impl Current {
    /// The listing with the changes made to it. Takes time with a large one: not under a lock.
    pub(super) fn merged(&self) -> Arc<Snapshot> {
        if self.changes.is_empty() {
            return Arc::clone(&self.listing);
        }
        Arc::new(self.listing.changed(&self.changes))
    }
}

/// What is remembered of a directory, however old: for what a new listing leaves out.
#[derive(Debug)]
pub(super) struct Memory {
    listing: Option<Arc<Snapshot>>,
    changes: Arc<Changes>,
}

impl Memory {
    /// What was last known of `name`.
    pub(super) fn last_known(&self, name: &[u8]) -> Option<Attributes> {
        last_known(self.listing.as_deref(), &self.changes, name)
    }
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    listing: Option<Arc<Snapshot>>,
    /// Later than the listing.
    changes: Arc<Changes>,
    changes_bytes: usize,
    /// How many of the changes are doubtful.
    doubts: usize,
    /// How many changes there must be before those that are of no more use are looked for.
    purge_at: usize,
    misses: u32,
}

impl Directory {
    pub(super) fn listed(listing: Arc<Snapshot>) -> Self {
        Self {
            listing: Some(listing),
            ..Self::default()
        }
    }

    pub(super) fn count_miss(&mut self) -> u32 {
        self.misses = self.misses.saturating_add(1);
        self.misses
    }

    /// What may be said of `name` elsewhere, where it is moved to.
    pub(super) fn known(&self, name: &[u8], ttl: Duration, now: Instant) -> Known {
        match self.lookup(name, ttl, now) {
            Answer::Present(attributes, _) => Known::Present(attributes),
            Answer::Absent(_) | Answer::Unknown => Known::Doubtful(self.last_known(name)),
        }
    }

    /// What was last known of `name`, however old.
    pub(super) fn last_known(&self, name: &[u8]) -> Option<Attributes> {
        last_known(self.listing.as_deref(), &self.changes, name)
    }

    pub(super) fn memory(&self) -> Memory {
        Memory {
            listing: self.listing.clone(),
            changes: Arc::clone(&self.changes),
        }
    }

    /// The listing and its changes, where it is fresh and nothing in it is in doubt.
    pub(super) fn current(&self, now: Instant) -> Option<Current> {
        if self.doubts > 0 || !self.is_listing_fresh(now) {
            return None;
        }
        self.as_it_is()
    }

    /// The listing and its changes, fresh or not.
    pub(super) fn as_it_is(&self) -> Option<Current> {
        Some(Current {
            listing: Arc::clone(self.listing.as_ref()?),
            changes: Arc::clone(&self.changes),
        })
    }

    /// Takes `merged`, which was made of `current`, unless something changed meanwhile.
    pub(super) fn settle(&mut self, current: &Current, merged: &Arc<Snapshot>) {
        let unchanged = Arc::ptr_eq(&self.changes, &current.changes)
            && self
                .listing
                .as_ref()
                .is_some_and(|listing| Arc::ptr_eq(listing, &current.listing));
        if unchanged && self.doubts == 0 {
            *self = Self {
                misses: self.misses,
                ..Self::listed(Arc::clone(merged))
            };
        }
    }

    pub(super) fn note(&mut self, name: &[u8], known: Known, ttl: Duration, now: Instant) {
        let heard = Heard { known, at: now };
        self.count(name, &heard.known, true);
        if let Some(old) = Arc::make_mut(&mut self.changes).insert(Box::from(name), heard) {
            self.count(name, &old.known, false);
        }
        if !self.is_listing_fresh(now) {
            self.purge(ttl, now);
            return;
        }
        let listed = self.listing.as_ref().map_or(0, |listing| listing.len());
        let many = self.changes.len() >= MERGE_FROM.max(listed / MERGE_AT);
        if many && let Some(current) = self.current(now) {
            let merged = current.merged();
            self.settle(&current, &merged);
        }
    }

    /// Names in its listing.
    pub(super) fn names(&self) -> usize {
        self.listing.as_ref().map_or(0, |listing| listing.len())
    }

    /// Bytes held, without what others hold with it.
    pub(super) fn bytes(&self) -> usize {
        let listing = self.listing.as_ref().map_or(0, |listing| listing.bytes());
        size_of::<Self>() + listing + self.changes_bytes
    }

    pub(super) fn lookup(&self, name: &[u8], ttl: Duration, now: Instant) -> Answer {
        if let Some(heard) = self.changes.get(name) {
            let left = left(heard, ttl, now);
            return match &heard.known {
                Known::Present(attributes) if !left.is_zero() => {
                    Answer::Present(attributes.clone(), left)
                }
                Known::Absent if !left.is_zero() => Answer::Absent(left),
                Known::Present(_) | Known::Absent | Known::Doubtful(_) => Answer::Unknown,
            };
        }
        let Some(listing) = self.listing.as_deref() else {
            return Answer::Unknown;
        };
        let left = listing.fresh_at(now);
        if left.is_zero() {
            return Answer::Unknown;
        }
        listing
            .find(name)
            .map_or(Answer::Absent(left), |found| Answer::Present(found, left))
    }

    fn is_listing_fresh(&self, now: Instant) -> bool {
        self.listing
            .as_ref()
            .is_some_and(|listing| !listing.fresh_at(now).is_zero())
    }

    fn count(&mut self, name: &[u8], known: &Known, is_new: bool) {
        let bytes = change_bytes(name, known);
        let doubt = usize::from(matches!(known, Known::Doubtful(_)));
        if is_new {
            self.changes_bytes += bytes;
            self.doubts += doubt;
        } else {
            self.changes_bytes = self.changes_bytes.saturating_sub(bytes);
            self.doubts = self.doubts.saturating_sub(doubt);
        }
    }

    /// Forgets which names were not there long ago: asking for ever new ones must not fill the memory.
    /// What was there stays: its exact time may be of use to the next listing.
    fn purge(&mut self, ttl: Duration, now: Instant) {
        if self.changes.len() < self.purge_at.max(MERGE_FROM) {
            return;
        }
        let is_useful =
            |heard: &Heard| heard.known != Known::Absent || !left(heard, ttl, now).is_zero();
        let mut gone = 0;
        Arc::make_mut(&mut self.changes).retain(|name, heard| {
            let stays = is_useful(heard);
            if !stays {
                gone += change_bytes(name, &heard.known);
            }
            stays
        });
        self.changes_bytes = self.changes_bytes.saturating_sub(gone);
        self.purge_at = 2 * self.changes.len();
    }
}

/// Gives `attributes` the exact time that was known `before`, where it tells only a rough one and
/// both can be the same time of the same file.
pub(super) fn keep_exact_time(before: &Attributes, attributes: &mut Attributes) {
    let (Some((exact, Precision::Second)), Some((rough, precision))) =
        (before.modified, attributes.modified)
    else {
        return;
    };
    let width = match precision {
        Precision::Second => return,
        Precision::Minute => 60,
        Precision::Day => 86_400,
    };
    if before.kind == attributes.kind
        && before.size == attributes.size
        && (rough..rough.saturating_add(width)).contains(&exact)
    {
        attributes.modified = before.modified;
    }
}

fn last_known(listing: Option<&Snapshot>, changes: &Changes, name: &[u8]) -> Option<Attributes> {
    match changes.get(name).map(|heard| &heard.known) {
        Some(Known::Present(attributes)) => Some(attributes.clone()),
        Some(Known::Doubtful(before)) => before.clone(),
        Some(Known::Absent) => None,
        None => listing?.find(name),
    }
}

/// How long what was heard is still good.
fn left(heard: &Heard, ttl: Duration, now: Instant) -> Duration {
    ttl.saturating_sub(now.saturating_duration_since(heard.at))
}

/// What one change costs: its place in nodes that are a little more than half full, and what is
/// allocated for it.
fn change_bytes(name: &[u8], known: &Known) -> usize {
    let target = match known {
        Known::Present(attributes) | Known::Doubtful(Some(attributes)) => {
            attributes.target.as_deref()
        }
        Known::Absent | Known::Doubtful(None) => None,
    };
    let allocated = |bytes: &[u8]| (bytes.len() + 8).max(24).next_multiple_of(16);
    size_of::<(Box<[u8]>, Heard)>() * 11 / 6 + allocated(name) + target.map_or(0, allocated)
}
