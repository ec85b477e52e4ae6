//! Listings as bytes, for the local disk. Numbers are little-endian:
//!
//! ```text
//! completeness 1, perm 1, number of records 8
//! records, 34 bytes each:
//!     name length 2, target length 2, mode 2, kind 1, precision 1, flags 1, perm 1,
//!     size 8, modified 8, unique 8
//! names, each followed by its target
//! ```

use std::time::{Duration, Instant};

use super::Snapshot;
use super::listing::PackedRecord;
use crate::ftp::{Completeness, Kind, Perm, Precision};

/// Length of the bytes before the records.
const HEADER: usize = 10;
/// Length of a record.
const RECORD: usize = 34;
/// Bits of the flags.
const HAS_SIZE: u8 = 1;
const HAS_MODE: u8 = 2;
const HAS_TIME: u8 = 4;

impl Snapshot {
    /// Returns the listing as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let records = self.records();
        let length = HEADER + records.len() * RECORD + self.text().len();
        let mut bytes = Vec::with_capacity(length);
        bytes.push(completeness_code(self.completeness()));
        bytes.push(perm_code(self.perm()));
        bytes.extend((records.len() as u64).to_le_bytes());
        for record in records {
            let flags = [
                (record.has_size, HAS_SIZE),
                (record.has_mode, HAS_MODE),
                (record.precision.is_some(), HAS_TIME),
            ];
            let flags = flags.iter().filter(|(is_set, _)| *is_set);
            bytes.extend(record.name_length.to_le_bytes());
            bytes.extend(record.target_length.to_le_bytes());
            bytes.extend(record.mode.to_le_bytes());
            bytes.push(kind_code(record.kind));
            bytes.push(record.precision.map_or(0, precision_code));
            bytes.push(flags.map(|(_, bit)| bit).sum());
            bytes.push(perm_code(record.perm));
            bytes.extend(record.size.to_le_bytes());
            bytes.extend(record.modified.to_le_bytes());
            bytes.extend(record.unique.to_le_bytes());
        }
        for record in records {
            bytes.extend(self.name(record));
            bytes.extend(self.target(record));
        }
        bytes
    }

    /// Parses bytes of [`Snapshot::encode`]. The listing is not fresh. Returns `None` if they are
    /// not such bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(HEADER)?;
        let (codes, count) = header.split_at_checked(2)?;
        let count = usize::try_from(u64::from_le_bytes(count.try_into().ok()?)).ok()?;
        let (packed, text) = rest.split_at_checked(count.checked_mul(RECORD)?)?;
        let mut records = Vec::with_capacity(count);
        let mut start = 0;
        for record in packed.chunks_exact(RECORD) {
            let record = decode_record(record, start)?;
            start += u64::from(record.name_length) + u64::from(record.target_length);
            records.push(record);
        }
        if start != text.len() as u64 {
            return None;
        }
        let [completeness, perm] = codes.try_into().ok()?;
        let listing = Self::restored(
            text.to_vec(),
            records,
            completeness_of(completeness)?,
            perm_of(perm),
            Instant::now(),
        );
        listing.is_sorted().then_some(listing)
    }

    /// Returns this listing, fresh for no time.
    fn restored(
        text: Vec<u8>,
        records: Vec<PackedRecord>,
        completeness: Completeness,
        perm: Option<Perm>,
        now: Instant,
    ) -> Self {
        let empty = Self::new(Vec::new(), completeness, now, Duration::ZERO);
        empty.with_perm(perm).with_records(text, records)
    }
}

fn decode_record(bytes: &[u8], start: u64) -> Option<PackedRecord> {
    let mut rest = bytes;
    let name_length = u16::from_le_bytes(take(&mut rest)?);
    let target_length = u16::from_le_bytes(take(&mut rest)?);
    let mode = u16::from_le_bytes(take(&mut rest)?);
    let [kind, precision, flags, perm] = take(&mut rest)?;
    Some(PackedRecord {
        start,
        name_length,
        target_length,
        mode,
        kind: kind_of(kind)?,
        precision: match flags & HAS_TIME {
            0 => None,
            _ => Some(precision_of(precision)?),
        },
        has_size: flags & HAS_SIZE != 0,
        has_mode: flags & HAS_MODE != 0,
        size: u64::from_le_bytes(take(&mut rest)?),
        modified: i64::from_le_bytes(take(&mut rest)?),
        unique: u64::from_le_bytes(take(&mut rest)?),
        perm: perm_of(perm),
    })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

fn kind_code(kind: Kind) -> u8 {
    match kind {
        Kind::File => 0,
        Kind::Directory => 1,
        Kind::Symlink => 2,
        Kind::Special => 3,
        Kind::Unknown => 4,
    }
}

fn kind_of(code: u8) -> Option<Kind> {
    let kinds = [
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::Special,
        Kind::Unknown,
    ];
    kinds.get(usize::from(code)).copied()
}

fn precision_code(precision: Precision) -> u8 {
    match precision {
        Precision::Second => 0,
        Precision::Minute => 1,
        Precision::Day => 2,
    }
}

fn precision_of(code: u8) -> Option<Precision> {
    let precisions = [Precision::Second, Precision::Minute, Precision::Day];
    precisions.get(usize::from(code)).copied()
}

fn completeness_code(completeness: Completeness) -> u8 {
    match completeness {
        Completeness::Complete => 0,
        Completeness::Visible => 1,
        Completeness::Blank => 2,
        Completeness::Incomplete => 3,
        Completeness::Unreadable => 4,
        Completeness::Unlistable => 5,
    }
}

fn completeness_of(code: u8) -> Option<Completeness> {
    let known = [
        Completeness::Complete,
        Completeness::Visible,
        Completeness::Blank,
        Completeness::Incomplete,
        Completeness::Unreadable,
        Completeness::Unlistable,
    ];
    known.get(usize::from(code)).copied()
}

fn perm_code(perm: Option<Perm>) -> u8 {
    perm.map_or(0, |perm| {
        1 | u8::from(perm.creates) << 1 | u8::from(perm.writes) << 2
    })
}

fn perm_of(code: u8) -> Option<Perm> {
    (code & 1 != 0).then_some(Perm {
        creates: code & 2 != 0,
        writes: code & 4 != 0,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cache::Attributes;

    fn attributes() -> impl Strategy<Value = Attributes> {
        let precision = prop_oneof![
            Just(Precision::Second),
            Just(Precision::Minute),
            Just(Precision::Day)
        ];
        let perm =
            (any::<bool>(), any::<bool>()).prop_map(|(creates, writes)| Perm { creates, writes });
        (
            (0_u8..5).prop_map(|code| kind_of(code).unwrap()),
            any::<Option<u64>>(),
            prop::option::of((any::<i64>(), precision)),
            prop::option::of(0_u32..0o10000),
            prop::option::of(prop::collection::vec(1_u8.., 1..40)),
            any::<u64>(),
            prop::option::of(perm),
        )
            .prop_map(
                |(kind, size, modified, mode, target, unique, perm)| Attributes {
                    kind,
                    size,
                    modified,
                    mode,
                    target: target.map(Vec::into_boxed_slice),
                    unique,
                    perm,
                },
            )
    }

    fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, Attributes)>> {
        let name = prop::collection::vec(1_u8.., 1..20);
        prop::collection::vec((name, attributes()), 0..20)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(
            entries in entries(),
            completeness in (0_u8..6).prop_map(|code| completeness_of(code).unwrap()),
            perm in (0_u8..8).prop_map(perm_of),
        ) {
            let now = Instant::now();
            let before = Snapshot::new(entries, completeness, now, Duration::from_secs(9));
            let before = before.with_perm(perm);
            let after = Snapshot::decode(&before.encode()).unwrap();
            prop_assert_eq!(after.len(), before.len());
            for index in 0..before.len() {
                prop_assert_eq!(after.get(index), before.get(index));
            }
            prop_assert_eq!(after.completeness(), completeness);
            prop_assert_eq!(after.perm(), perm);
            prop_assert_eq!(after.fresh_at(Instant::now()), Duration::ZERO);
        }

        #[test]
        fn other_bytes_are_no_listing_or_one_that_holds_together(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let _ = Snapshot::decode(&bytes).map(|listing| listing.len());
            let entries = vec![(b"name".to_vec(), Attributes::from(&crate::ftp::Entry::new("name", Kind::File)))];
            let whole = Snapshot::new(entries, Completeness::Complete, Instant::now(), Duration::ZERO).encode();
            let cut = cut.index(whole.len());
            prop_assert!(Snapshot::decode(&whole[..cut]).is_none());
        }
    }
}
