//! A listing held in little memory: the names in one piece, a small record for each, in the order
//! of the names.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::ftp::{Kind, Precision};

use super::{Attributes, Known};

/// A complete listing as it was at one moment; it never changes.
#[derive(Debug)]
pub struct Snapshot {
    /// Names and symlink targets, back to back.
    text: Vec<u8>,
    /// In the order of their names.
    records: Vec<Record>,
    expires: Instant,
}

/// One entry in 48 bytes.
#[derive(Debug, Clone, Copy)]
struct Record {
    name: Piece,
    target: Piece,
    size: u64,
    modified: i64,
    unique: u64,
    mode: u16,
    kind: Kind,
    precision: Option<Precision>,
    has_size: bool,
    has_mode: bool,
}

/// Where in the text something stands; nothing stands nowhere.
#[derive(Debug, Clone, Copy, Default)]
struct Piece {
    start: u32,
    length: u16,
}

impl Snapshot {
    /// The listing of `entries`; of names that come twice the first stays.
    pub(super) fn new(mut entries: Vec<(Vec<u8>, Attributes)>, expires: Instant) -> Self {
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.dedup_by(|(a, _), (b, _)| a == b);
        let mut snapshot = Self::with_capacity(entries.len(), expires);
        let text =
            |(name, attributes): &(Vec<u8>, Attributes)| name.len() + target_length(attributes);
        snapshot.text.reserve_exact(entries.iter().map(text).sum());
        for (name, attributes) in &entries {
            snapshot.push(name, attributes);
        }
        snapshot
    }

    /// This listing after `changes`.
    pub(super) fn changed(&self, changes: &BTreeMap<Box<[u8]>, Known>) -> Self {
        let mut merged = Self::with_capacity(self.len() + changes.len(), self.expires);
        merged.text.reserve(self.text.len());
        let mut changes = changes.iter().peekable();
        for index in 0..self.len() {
            let Some((name, attributes)) = self.get(index) else {
                break;
            };
            while let Some((new, known)) = changes.next_if(|(new, _)| ***new < *name) {
                merged.push_known(new, known);
            }
            match changes.next_if(|(new, _)| ***new == *name) {
                Some((_, known)) => merged.push_known(name, known),
                None => merged.push(name, &attributes),
            }
        }
        for (new, known) in changes {
            merged.push_known(new, known);
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
        Some((self.text(record.name), self.attributes(record)))
    }

    /// The entry of this name.
    pub fn find(&self, name: &[u8]) -> Option<Attributes> {
        let index = self
            .records
            .binary_search_by(|record| self.text(record.name).cmp(name))
            .ok()?;
        Some(self.attributes(self.records.get(index)?))
    }

    /// How long the listing is still fresh.
    pub fn fresh_for(&self) -> Duration {
        self.fresh_at(Instant::now())
    }

    pub(super) fn fresh_at(&self, now: Instant) -> Duration {
        self.expires.saturating_duration_since(now)
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.capacity() + self.records.capacity() * size_of::<Record>()
    }

    fn with_capacity(entries: usize, expires: Instant) -> Self {
        Self {
            text: Vec::new(),
            records: Vec::with_capacity(entries),
            expires,
        }
    }

    fn push_known(&mut self, name: &[u8], known: &Known) {
        match known {
            Known::Present(attributes) => self.push(name, attributes),
            Known::Absent | Known::Doubtful => {}
        }
    }

    fn push(&mut self, name: &[u8], attributes: &Attributes) {
        let name = self.keep(name);
        let target = attributes.target.as_deref().map(|target| self.keep(target));
        let (modified, precision) = match attributes.modified {
            Some((seconds, precision)) => (seconds, Some(precision)),
            None => (0, None),
        };
        self.records.push(Record {
            name,
            target: target.unwrap_or_default(),
            size: attributes.size.unwrap_or(0),
            modified,
            unique: attributes.unique,
            mode: attributes.mode.unwrap_or(0) as u16,
            kind: attributes.kind,
            precision,
            has_size: attributes.size.is_some(),
            has_mode: attributes.mode.is_some(),
        });
    }

    /// A text that does not fit is not kept: a listing is bounded well below it.
    fn keep(&mut self, text: &[u8]) -> Piece {
        match (u32::try_from(self.text.len()), u16::try_from(text.len())) {
            (Ok(start), Ok(length)) => {
                self.text.extend_from_slice(text);
                Piece { start, length }
            }
            _ => Piece::default(),
        }
    }

    fn text(&self, piece: Piece) -> &[u8] {
        let start = piece.start as usize;
        self.text
            .get(start..start + usize::from(piece.length))
            .unwrap_or_default()
    }

    fn attributes(&self, record: &Record) -> Attributes {
        Attributes {
            kind: record.kind,
            size: record.has_size.then_some(record.size),
            modified: record
                .precision
                .map(|precision| (record.modified, precision)),
            mode: record.has_mode.then_some(u32::from(record.mode)),
            target: (record.target.length > 0).then(|| Box::from(self.text(record.target))),
            unique: record.unique,
        }
    }
}

fn target_length(attributes: &Attributes) -> usize {
    attributes.target.as_ref().map_or(0, |target| target.len())
}
