//! Compact listings: one buffer with all names, and one small record per entry in the order of the
//! names.

use std::mem;
use std::time::{Duration, Instant};

use crate::ftp::{Completeness, Kind, Perm, Precision};

use super::Attributes;
use super::changes::{DirectoryChanges, KnownName};

/// An immutable directory listing.
#[derive(Debug)]
pub struct Snapshot {
    /// All names, each followed by its symlink target.
    text: Vec<u8>,
    /// Sorted by name.
    records: Vec<PackedRecord>,
    completeness: Completeness,
    listed: Instant,
    /// How long the fetch took.
    took: Duration,
    ttl: Duration,
    /// The `perm` fact of the directory itself.
    perm: Option<Perm>,
}

/// One entry, 48 bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct PackedRecord {
    /// Offset of the name in the text.
    pub(super) start: u64,
    pub(super) name_length: u16,
    /// 0 if there is no target. An empty target counts as none.
    pub(super) target_length: u16,
    pub(super) mode: u16,
    pub(super) kind: Kind,
    pub(super) precision: Option<Precision>,
    pub(super) has_size: bool,
    pub(super) has_mode: bool,
    pub(super) size: u64,
    pub(super) modified: i64,
    pub(super) unique: u64,
    pub(super) perm: Option<Perm>,
}

impl Snapshot {
    /// Builds the listing of `entries`, fresh for `ttl` from `listed` on. Of duplicate names the
    /// first wins.
    pub(super) fn new(
        entries: Vec<(Vec<u8>, Attributes)>,
        completeness: Completeness,
        listed: Instant,
        ttl: Duration,
    ) -> Self {
        let text =
            |(name, attributes): &(Vec<u8>, Attributes)| name.len() + target_length(attributes);
        let mut snapshot = Self {
            text: Vec::with_capacity(entries.iter().map(text).sum()),
            records: Vec::with_capacity(entries.len()),
            completeness,
            listed,
            took: Duration::ZERO,
            ttl,
            perm: None,
        };
        // Each entry is freed when it is copied.
        for (name, attributes) in entries {
            snapshot.push(&name, &attributes);
        }
        if snapshot.is_sorted() {
            snapshot
        } else {
            snapshot.sorted()
        }
    }

    /// Returns the listing in the order of the names, each once. The records are smaller than the
    /// entries, and their names are together.
    fn sorted(mut self) -> Self {
        let mut records = mem::take(&mut self.records);
        records.sort_by(|one, next| self.name(one).cmp(self.name(next)));
        records.dedup_by(|next, one| self.name(next) == self.name(one));
        // Names are read in this order.
        let mut sorted = Self {
            text: Vec::with_capacity(self.text.len()),
            records: Vec::new(),
            ..self
        };
        for record in &mut records {
            let start = sorted.text.len() as u64;
            sorted.text.extend_from_slice(self.name(record));
            sorted.text.extend_from_slice(self.target(record));
            record.start = start;
        }
        sorted.records = records;
        sorted
    }

    /// Sets how long the fetch took.
    pub(super) fn fetched_in(self, took: Duration) -> Self {
        Self { took, ..self }
    }

    /// Sets the `perm` fact of the directory itself.
    pub(super) fn with_perm(self, perm: Option<Perm>) -> Self {
        Self { perm, ..self }
    }

    /// Returns the `perm` fact of the directory itself, if the listing contains it.
    pub fn perm(&self) -> Option<Perm> {
        self.perm
    }

    /// Returns this listing with `changes` applied. Its age remains the same.
    pub(super) fn changed(&self, changes: &DirectoryChanges) -> Self {
        let mut merged = Self {
            text: Vec::with_capacity(self.text.len() + changes.len() * 16),
            records: Vec::with_capacity(self.len() + changes.len()),
            completeness: self.completeness,
            listed: self.listed,
            took: self.took,
            ttl: self.ttl,
            perm: self.perm,
        };
        let mut changes = changes.iter().peekable();
        for record in &self.records {
            let name = self.name(record);
            while let Some((new, heard)) = changes.next_if(|(new, _)| ***new < *name) {
                merged.push_known(new, &heard.known);
            }
            match changes.next_if(|(new, _)| ***new == *name) {
                Some((_, heard)) => match &heard.known {
                    KnownName::Invalidated(None) => merged.copy(self, record),
                    known => merged.push_known(name, known),
                },
                None => merged.copy(self, record),
            }
        }
        for (new, heard) in changes {
            merged.push_known(new, &heard.known);
        }
        merged.records.shrink_to_fit();
        merged.text.shrink_to_fit();
        merged
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the entry at `index` in byte order of the names.
    pub fn get(&self, index: usize) -> Option<(&[u8], Attributes)> {
        let record = self.records.get(index)?;
        Some((self.name(record), self.attributes(record)))
    }

    /// Returns the index of the entry called `name`.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.records
            .binary_search_by(|record| self.name(record).cmp(name))
            .ok()
    }

    /// Returns the attributes of the entry called `name`.
    pub fn find(&self, name: &[u8]) -> Option<Attributes> {
        let index = self.position(name)?;
        Some(self.attributes(self.records.get(index)?))
    }

    /// How complete the listing is.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// Returns the first entry whose name differs from `name` in case only.
    pub fn find_variant(&self, name: &[u8]) -> Option<(&[u8], Attributes)> {
        let record = self.records.iter().find(|record| {
            let listed = self.name(record);
            listed != name && is_same_but_case(listed, name)
        })?;
        Some((self.name(record), self.attributes(record)))
    }

    /// How long the fetch took.
    pub(super) fn took(&self) -> Duration {
        self.took
    }

    /// Time since the server listed this.
    pub(super) fn age_at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.listed)
    }

    /// Remaining time for which the listing is fresh.
    pub(super) fn fresh_at(&self, now: Instant) -> Duration {
        self.ttl
            .saturating_sub(now.saturating_duration_since(self.listed))
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.capacity()
            + self.records.capacity() * size_of::<PackedRecord>()
    }

    /// The records, in the order of their names.
    pub(super) fn records(&self) -> &[PackedRecord] {
        &self.records
    }

    /// All names and targets.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Replaces the entries.
    pub(super) fn with_records(self, text: Vec<u8>, records: Vec<PackedRecord>) -> Self {
        Self {
            text,
            records,
            ..self
        }
    }

    /// Whether the names are in order and none repeats.
    pub(super) fn is_sorted(&self) -> bool {
        self.records
            .is_sorted_by(|one, next| self.name(one) < self.name(next))
    }

    fn push_known(&mut self, name: &[u8], known: &KnownName) {
        match known {
            // The last that is known of a name, until the server is asked.
            KnownName::Present(attributes) | KnownName::Invalidated(Some(attributes)) => {
                self.push(name, attributes);
            }
            KnownName::Absent | KnownName::Invalidated(None) => {}
        }
    }

    /// Copies a record and its text from another listing.
    fn copy(&mut self, other: &Self, record: &PackedRecord) {
        let start = self.text.len() as u64;
        self.text.extend_from_slice(other.name(record));
        self.text.extend_from_slice(other.target(record));
        self.records.push(PackedRecord { start, ..*record });
    }

    fn push(&mut self, name: &[u8], attributes: &Attributes) {
        // Skip names longer than any that can be sent, and targets longer than any path.
        let Ok(name_length) = u16::try_from(name.len()) else {
            return;
        };
        let start = self.text.len() as u64;
        self.text.extend_from_slice(name);
        let target = attributes.target.as_deref().unwrap_or_default();
        let target_length = u16::try_from(target.len()).unwrap_or(0);
        if target_length > 0 {
            self.text.extend_from_slice(target);
        }
        let (modified, precision) = match attributes.modified {
            Some((seconds, precision)) => (seconds, Some(precision)),
            None => (0, None),
        };
        self.records.push(PackedRecord {
            start,
            name_length,
            target_length,
            mode: attributes.mode.unwrap_or(0) as u16,
            kind: attributes.kind,
            precision,
            has_size: attributes.size.is_some(),
            has_mode: attributes.mode.is_some(),
            size: attributes.size.unwrap_or(0),
            modified,
            unique: attributes.unique,
            perm: attributes.perm,
        });
    }

    pub(super) fn name(&self, record: &PackedRecord) -> &[u8] {
        self.piece(record.start as usize, record.name_length)
    }

    pub(super) fn target(&self, record: &PackedRecord) -> &[u8] {
        let start = record.start as usize + usize::from(record.name_length);
        self.piece(start, record.target_length)
    }

    fn piece(&self, start: usize, length: u16) -> &[u8] {
        self.text
            .get(start..start + usize::from(length))
            .unwrap_or_default()
    }

    fn attributes(&self, record: &PackedRecord) -> Attributes {
        let target = self.target(record);
        Attributes {
            kind: record.kind,
            size: record.has_size.then_some(record.size),
            modified: record
                .precision
                .map(|precision| (record.modified, precision)),
            mode: record.has_mode.then_some(u32::from(record.mode)),
            target: (!target.is_empty()).then(|| Box::from(target)),
            unique: record.unique,
            perm: record.perm,
        }
    }
}

/// Whether two names differ at most in case.
pub(crate) fn is_same_but_case(one: &[u8], other: &[u8]) -> bool {
    if one.is_ascii() || other.is_ascii() {
        return one.eq_ignore_ascii_case(other);
    }
    let lower = |name| std::str::from_utf8(name).map(str::to_lowercase);
    match (lower(one), lower(other)) {
        (Ok(one), Ok(other)) => one == other,
        (Err(_), _) | (_, Err(_)) => one.eq_ignore_ascii_case(other),
    }
}

fn target_length(attributes: &Attributes) -> usize {
    attributes.target.as_ref().map_or(0, |target| target.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ftp::Entry;

    fn link(target: &str) -> Attributes {
        Attributes::from(&Entry {
            target: Some(target.into()),
            ..Entry::new("", Kind::Symlink)
        })
    }

    fn listing(entries: &[(&str, &str)]) -> Snapshot {
        let entries = entries.iter();
        let entries = entries.map(|(name, target)| (name.as_bytes().to_vec(), link(target)));
        Snapshot::new(
            entries.collect(),
            Completeness::Complete,
            Instant::now(),
            Duration::ZERO,
        )
    }

    #[test]
    fn names_are_in_order_and_the_first_of_equal_ones_wins() {
        let listing = listing(&[("b", "1"), ("aa", "22"), ("b", "3"), ("", "4"), ("aa", "5")]);
        let shown = (0..listing.len()).filter_map(|at| listing.get(at));
        let shown: Vec<_> = shown
            .map(|(name, attributes)| (name.to_vec(), attributes.target.unwrap().to_vec()))
            .collect();
        let expected = [("", "4"), ("aa", "22"), ("b", "1")];
        let expected = expected.map(|(name, target)| (name.into(), target.into()));
        assert_eq!(shown, expected);
        assert_eq!(
            listing.text(),
            b"4aa22b1",
            "of what is not shown, nothing is kept"
        );
        assert!(listing.is_sorted() && listing.position(b"b") == Some(2));
    }
}
