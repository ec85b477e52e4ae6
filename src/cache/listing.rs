//! A listing held in little memory: the names in one piece, a small record for each, in the order
//! of the names.

use std::time::{Duration, Instant};

use crate::ftp::{Completeness, Kind, Precision};

use super::Attributes;
use super::directory::{DirectoryChanges, KnownName};

/// A listing as it was at one moment; it never changes.
#[derive(Debug)]
pub struct Snapshot {
    /// Names, each with its symlink target after it, back to back.
    text: Vec<u8>,
    /// In the order of their names.
    records: Vec<PackedRecord>,
    completeness: Completeness,
    listed: Instant,
    ttl: Duration,
}

/// One entry in 48 bytes.
#[derive(Debug, Clone, Copy)]
struct PackedRecord {
    /// Where in the text the name begins.
    start: u64,
    name_length: u16,
    /// 0 where there is none: an empty target is none.
    target_length: u16,
    mode: u16,
    kind: Kind,
    precision: Option<Precision>,
    has_size: bool,
    has_mode: bool,
    size: u64,
    modified: i64,
    unique: u64,
}

impl Snapshot {
    /// The listing of `entries`, fresh for `ttl` from `listed` on; of names that come twice the
    /// first stays.
    pub(super) fn new(
        mut entries: Vec<(Vec<u8>, Attributes)>,
        completeness: Completeness,
        listed: Instant,
        ttl: Duration,
    ) -> Self {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        let text =
            |(name, attributes): &(Vec<u8>, Attributes)| name.len() + target_length(attributes);
        let mut snapshot = Self {
            text: Vec::with_capacity(entries.iter().map(text).sum()),
            records: Vec::with_capacity(entries.len()),
            completeness,
            listed,
            ttl,
        };
        for (name, attributes) in &entries {
            snapshot.push(name, attributes);
        }
        snapshot
    }

    /// This listing after `changes`, as old as it is.
    pub(super) fn changed(&self, changes: &DirectoryChanges) -> Self {
        let mut merged = Self {
            text: Vec::with_capacity(self.text.len() + changes.len() * 16),
            records: Vec::with_capacity(self.len() + changes.len()),
            completeness: self.completeness,
            listed: self.listed,
            ttl: self.ttl,
        };
        let mut changes = changes.iter().peekable();
        for record in &self.records {
            let name = self.name(record);
            while let Some((new, heard)) = changes.next_if(|(new, _)| ***new < *name) {
                merged.push_known(new, &heard.known);
            }
            match changes.next_if(|(new, _)| ***new == *name) {
                Some((_, heard)) => match &heard.known {
                    KnownName::Invalidated(_) => merged.copy(self, record),
                    known @ (KnownName::Present(_) | KnownName::Absent) => {
                        merged.push_known(name, known);
                    }
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

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The `index`th entry, in the order of the names' bytes.
    pub fn get(&self, index: usize) -> Option<(&[u8], Attributes)> {
        let record = self.records.get(index)?;
        Some((self.name(record), self.attributes(record)))
    }

    /// At which place the entry of this name is.
    pub fn position(&self, name: &[u8]) -> Option<usize> {
        self.records
            .binary_search_by(|record| self.name(record).cmp(name))
            .ok()
    }

    /// The entry of this name.
    pub fn find(&self, name: &[u8]) -> Option<Attributes> {
        let index = self.position(name)?;
        Some(self.attributes(self.records.get(index)?))
    }

    /// How far the listing can be trusted to name all that the directory holds.
    pub fn completeness(&self) -> Completeness {
        self.completeness
    }

    /// The first entry whose name differs from `name` in case only.
    pub fn find_variant(&self, name: &[u8]) -> Option<(&[u8], Attributes)> {
        let record = self.records.iter().find(|record| {
            let listed = self.name(record);
            listed != name && is_same_but_case(listed, name)
        })?;
        Some((self.name(record), self.attributes(record)))
    }

    /// How long the listing is still fresh.
    pub fn fresh_for(&self) -> Duration {
        self.fresh_at(Instant::now())
    }

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

    fn push_known(&mut self, name: &[u8], known: &KnownName) {
        match known {
            KnownName::Present(attributes) => self.push(name, attributes),
            KnownName::Absent | KnownName::Invalidated(_) => {}
        }
    }

    /// Takes over another listing's record.
    fn copy(&mut self, other: &Self, record: &PackedRecord) {
        let start = self.text.len() as u64;
        self.text.extend_from_slice(other.name(record));
        self.text.extend_from_slice(other.target(record));
        self.records.push(PackedRecord { start, ..*record });
    }

    fn push(&mut self, name: &[u8], attributes: &Attributes) {
        // A name longer than any that can be sent is none; a target longer than any path is not
        // kept.
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
        });
    }

    fn name(&self, record: &PackedRecord) -> &[u8] {
        self.piece(record.start as usize, record.name_length)
    }

    fn target(&self, record: &PackedRecord) -> &[u8] {
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
        }
    }
}

/// Whether two names are the same but for upper and lower case.
pub fn is_same_but_case(one: &[u8], other: &[u8]) -> bool {
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
