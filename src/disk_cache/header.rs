//! The header of a cached file: which file it is, and in which version. Pure: no I/O.
//!
//! | bytes | contents, little-endian |
//! |---|---|
//! | 0..8 | magic |
//! | 8..16 | size |
//! | 16..24 | modification time |
//! | 24 | its precision |
//! | 25..28 | zero |
//! | 28..32 | length of the path |
//! | 32..40 | hash of the `unique` fact, or zero |
//! | 40..48 | time of the fetch |
//! | 48..56 | nonce |
//! | 56.. | path, CRC32 of all before, zeros up to a multiple of 8 |

use crate::ftp::{Precision, RemotePath, Version};

/// The first bytes of every entry, and the version of the format.
const MAGIC: [u8; 8] = *b"ftpfsC\0\x01";

/// Offset of the path.
const PATH_AT: usize = 56;
/// Size in bytes of the checksum.
const CHECKSUM: usize = 4;

/// Maximum length in bytes of a path.
const MOST_PATH: usize = 32 << 10;

/// Maximum size in bytes of a header.
pub(super) const MOST_HEADER: usize = PATH_AT + MOST_PATH + CHECKSUM + 8;

/// Which file an entry holds, and in which version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryHeader {
    pub(super) path: RemotePath,
    /// Size in bytes.
    pub(super) size: u64,
    /// Modification time and its precision. Without one, a version cannot be recognised.
    pub(super) modified: (i64, Precision),
    /// As in [`Version`].
    pub(super) unique: u64,
    /// When the first byte was fetched, in seconds since the epoch.
    pub(super) fetched: i64,
    /// Random number of the entry, part of every checksum.
    pub(super) nonce: u64,
}

impl EntryHeader {
    /// Creates the header for the file `path` in `version`. `None` if the server does not say
    /// enough about the version to recognise it later, or if the path is too long.
    pub(super) fn new(
        path: &RemotePath,
        version: &Version,
        fetched: i64,
        nonce: u64,
    ) -> Option<Self> {
        if path.as_bytes().len() > MOST_PATH {
            return None;
        }
        Some(Self {
            path: path.clone(),
            size: version.size?,
            modified: version.modified?,
            unique: version.unique,
            fetched,
            nonce,
        })
    }

    /// Whether the entry has the contents of `version` of the file `path`. A time that is less
    /// precise than the other must contain it: what a listing may show an hour off is another one.
    pub(super) fn serves(&self, path: &RemotePath, version: &Version) -> bool {
        let own = self.version();
        let is_known = version.size.is_some() && version.modified.is_some();
        self.path == *path && is_known && own.refines(version)
    }

    /// Returns the header of the same contents under the name `path`. `None` if it is too long.
    pub(super) fn renamed(self, path: &RemotePath) -> Option<Self> {
        (path.as_bytes().len() <= MOST_PATH).then(|| Self {
            path: path.clone(),
            ..self
        })
    }

    /// Returns the version of the contents.
    pub(super) fn version(&self) -> Version {
        Version {
            size: Some(self.size),
            modified: Some(self.modified),
            unique: self.unique,
        }
    }

    /// Returns the stored form. Its length is a multiple of 8.
    pub(super) fn encode(&self) -> Vec<u8> {
        let path = self.path.as_bytes();
        let mut bytes = Vec::with_capacity(PATH_AT + path.len() + CHECKSUM + 8);
        bytes.extend(MAGIC);
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.modified.0.to_le_bytes());
        bytes.extend([number_of(self.modified.1), 0, 0, 0]);
        bytes.extend((path.len() as u32).to_le_bytes());
        bytes.extend(self.unique.to_le_bytes());
        bytes.extend(self.fetched.to_le_bytes());
        bytes.extend(self.nonce.to_le_bytes());
        bytes.extend(path);
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    /// Parses the beginning of an entry. Returns the header and its length, or `None` if it is
    /// damaged or incomplete.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, u64)> {
        let length = u32::from_le_bytes(array(bytes, 28)?) as usize;
        if !bytes.starts_with(&MAGIC) || length > MOST_PATH {
            return None;
        }
        let end = PATH_AT + length;
        let stored = u32::from_le_bytes(array(bytes, end)?);
        if crc32fast::hash(bytes.get(..end)?) != stored {
            return None;
        }
        let [precision, _, _, _] = array(bytes, 24)?;
        let header = Self {
            path: RemotePath::new(bytes.get(PATH_AT..end)?).ok()?,
            size: u64::from_le_bytes(array(bytes, 8)?),
            modified: (
                i64::from_le_bytes(array(bytes, 16)?),
                precision_of(precision)?,
            ),
            unique: u64::from_le_bytes(array(bytes, 32)?),
            fetched: i64::from_le_bytes(array(bytes, 40)?),
            nonce: u64::from_le_bytes(array(bytes, 48)?),
        };
        Some((header, (end + CHECKSUM).next_multiple_of(8) as u64))
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn number_of(precision: Precision) -> u8 {
    match precision {
        Precision::Second => 1,
        Precision::Minute => 2,
        Precision::Day => 3,
    }
}

fn precision_of(number: u8) -> Option<Precision> {
    match number {
        1 => Some(Precision::Second),
        2 => Some(Precision::Minute),
        3 => Some(Precision::Day),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(path: &[u8]) -> EntryHeader {
        EntryHeader {
            path: RemotePath::new(path).unwrap(),
            size: 77,
            modified: (1_700_000_000, Precision::Second),
            unique: 5,
            fetched: -3,
            nonce: u64::MAX,
        }
    }

    #[test]
    fn a_header_is_parsed_as_it_is_stored_and_no_flipped_bit_is() {
        for path in [b"/a".as_slice(), b"/", b"/a \xff/b"] {
            let header = header(path);
            let bytes = header.encode();
            let parsed = EntryHeader::decode(&bytes);
            assert_eq!(parsed, Some((header.clone(), bytes.len() as u64)));
            for bit in 0..bytes.len() * 8 {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                let parsed = EntryHeader::decode(&flipped);
                assert!(parsed.is_none_or(|it| it.0 == header), "bit {bit}");
            }
            for end in 0..PATH_AT + path.len() + CHECKSUM {
                assert_eq!(EntryHeader::decode(&bytes[..end]), None);
            }
        }
    }

    #[test]
    fn an_entry_serves_its_version_and_no_other() {
        let path = RemotePath::new(b"/a").unwrap();
        let header = header(b"/a");
        let version = header.version();
        let changed = |change: fn(&mut Version)| {
            let mut other = version;
            change(&mut other);
            header.serves(&path, &other)
        };
        assert!(header.serves(&path, &version));
        assert!(changed(|it| it.unique = 0));
        assert!(changed(
            |it| it.modified = Some((1_700_000_000 - 20, Precision::Minute))
        ));
        assert!(!changed(
            |it| it.modified = Some((1_700_000_000 - 20 - 3600, Precision::Minute))
        ));
        assert!(!changed(
            |it| it.modified = Some((1_700_000_001, Precision::Second))
        ));
        assert!(!changed(|it| it.modified = None));
        assert!(!changed(|it| it.size = None));
        assert!(!changed(|it| it.size = Some(78)));
        assert!(!changed(|it| it.unique = 6));
        assert!(!header.serves(&RemotePath::root(), &version));
        let unknown = Version {
            modified: None,
            ..version
        };
        assert_eq!(EntryHeader::new(&path, &unknown, 0, 0), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut entry = MAGIC.to_vec();
            entry.extend(&bytes);
            prop_assert!(EntryHeader::decode(&bytes).is_none());
            let _ = EntryHeader::decode(&entry);
        }
    }
}
