//! What is known of one directory: its last listing, and what was heard of single names since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ftp::Precision;

use super::{Answer, Attributes, Known, Snapshot};

/// Changes are kept apart from the listing until they are a quarter of it, so that making many files
/// one by one does not copy the listing for each.
const MERGE_AT: usize = 4;
/// … but at least so many.
const MERGE_FROM: usize = 64;
/// What one change costs beside its name: map node and attributes, rounded up.
const CHANGE_BYTES: usize = 192;

#[derive(Debug, Default)]
pub(super) struct Directory {
    listing: Option<Arc<Snapshot>>,
    /// Later than the listing.
    changes: BTreeMap<Box<[u8]>, Known>,
    /// When each change was heard.
    heard: BTreeMap<Box<[u8]>, Instant>,
    misses: u32,
    text: usize,
}

impl Directory {
    pub(super) fn listed(listing: Arc<Snapshot>) -> Self {
        Self {
            listing: Some(listing),
            ..Self::default()
        }
    }

    pub(super) fn lookup(&mut self, name: &[u8], ttl: Duration, now: Instant) -> Answer {
        if let (Some(known), Some(heard)) = (self.changes.get(name), self.heard.get(name)) {
            let left = (*heard + ttl).saturating_duration_since(now);
            match known {
                Known::Present(attributes) if !left.is_zero() => {
                    return Answer::Present(attributes.clone(), left);
                }
                Known::Absent if !left.is_zero() => return Answer::Absent(left),
                Known::Present(_) | Known::Absent | Known::Doubtful => {
                    self.misses = self.misses.saturating_add(1);
                    return Answer::Unknown;
                }
            }
        }
        let Some(listing) = self.fresh_listing(now) else {
            self.misses = self.misses.saturating_add(1);
            return Answer::Unknown;
        };
        let left = listing.fresh_at(now);
        listing
            .find(name)
            .map_or(Answer::Absent(left), |found| Answer::Present(found, left))
    }

    /// What was last known of `name`, however old.
    pub(super) fn last_known(&self, name: &[u8]) -> Option<Attributes> {
        match self.changes.get(name) {
            Some(Known::Present(attributes)) => Some(attributes.clone()),
            Some(Known::Absent | Known::Doubtful) => None,
            None => self.listing.as_ref()?.find(name),
        }
    }

    /// The listing with all changes, where it is fresh and nothing in it is in doubt.
    pub(super) fn snapshot(&mut self, now: Instant) -> Option<Arc<Snapshot>> {
        self.fresh_listing(now)?;
        if self
            .changes
            .values()
            .any(|known| matches!(known, Known::Doubtful))
        {
            return None;
        }
        self.merge();
        self.listing.clone()
    }

    pub(super) fn note(&mut self, name: &[u8], known: Known, now: Instant) {
        let new = self.changes.insert(Box::from(name), known).is_none();
        self.heard.insert(Box::from(name), now);
        if new {
            self.text += 2 * name.len();
        }
        let listed = self.listing.as_ref().map_or(0, |listing| listing.len());
        let many = self.changes.len() >= MERGE_FROM.max(listed / MERGE_AT);
        let doubtful = || {
            self.changes
                .values()
                .any(|known| matches!(known, Known::Doubtful))
        };
        if many && self.fresh_listing(now).is_some() && !doubtful() {
            self.merge();
        }
    }

    pub(super) fn misses(&self) -> u32 {
        self.misses
    }

    /// Times that a new listing tells only roughly, replaced by the exact ones known before, where
    /// both can be the same time of the same file.
    pub(super) fn keep_exact_times(&self, entries: &mut [(Vec<u8>, Attributes)]) {
        for (name, attributes) in entries {
            let Some((rough, precision)) = attributes.modified else {
                continue;
            };
            let width = match precision {
                Precision::Second => continue,
                Precision::Minute => 60,
                Precision::Day => 86_400,
            };
            let Some(before) = self.last_known(name) else {
                continue;
            };
            if let Some((exact, Precision::Second)) = before.modified
                && before.size == attributes.size
                && (rough..rough.saturating_add(width)).contains(&exact)
            {
                attributes.modified = before.modified;
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let listing = self.listing.as_ref().map_or(0, |listing| listing.bytes());
        size_of::<Self>() + listing + self.changes.len() * CHANGE_BYTES + self.text
    }

    fn fresh_listing(&self, now: Instant) -> Option<&Arc<Snapshot>> {
        self.listing
            .as_ref()
            .filter(|listing| !listing.fresh_at(now).is_zero())
    }

    fn merge(&mut self) {
        if self.changes.is_empty() {
            return;
        }
        if let Some(listing) = &self.listing {
            self.listing = Some(Arc::new(listing.changed(&self.changes)));
            self.changes.clear();
            self.heard.clear();
            self.text = 0;
        }
    }
}
