//! Cached state of one directory: its last listing, and what was observed of single names since.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::{Completeness, Precision, Version};

use super::changes::{DirectoryChanges, KnownName, Observed};
use super::{Answer, Attributes, Snapshot};

/// Changes are stored beside the listing until they amount to a quarter of it, so that creating
/// many files one by one does not copy the listing each time.
const MERGE_AT: usize = 4;
/// Minimum number of changes for an automatic merge.
const MERGE_FROM: usize = 64;

/// A listing and the changes observed after it, at one point in time.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) listing: Arc<Snapshot>,
    merging: Arc<DirectoryChanges>,
    changes: Arc<DirectoryChanges>,
}

impl Current {
    /// Whether the listing needs no merge.
    pub(super) fn is_merged(&self) -> bool {
        self.merging.is_empty() && self.changes.is_empty()
    }

    /// Returns the listing with the changes applied. Slow for a large listing: not to be called
    /// under a lock.
    pub(super) fn merged(&self) -> Arc<Snapshot> {
        let both;
        let changes = match (self.merging.is_empty(), self.changes.is_empty()) {
            (true, true) => return Arc::clone(&self.listing),
            (true, false) => &self.changes,
            (false, true) => &self.merging,
            (false, false) => {
                let mut all = DirectoryChanges::clone(&self.merging);
                all.extend(
                    self.changes
                        .iter()
                        .map(|(name, observed)| (name.clone(), observed.clone())),
                );
                both = all;
                &both
            }
        };
        Arc::new(self.listing.changed(changes))
    }
}

/// Everything known about a directory, regardless of age. Each layer overrides those before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    listing: Option<Arc<Snapshot>>,
    /// Changes being merged into the listing outside the lock. Nothing is added here.
    merging: Arc<DirectoryChanges>,
    changes: Arc<DirectoryChanges>,
}

impl Layers {
    /// Returns the last known attributes of `name`.
    pub(super) fn last_known(&self, name: &[u8]) -> Option<Attributes> {
        match self.observed(name).map(|observed| &observed.known) {
            Some(KnownName::Present(attributes)) => Some(attributes.clone()),
            Some(KnownName::Invalidated(before)) => before.clone(),
            Some(KnownName::Absent) => None,
            None => self.listing.as_deref()?.find(name),
        }
    }

    /// Returns what was observed of `name` after the listing.
    fn observed(&self, name: &[u8]) -> Option<&Observed> {
        self.changes.get(name).or_else(|| self.merging.get(name))
    }
}

#[derive(Debug, Default)]
pub(super) struct Directory {
    layers: Layers,
    merging_bytes: usize,
    changes_bytes: usize,
    /// Number of invalidated names in `changes`. `merging` never contains any.
    invalidated: usize,
    /// Number of changes at which useless ones are purged next.
    purge_at: usize,
    /// Number of changes at which the next merge starts.
    merge_at: usize,
    misses: u32,
}

impl Directory {
    pub(super) fn listed(listing: Arc<Snapshot>) -> Self {
        Self {
            layers: Layers {
                listing: Some(listing),
                ..Layers::default()
            },
            ..Self::default()
        }
    }

    pub(super) fn count_miss(&mut self) -> u32 {
        self.misses = self.misses.saturating_add(1);
        self.misses
    }

    /// Returns the state that `name` has at its new place after a rename.
    pub(super) fn known(&self, name: &[u8], ttl: Duration, now: Instant) -> KnownName {
        match self.lookup(name, ttl, now) {
            Answer::Present(attributes, _) => KnownName::Present(attributes),
            Answer::Absent(_) | Answer::Unknown => KnownName::Invalidated(self.last_known(name)),
        }
    }

    /// Returns the last known attributes of `name`, regardless of age.
    pub(super) fn last_known(&self, name: &[u8]) -> Option<Attributes> {
        self.layers.last_known(name)
    }

    /// Returns everything known, regardless of age, to fill in what a new listing leaves out.
    pub(super) fn memory(&mut self) -> Layers {
        self.freeze();
        self.layers.clone()
    }

    /// Returns the listing and its changes if the listing is fresh and no name is invalidated.
    pub(super) fn current(&mut self, now: Instant) -> Option<Current> {
        if self.invalidated > 0 || !self.is_listing_fresh(now) {
            return None;
        }
        self.freeze();
        self.current_or_stale()
    }

    /// Returns the listing and its changes, fresh or not.
    pub(super) fn current_or_stale(&self) -> Option<Current> {
        Some(Current {
            listing: Arc::clone(self.layers.listing.as_ref()?),
            merging: Arc::clone(&self.layers.merging),
            changes: Arc::clone(&self.layers.changes),
        })
    }

    /// Installs `merged`, which was made from `current`, unless another listing arrived in the
    /// meantime. Changes recorded in the meantime remain.
    pub(super) fn finish_merge(&mut self, current: &Current, merged: &Arc<Snapshot>) {
        let layers = &mut self.layers;
        let is_of_these = Arc::ptr_eq(&layers.merging, &current.merging)
            && layers
                .listing
                .as_ref()
                .is_some_and(|listing| Arc::ptr_eq(listing, &current.listing));
        if !is_of_these {
            return;
        }
        layers.listing = Some(Arc::clone(merged));
        layers.merging = Arc::default();
        self.merging_bytes = 0;
        self.merge_at = 0;
        if self.invalidated == 0 && Arc::ptr_eq(&layers.changes, &current.changes) {
            layers.changes = Arc::default();
            self.changes_bytes = 0;
            self.purge_at = 0;
        }
    }

    /// Records what was observed of `name`. Returns the listing and its changes when there are
    /// enough of them for a merge: the caller passes the [merged](Current::merged) listing to
    /// [`Self::finish_merge`].
    #[must_use]
    pub(super) fn record(
        &mut self,
        name: &[u8],
        known: KnownName,
        ttl: Duration,
        now: Instant,
    ) -> Option<Current> {
        let observed = Observed { known, at: now };
        self.count(name, &observed.known, true);
        let changes = Arc::make_mut(&mut self.layers.changes);
        if let Some(old) = changes.insert(Box::from(name), observed) {
            self.count(name, &old.known, false);
        }
        if !self.is_listing_fresh(now) {
            self.purge(ttl, now);
            return None;
        }
        let changes = self.layers.changes.len();
        let enough = MERGE_FROM.max(self.names() / MERGE_AT);
        if changes < enough.max(self.merge_at) {
            return None;
        }
        self.merge_at = 2 * changes;
        self.current(now)
    }

    /// Returns the last listing, fresh or not, without the changes.
    pub(super) fn listing(&self) -> Option<&Snapshot> {
        self.layers.listing.as_deref()
    }

    /// Number of names in the listing.
    pub(super) fn names(&self) -> usize {
        let listing = self.layers.listing.as_ref();
        listing.map_or(0, |listing| listing.len())
    }

    /// Bytes held, not counting data shared with others.
    pub(super) fn bytes(&self) -> usize {
        let listing = self.layers.listing.as_ref();
        let listing = listing.map_or(0, |listing| listing.bytes());
        size_of::<Self>() + listing + self.merging_bytes + self.changes_bytes
    }

    pub(super) fn lookup(&self, name: &[u8], ttl: Duration, now: Instant) -> Answer {
        if let Some(observed) = self.layers.observed(name) {
            let left = remaining_ttl(observed, ttl, now);
            return match &observed.known {
                KnownName::Present(attributes) if !left.is_zero() => {
                    Answer::Present(attributes.clone(), left)
                }
                KnownName::Absent if !left.is_zero() => Answer::Absent(left),
                KnownName::Present(_) | KnownName::Absent | KnownName::Invalidated(_) => {
                    Answer::Unknown
                }
            };
        }
        let Some(listing) = self.layers.listing.as_deref() else {
            return Answer::Unknown;
        };
        let left = listing.fresh_at(now);
        if left.is_zero() {
            return Answer::Unknown;
        }
        match listing.find(name) {
            Some(found) => Answer::Present(found, left),
            None if listing.completeness().answers_for(name) => Answer::Absent(left),
            None => Answer::Unknown,
        }
    }

    /// Adds an old listing below everything that is known, unless there is a listing.
    pub(super) fn restore(&mut self, listing: Arc<Snapshot>) {
        self.layers.listing.get_or_insert(listing);
    }

    /// Returns what was last known of `name`, regardless of age, for when the server cannot be
    /// asked.
    pub(super) fn last_answer(&self, name: &[u8]) -> Answer {
        match self.layers.observed(name).map(|observed| &observed.known) {
            Some(KnownName::Present(attributes) | KnownName::Invalidated(Some(attributes))) => {
                return Answer::Present(attributes.clone(), Duration::ZERO);
            }
            Some(KnownName::Absent) => return Answer::Absent(Duration::ZERO),
            Some(KnownName::Invalidated(None)) => return Answer::Unknown,
            None => {}
        }
        let Some(listing) = self.layers.listing.as_deref() else {
            return Answer::Unknown;
        };
        match listing.find(name) {
            Some(found) => Answer::Present(found, Duration::ZERO),
            None if listing.completeness().answers_for(name) => Answer::Absent(Duration::ZERO),
            None => Answer::Unknown,
        }
    }

    /// Returns how complete the listing is, if it is fresh.
    pub(super) fn completeness(&self, now: Instant) -> Option<Completeness> {
        let listing = self.layers.listing.as_ref()?;
        self.is_listing_fresh(now).then(|| listing.completeness())
    }

    /// Moves the changes aside for a merge. The merging thread then shares no map that others add
    /// to, which would copy the whole map on each addition. Does nothing while a name is
    /// invalidated or a merge is under way.
    fn freeze(&mut self) {
        if self.invalidated == 0 && self.layers.merging.is_empty() {
            self.layers.merging = mem::take(&mut self.layers.changes);
            self.merging_bytes = mem::take(&mut self.changes_bytes);
            self.purge_at = 0;
            self.merge_at = 0;
        }
    }

    fn is_listing_fresh(&self, now: Instant) -> bool {
        let listing = self.layers.listing.as_ref();
        listing.is_some_and(|listing| !listing.fresh_at(now).is_zero())
    }

    fn count(&mut self, name: &[u8], known: &KnownName, is_new: bool) {
        let bytes = change_bytes(name, known);
        let doubt = usize::from(matches!(known, KnownName::Invalidated(_)));
        if is_new {
            self.changes_bytes += bytes;
            self.invalidated += doubt;
        } else {
            self.changes_bytes = self.changes_bytes.saturating_sub(bytes);
            self.invalidated = self.invalidated.saturating_sub(doubt);
        }
    }

    /// Drops names that have been absent for longer than the TTL, so that lookups of ever new names
    /// do not fill the memory. Present and invalidated names remain: their exact times may complete
    /// the next listing.
    fn purge(&mut self, ttl: Duration, now: Instant) {
        if self.layers.changes.len() < self.purge_at.max(MERGE_FROM) {
            return;
        }
        let listing = self.layers.listing.clone();
        let is_listed = |name: &[u8]| listing.as_ref().is_some_and(|it| it.find(name).is_some());
        // A listed name that is absent would be back without the server.
        let is_useful = |name: &[u8], observed: &Observed| {
            observed.known != KnownName::Absent
                || !remaining_ttl(observed, ttl, now).is_zero()
                || is_listed(name)
        };
        let mut gone = 0;
        Arc::make_mut(&mut self.layers.changes).retain(|name, observed| {
            let stays = is_useful(name, observed);
            if !stays {
                gone += change_bytes(name, &observed.known);
            }
            stays
        });
        self.changes_bytes = self.changes_bytes.saturating_sub(gone);
        self.purge_at = 2 * self.layers.changes.len();
    }
}

/// Copies the exact time from `before` to `attributes` if `attributes` has only a coarse time and
/// both can describe the same version of the same file.
pub(super) fn keep_exact_time(before: &Attributes, attributes: &mut Attributes) {
    let (known, listed) = (Version::from(before), Version::from(&*attributes));
    let is_refined = matches!(known.modified, Some((_, Precision::Second)));
    if is_refined
        && listed.modified.is_some()
        && before.kind == attributes.kind
        && known.size == listed.size
        && known.refines(&listed)
    {
        attributes.modified = known.modified;
    }
}

/// Remaining time for which an observation is valid.
fn remaining_ttl(observed: &Observed, ttl: Duration, now: Instant) -> Duration {
    ttl.saturating_sub(now.saturating_duration_since(observed.at))
}

/// Memory of one change in bytes: its share of B-tree nodes that are a little more than half full,
/// and its own allocations.
fn change_bytes(name: &[u8], known: &KnownName) -> usize {
    let target = match known {
        KnownName::Present(attributes) | KnownName::Invalidated(Some(attributes)) => {
            attributes.target.as_deref()
        }
        KnownName::Absent | KnownName::Invalidated(None) => None,
    };
    let allocated = |bytes: &[u8]| (bytes.len() + 8).max(24).next_multiple_of(16);
    size_of::<(Box<[u8]>, Observed)>() * 11 / 6 + allocated(name) + target.map_or(0, allocated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::{Entry, Kind};

    const TTL: Duration = Duration::from_secs(60);

    fn attributes(size: u64) -> Attributes {
        Attributes::from(&Entry {
            size: Some(size),
            ..Entry::new("", Kind::File)
        })
    }

    fn name(number: u64) -> Vec<u8> {
        format!("{number:08}").into_bytes()
    }

    /// Returns a directory with `count` names.
    fn listed(count: u64, now: Instant) -> Directory {
        let entries = (0..count).map(|number| (name(number), attributes(number)));
        let listing = Snapshot::new(entries.collect(), Completeness::Complete, now, TTL);
        Directory::listed(Arc::new(listing))
    }

    fn record(
        directory: &mut Directory,
        number: u64,
        known: KnownName,
        now: Instant,
    ) -> Option<Current> {
        directory.record(&name(number), known, TTL, now)
    }

    fn size_of(directory: &Directory, number: u64, now: Instant) -> Option<u64> {
        match directory.lookup(&name(number), TTL, now) {
            Answer::Present(attributes, _) => attributes.size,
            Answer::Absent(_) | Answer::Unknown => None,
        }
    }

    #[test]
    fn a_change_copies_no_listing() {
        let now = Instant::now();
        let mut directory = listed(1_000, now);
        let before = directory.current_or_stale().unwrap().listing;
        let mut due = 0;
        for number in 1_000..3_000 {
            let merge = record(
                &mut directory,
                number,
                KnownName::Present(attributes(7)),
                now,
            );
            due += u32::from(merge.is_some());
        }
        let after = directory.current_or_stale().unwrap().listing;
        assert!(Arc::ptr_eq(&before, &after));
        // No merge was finished, so each starts after twice as many changes as the one before.
        assert!((2..=5).contains(&due), "{due}");
    }

    #[test]
    fn what_is_noted_while_a_merge_is_made_outlasts_it() {
        let now = Instant::now();
        let mut directory = listed(100, now);
        let mut due = None;
        let mut number = 100;
        while due.is_none() {
            due = record(
                &mut directory,
                number,
                KnownName::Present(attributes(1)),
                now,
            );
            number += 1;
        }
        let due = due.unwrap();
        assert!(record(&mut directory, 0, KnownName::Absent, now).is_none());
        assert!(record(&mut directory, 100, KnownName::Present(attributes(2)), now).is_none());
        assert!(record(&mut directory, 101, KnownName::Invalidated(None), now).is_none());
        let bytes = directory.bytes();

        directory.finish_merge(&due, &due.merged());
        assert!(directory.bytes() < bytes, "what was merged is counted once");
        assert_eq!(directory.names() as u64, number);
        assert_eq!(size_of(&directory, 0, now), None);
        assert_eq!(size_of(&directory, 1, now), Some(1));
        assert_eq!(size_of(&directory, 100, now), Some(2));
        assert_eq!(directory.lookup(&name(101), TTL, now), Answer::Unknown);
        assert!(directory.current(now).is_none(), "one name is in doubt");

        assert!(record(&mut directory, 101, KnownName::Absent, now).is_none());
        let merged = directory.current(now).unwrap().merged();
        assert_eq!(merged.len() as u64, number - 2);
        assert_eq!(merged.find(&name(100)).unwrap().size, Some(2));
    }

    #[test]
    fn a_merge_of_another_listing_is_dropped() {
        let now = Instant::now();
        let mut directory = listed(3, now);
        assert!(record(&mut directory, 3, KnownName::Present(attributes(3)), now).is_none());
        let old = directory.current(now).unwrap();
        let mut directory = listed(2, now);
        directory.finish_merge(&old, &old.merged());
        assert_eq!(directory.names(), 2);
    }
}
