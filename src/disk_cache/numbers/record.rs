//! The records of numbers. Pure: no I/O.
//!
//! A file of records begins with its header, and the record of number n is at n times
//! [`RECORD`]. All values are little-endian.
//!
//! | bytes | header | record |
//! |---|---|---|
//! | 0..4 | magic | generation |
//! | 4..8 | magic | tag of the directory and the name |
//! | 8..12 | nonce | number of the directory |
//! | 12..14 | nonce | length of the name |
//! | 14 | nonce | state: 1 file, 2 directory, 3 removed |
//! | 15 | nonce | zero |
//! | 16..24 | hash of the root | offset of the name in the file of names |
//! | 24..28 | hash of the root, continued | CRC32 of the name |
//! | 28..32 | CRC32 of all before | CRC32 of all before |
//!
//! Nonce and number are part of both checksums of a record. So neither zeros nor a record of
//! another file or number are valid.

use sha2::{Digest, Sha256};

/// Size in bytes of a record, and of the header.
pub(super) const RECORD: usize = 32;

/// The first bytes of a file of records, and the version of the format.
const MAGIC: [u8; 8] = *b"ftpfsI\0\x01";

/// Offset of the checksum.
const CHECKSUM_AT: usize = RECORD - 4;

/// Size in bytes of the stored hash of the root.
const ROOT_HASH: usize = 12;

/// What a file of records is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumbersHeader {
    /// Random number of the file, part of every checksum and tag.
    pub(super) nonce: u64,
    /// The first bytes of the hash of the mounted directory's path.
    pub(super) root: [u8; ROOT_HASH],
}

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberState {
    File,
    Directory,
    /// Nothing any more.
    Removed,
}

/// The record of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NumberRecord {
    /// Random, so that a number given twice after damage does not stand for two files.
    pub(super) generation: u32,
    /// Tag of the directory and the name.
    pub(super) tag: u32,
    /// Number of the directory.
    pub(super) parent: u32,
    pub(super) state: NumberState,
    /// Length of the name in bytes.
    pub(super) length: u16,
    /// Where the name is in the file of names.
    pub(super) offset: u64,
    /// Checksum of the name.
    pub(super) name: u32,
}

impl NumbersHeader {
    /// Creates the header for the mounted directory `root`.
    pub(super) fn new(nonce: u64, root: &[u8]) -> Self {
        let mut start = [0; ROOT_HASH];
        for (to, from) in start.iter_mut().zip(Sha256::digest(root)) {
            *to = from;
        }
        Self { nonce, root: start }
    }

    pub(super) fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        fill(&mut bytes, &[&MAGIC, &self.nonce.to_le_bytes(), &self.root]);
        let checksum = crc32fast::hash(covered(&bytes));
        fill_end(&mut bytes, checksum);
        bytes
    }

    /// Returns `None` if the header is damaged.
    pub(super) fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let is_whole =
            crc32fast::hash(covered(bytes)) == u32::from_le_bytes(array(bytes, CHECKSUM_AT)?);
        (is_whole && bytes.starts_with(&MAGIC)).then_some(Self {
            nonce: u64::from_le_bytes(array(bytes, 8)?),
            root: array(bytes, 16)?,
        })
    }

    /// Returns the tag by which `name` in the directory `parent` is found. Names with equal tags
    /// cannot be chosen without the nonce.
    pub(super) fn tag(&self, parent: u32, name: &[u8]) -> u32 {
        let mut hash = Sha256::new();
        hash.update(self.nonce.to_le_bytes());
        hash.update(parent.to_le_bytes());
        hash.update(name);
        let digest = hash.finalize();
        array(&digest, 0).map_or(0, u32::from_le_bytes)
    }

    /// Returns the checksum of the `name` of `number`.
    pub(super) fn name_checksum(&self, number: u32, name: &[u8]) -> u32 {
        self.checksum(number, name)
    }

    fn checksum(&self, number: u32, bytes: &[u8]) -> u32 {
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&self.nonce.to_le_bytes());
        checksum.update(&number.to_le_bytes());
        checksum.update(bytes);
        checksum.finalize()
    }
}

impl NumberRecord {
    /// Returns the stored form of the record of `number`.
    pub(super) fn encode(&self, header: &NumbersHeader, number: u32) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        fill(
            &mut bytes,
            &[
                &self.generation.to_le_bytes(),
                &self.tag.to_le_bytes(),
                &self.parent.to_le_bytes(),
                &self.length.to_le_bytes(),
                &[byte_of(self.state), 0],
                &self.offset.to_le_bytes(),
                &self.name.to_le_bytes(),
            ],
        );
        let checksum = header.checksum(number, covered(&bytes));
        fill_end(&mut bytes, checksum);
        bytes
    }

    /// Parses the record of `number`. Returns `None` if it is absent or damaged.
    pub(super) fn decode(header: &NumbersHeader, number: u32, bytes: &[u8]) -> Option<Self> {
        let checksum = header.checksum(number, bytes.get(..CHECKSUM_AT)?);
        if checksum != u32::from_le_bytes(array(bytes, CHECKSUM_AT)?) {
            return None;
        }
        Some(Self {
            generation: u32::from_le_bytes(array(bytes, 0)?),
            tag: u32::from_le_bytes(array(bytes, 4)?),
            parent: u32::from_le_bytes(array(bytes, 8)?),
            length: u16::from_le_bytes(array(bytes, 12)?),
            state: state_of(*bytes.get(14)?)?,
            offset: u64::from_le_bytes(array(bytes, 16)?),
            name: u32::from_le_bytes(array(bytes, 24)?),
        })
    }
}

fn byte_of(state: NumberState) -> u8 {
    match state {
        NumberState::File => 1,
        NumberState::Directory => 2,
        NumberState::Removed => 3,
    }
}

fn state_of(byte: u8) -> Option<NumberState> {
    match byte {
        1 => Some(NumberState::File),
        2 => Some(NumberState::Directory),
        3 => Some(NumberState::Removed),
        _ => None,
    }
}

/// Writes `parts` one after the other to the start of `bytes`.
fn fill(bytes: &mut [u8; RECORD], parts: &[&[u8]]) {
    for (to, from) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
}

fn fill_end(bytes: &mut [u8; RECORD], checksum: u32) {
    for (to, from) in bytes
        .iter_mut()
        .skip(CHECKSUM_AT)
        .zip(checksum.to_le_bytes())
    {
        *to = from;
    }
}

/// The bytes that the checksum covers.
fn covered(bytes: &[u8; RECORD]) -> &[u8] {
    bytes.get(..CHECKSUM_AT).unwrap_or_default()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> NumbersHeader {
        NumbersHeader::new(0x0123_4567_89ab_cdef, b"/srv")
    }

    fn record() -> NumberRecord {
        NumberRecord {
            generation: 0xdead_beef,
            tag: header().tag(1, b"name"),
            parent: 1,
            state: NumberState::Directory,
            length: 4,
            offset: 1 << 40,
            name: header().name_checksum(7, b"name"),
        }
    }

    #[test]
    fn headers_and_records_are_read_as_they_were_written() {
        assert_eq!(NumbersHeader::decode(&header().encode()), Some(header()));
        for state in [
            NumberState::File,
            NumberState::Directory,
            NumberState::Removed,
        ] {
            let record = NumberRecord { state, ..record() };
            let bytes = record.encode(&header(), 7);
            assert_eq!(NumberRecord::decode(&header(), 7, &bytes), Some(record));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = record().encode(&header(), 7);
        for bit in 0..RECORD * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(NumberRecord::decode(&header(), 7, &damaged), None, "{bit}");
            let mut damaged = header().encode();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(NumbersHeader::decode(&damaged), None, "{bit}");
        }
    }

    #[test]
    fn zeros_short_records_and_those_of_others_are_none() {
        let bytes = record().encode(&header(), 7);
        assert_eq!(NumberRecord::decode(&header(), 8, &bytes), None);
        let other = NumbersHeader::new(1, b"/srv");
        assert_eq!(NumberRecord::decode(&other, 7, &bytes), None);
        for length in 0..RECORD {
            assert_eq!(NumberRecord::decode(&header(), 7, &bytes[..length]), None);
        }
        assert_eq!(NumberRecord::decode(&header(), 7, &[0; RECORD]), None);
        assert_eq!(NumbersHeader::decode(&[0; RECORD]), None);
    }
}
